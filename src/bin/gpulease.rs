//! The command line.
fn main() -> std::process::ExitCode {
    gpulease::cli()
}
