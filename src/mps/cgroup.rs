//! Cgroups of a daemon's own. It is first needed by a container's start, and whoever ends that start's
//! cgroup (systemd when it stops the engine's unit or a user's scope, an engine that kills a container
//! by its cgroup) would end the daemon of all the others with it. Both systemd and engines go by the
//! unified hierarchy, or by that of the name systemd where there is one. The controllers of cgroup v1
//! limit and kill nothing that way, and are left.

use crate::paths::Paths;
use crate::sys::kernel_file;
use std::fs;
use std::path::{Path, PathBuf};

/// The cgroup that all daemons' are in.
const PARENT: &str = "gpulease-mps";

/// The roots of the hierarchies that count here.
fn hierarchies(paths: &Paths) -> impl Iterator<Item = PathBuf> {
    let root = paths.sys.join("fs/cgroup");
    let all = [root.clone(), root.join("unified"), root.join("systemd")];
    all.into_iter().filter(|dir| dir.join("cgroup.procs").is_file())
}

fn places(daemon: &str, paths: &Paths) -> impl Iterator<Item = PathBuf> {
    hierarchies(paths).map(move |root| root.join(PARENT).join(daemon))
}

/// Makes the daemon's cgroups. Where none can be made, there are none: that is no reason
/// to do without limits.
pub fn make(daemon: &str, paths: &Paths) -> Vec<PathBuf> {
    places(daemon, paths).filter(|dir| fs::create_dir_all(dir).is_ok()).collect()
}

/// Whether a process is in one of the daemon's cgroups. A daemon that has none has nothing there.
pub fn has(daemon: &str, pid: i32, paths: &Paths) -> bool {
    let pid = pid.to_string();
    places(daemon, paths).any(|dir| {
        let procs = kernel_file::read(&dir.join("cgroup.procs")).unwrap_or_default();
        procs.lines().any(|line| line == pid)
    })
}

/// Removes them. One that still has a process stays, for the next who looks.
pub fn remove(daemon: &str, paths: &Paths) {
    for root in hierarchies(paths) {
        let parent = root.join(PARENT);
        let _ = fs::remove_dir(parent.join(daemon));
        let _ = fs::remove_dir(parent);
    }
}

/// The cgroup of those who wait until a daemon may be ended. No daemon has such a name.
const WAITING: &str = ".reap";

/// This process, out of the cgroups of whoever has started it: where those end (with a unit of
/// systemd's, or with a container), it would end with them, and nobody else ends the daemon. What it
/// was moved into is removed when this goes.
#[derive(Debug)]
pub struct Away<'a> {
    paths: &'a Paths,
    /// The hierarchies' roots, and where in them it was.
    from: Vec<(PathBuf, Option<PathBuf>)>,
}

/// Leaves them. A hierarchy in which that cannot be done is left as it is.
#[must_use]
pub fn leave(paths: &Paths) -> Away<'_> {
    let moved = hierarchies(paths).filter_map(|root| {
        let was = of_self(&root, paths);
        let dir = root.join(PARENT).join(WAITING);
        // Another one that ends may remove it in between.
        let enters = |_| fs::create_dir_all(&dir).is_ok() && enter(&dir);
        (0..3).any(enters).then_some((root, was))
    });
    Away { paths, from: moved.collect() }
}

fn enter(dir: &Path) -> bool {
    kernel_file::write(&dir.join("cgroup.procs"), "0").is_ok()
}

/// Where this process is in a hierarchy: `1:name=systemd:/x`, `0::/x` (cgroups(7)).
fn of_self(root: &Path, paths: &Paths) -> Option<PathBuf> {
    let text = fs::read_to_string(paths.proc.join("self/cgroup")).ok()?;
    let words = if root.ends_with("systemd") { ":name=systemd:/" } else { "0::/" };
    text.lines().find_map(|line| Some(root.join(line.split_once(words)?.1)))
}

impl Drop for Away<'_> {
    fn drop(&mut self) {
        for (root, was) in &self.from {
            // Back, for the moment that it has; or to the root, where what it was in has gone.
            let _ = was.as_deref().is_some_and(enter) || enter(root);
        }
        remove(WAITING, self.paths);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroups_are_made_where_systemd_looks_and_removed_again() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths { sys: dir.path().to_owned(), ..Paths::default() };
        assert!(make("GPU-a", &paths).is_empty());
        assert!(!has("GPU-a", 1, &paths), "nobody is in a cgroup that is not there");
        for name in ["systemd", "unified", "memory"] {
            let root = dir.path().join("fs/cgroup").join(name);
            fs::create_dir_all(&root).unwrap();
            fs::write(root.join("cgroup.procs"), "").unwrap();
        }
        let made = make("GPU-a", &paths);
        assert_eq!(made.len(), 2, "{made:?}");
        assert!(made.iter().all(|dir| dir.is_dir()), "{made:?}");
        assert!(!has("GPU-a", 12, &paths));
        fs::write(made[1].join("cgroup.procs"), "1\n12\n").unwrap();
        assert!(has("GPU-a", 12, &paths) && !has("GPU-a", 2, &paths));
        fs::remove_file(made[1].join("cgroup.procs")).unwrap();
        remove("GPU-a", &paths);
        assert!(made.iter().all(|dir| !dir.parent().unwrap().exists()));
    }
}
