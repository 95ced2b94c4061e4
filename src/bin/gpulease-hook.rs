//! The OCI hooks, one for each stage.

// musl's own allocator takes a quarter of the time of a create. This one is the allocator of Rust's
// std for wasm (`make bench` measured both).
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> std::process::ExitCode {
    gpulease::hook()
}
