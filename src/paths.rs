//! Where the host keeps things. Passed in everywhere, so that a whole node can be faked as a
//! directory tree; never read from the environment by a root program.

use std::path::PathBuf;

/// The roots that host-facing code works under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// Configuration, `/etc/gpulease`.
    pub etc: PathBuf,
    /// Leases and other state, `/run/gpulease`.
    pub run: PathBuf,
    /// sysfs, `/sys`.
    pub sys: PathBuf,
    /// procfs, `/proc`.
    pub proc: PathBuf,
    /// Device nodes, `/dev`.
    pub dev: PathBuf,
}

impl Default for Paths {
    fn default() -> Self {
        Self {
            etc: "/etc/gpulease".into(),
            run: "/run/gpulease".into(),
            sys: "/sys".into(),
            proc: "/proc".into(),
            dev: "/dev".into(),
        }
    }
}
