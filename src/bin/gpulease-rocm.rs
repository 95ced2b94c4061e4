//! Prints the measurements of ROCm's management library as JSON.
fn main() -> std::process::ExitCode {
    gpulease::rocm()
}
