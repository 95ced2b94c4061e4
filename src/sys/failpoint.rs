//! Named points at which a test build kills or stops itself, so that tests can crash it between any
//! two steps. In other builds [`hit`] is empty.

/// Marks a point. With the feature `failpoints`, `GPULEASE_FAILPOINT=name=kill` sends this
/// process SIGKILL here, `name=stop` SIGSTOP.
#[inline]
pub fn hit(name: &str) {
    #[cfg(feature = "failpoints")]
    act(name);
    #[cfg(not(feature = "failpoints"))]
    let _: &str = name;
}

/// The variable for hooks, whose environment is fixed in the spec.
pub fn for_hooks() -> Option<String> {
    #[cfg(feature = "failpoints")]
    return std::env::var(VARIABLE).ok().map(|value| format!("{VARIABLE}={value}"));
    #[cfg(not(feature = "failpoints"))]
    None
}

#[cfg(feature = "failpoints")]
const VARIABLE: &str = "GPULEASE_FAILPOINT";

#[cfg(feature = "failpoints")]
fn act(name: &str) {
    use nix::sys::signal::{Signal, raise};
    let Ok(wanted) = std::env::var(VARIABLE) else { return };
    let signal = match wanted.split_once('=') {
        Some((point, "kill")) if point == name => Signal::SIGKILL,
        Some((point, "stop")) if point == name => Signal::SIGSTOP,
        _ => return,
    };
    // If this fails, the process goes on, and the test that waits for it fails.
    let _ = raise(signal);
}
