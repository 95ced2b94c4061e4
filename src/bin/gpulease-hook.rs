//! The OCI hooks, one for each stage.

// musl's own allocator costs a create a quarter of its time; this is the one of Rust's std for
// wasm (`make bench` measured both).
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> std::process::ExitCode {
    gpulease::hook()
}
