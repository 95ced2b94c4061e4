//! What ROCm's management library measures, as JSON.
fn main() -> std::process::ExitCode {
    gpulease::rocm()
}
