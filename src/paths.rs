//! Where the host keeps things. Passed in everywhere, so that a whole node can be faked as a
//! directory tree; never read from the environment by a root program.

use std::path::{Path, PathBuf};

/// The roots that host-facing code works under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// The file system that all else lies in, `/`: programs, the configuration of engines.
    pub root: PathBuf,
    pub etc: PathBuf,
    /// Leases and other state, `/run/gpulease`.
    pub run: PathBuf,
    /// What outlives a reboot, `/var/lib/gpulease`.
    pub var: PathBuf,
    pub sys: PathBuf,
    pub proc: PathBuf,
    pub dev: PathBuf,
}

impl Default for Paths {
    fn default() -> Self {
        Self {
            root: "/".into(),
            etc: "/etc/gpulease".into(),
            run: "/run/gpulease".into(),
            var: "/var/lib/gpulease".into(),
            sys: "/sys".into(),
            proc: "/proc".into(),
            dev: "/dev".into(),
        }
    }
}

impl Paths {
    /// Those of a host whose file system lies below `root`: one that is mounted there, or a fake.
    pub fn below(root: &Path) -> Self {
        let host = Self { root: root.to_owned(), ..Self::default() };
        Self {
            etc: host.on_host(&host.etc),
            run: host.on_host(&host.run),
            var: host.on_host(&host.var),
            sys: host.on_host(&host.sys),
            proc: host.on_host(&host.proc),
            dev: host.on_host(&host.dev),
            root: host.root,
        }
    }

    /// Whether they are those of the host that this program runs on.
    #[must_use]
    pub fn are_own(&self) -> bool {
        self.root == Path::new("/")
    }

    /// Where a path that means something on the host is found from here.
    pub fn on_host(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Where a device node of the host is found from here.
    pub fn node(&self, path: &str) -> PathBuf {
        match path.strip_prefix("/dev/") {
            Some(name) => self.dev.join(name),
            None => self.on_host(Path::new(path)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_can_lie_anywhere() {
        assert_eq!(Paths::below(Path::new("/")), Paths::default());
        let paths = Paths::below(Path::new("/host"));
        assert_eq!(paths.run, Path::new("/host/run/gpulease"));
        assert_eq!(paths.on_host(Path::new("/dev/nvidia0")), Path::new("/host/dev/nvidia0"));
        assert_eq!(Paths::default().on_host(Path::new("/dev/null")), Path::new("/dev/null"));
    }
}
