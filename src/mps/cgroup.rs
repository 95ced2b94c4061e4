//! Cgroups of a daemon's own. A container's start starts the daemon, and would leave it in its own
//! cgroup. When that cgroup is killed, the daemon of all other containers would end with it: systemd
//! does so when it stops the engine's unit or a user's scope, and an engine when it kills a container
//! by its cgroup. Both use the unified hierarchy, or the one named systemd where it exists. The other
//! hierarchies of cgroup v1 are not used to kill, and are left alone.

use crate::paths::Paths;
use crate::sys::kernel_file;
use std::fs;
use std::path::{Path, PathBuf};

/// The cgroup that has those of all daemons in it.
const PARENT: &str = "gpulease-mps";

/// The roots of the hierarchies by which processes are killed.
fn hierarchies(paths: &Paths) -> impl Iterator<Item = PathBuf> {
    let root = paths.sys.join("fs/cgroup");
    let all = [root.clone(), root.join("unified"), root.join("systemd")];
    all.into_iter().filter(|dir| dir.join("cgroup.procs").is_file())
}

fn cgroups(daemon: &str, paths: &Paths) -> impl Iterator<Item = PathBuf> {
    hierarchies(paths).map(move |root| root.join(PARENT).join(daemon))
}

/// Makes the daemon's cgroups. A hierarchy in which none can be made is left out: the limits work
/// without it.
pub fn make(daemon: &str, paths: &Paths) -> Vec<PathBuf> {
    cgroups(daemon, paths).filter(|dir| fs::create_dir_all(dir).is_ok()).collect()
}

/// Whether a process is in one of the daemon's cgroups.
pub fn has(daemon: &str, pid: i32, paths: &Paths) -> bool {
    let pid = pid.to_string();
    cgroups(daemon, paths).any(|dir| {
        let procs = kernel_file::read(&dir.join("cgroup.procs")).unwrap_or_default();
        procs.lines().any(|line| line == pid)
    })
}

/// Removes the daemon's cgroups. One that still has a process stays until the next attempt.
pub fn remove(daemon: &str, paths: &Paths) {
    for root in hierarchies(paths) {
        let parent = root.join(PARENT);
        let _ = fs::remove_dir(parent.join(daemon));
        let _ = fs::remove_dir(parent);
    }
}

/// The cgroup of processes that wait until a daemon may be ended. No daemon has such a name.
const WAITING: &str = ".reap";

/// This process, moved out of the cgroups that it was started in. When those are killed, with a
/// systemd unit or a container, it would be killed too, and no other process ends the daemon. On drop
/// it moves back.
#[derive(Debug)]
pub struct Away<'a> {
    paths: &'a Paths,
    /// The hierarchies' roots, and the cgroup in each that it was in.
    from: Vec<(PathBuf, Option<PathBuf>)>,
}

/// Moves this process. A hierarchy in which that fails is left as it is.
#[must_use]
pub fn leave(paths: &Paths) -> Away<'_> {
    let moved = hierarchies(paths).filter_map(|root| {
        let was = of_self(&root, paths);
        let dir = root.join(PARENT).join(WAITING);
        // Another process that ends may remove the directory in between.
        let enters = |_| fs::create_dir_all(&dir).is_ok() && enter(&dir);
        (0..3).any(enters).then_some((root, was))
    });
    Away { paths, from: moved.collect() }
}

fn enter(dir: &Path) -> bool {
    kernel_file::write(&dir.join("cgroup.procs"), "0").is_ok()
}

/// The cgroup of this process in a hierarchy: `1:name=systemd:/x`, `0::/x` (cgroups(7)).
fn of_self(root: &Path, paths: &Paths) -> Option<PathBuf> {
    let text = fs::read_to_string(paths.proc.join("self/cgroup")).ok()?;
    let words = if root.ends_with("systemd") { ":name=systemd:/" } else { "0::/" };
    text.lines().find_map(|line| Some(root.join(line.split_once(words)?.1)))
}

impl Drop for Away<'_> {
    fn drop(&mut self) {
        for (root, was) in &self.from {
            // Into the cgroup that it was in, or into the root where that one is gone.
            let _ = was.as_deref().is_some_and(enter) || enter(root);
        }
        remove(WAITING, self.paths);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroups_are_made_for_systemd_and_removed_again() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths { sys: dir.path().to_owned(), ..Paths::default() };
        assert!(make("GPU-a", &paths).is_empty());
        assert!(!has("GPU-a", 1, &paths), "a cgroup that does not exist has no process");
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
