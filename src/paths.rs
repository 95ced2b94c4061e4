//! Where the host keeps its files. The paths are passed to all code, so that tests can fake a whole
//! node as a directory tree. A program of root's never reads them from the environment.

use std::path::{Path, PathBuf};

/// The directories that all code that looks at the host works under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// The root of the host's file system, `/`, which contains the directories below.
    pub root: PathBuf,
    pub etc: PathBuf,
    /// Leases and other state, `/run/gpulease`.
    pub run: PathBuf,
    /// State that survives a reboot, `/var/lib/gpulease`.
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
    /// The paths of a host whose file system is below `root`: a mounted one, or a fake.
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

    /// Whether these are the paths of the host that this program runs on.
    #[must_use]
    pub fn are_own(&self) -> bool {
        self.root == Path::new("/")
    }

    /// The path, from here, of a path on the host.
    pub fn on_host(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// The path, from here, of a device node on the host.
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
