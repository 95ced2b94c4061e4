//! The command line, for people and for scripts.
fn main() -> std::process::ExitCode {
    gpulease::cli()
}
