//! Finds a cgroup by the path that a process in another container saw. There the hierarchy may have
//! been mounted from that container's own cgroup downwards. Then the same cgroup has a longer path
//! on the host, with the same end.

use super::cgroup::{self, V1_HIERARCHIES};
use crate::paths::Paths;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// More cgroups than a host has. The search must end.
const CGROUPS_MAX: usize = 100_000;

/// The state of the cgroup that is searched for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CgroupState {
    /// Every matching cgroup is empty, or none matches.
    Empty,
    /// This matching cgroup has processes.
    Populated(PathBuf),
    /// Its hierarchy is not mounted here, or cannot be listed.
    NotSeen,
}

/// The host's cgroups, listed once for any number of questions: all of each hierarchy, or `None` if
/// it cannot be listed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Cgroups(RefCell<BTreeMap<PathBuf, Option<Vec<PathBuf>>>>);

impl Cgroups {
    /// Looks for a cgroup that another process saw as `dir`. The answer is only valid for a process
    /// that sees all cgroups.
    pub(crate) fn find(&self, dir: &Path, paths: &Paths) -> CgroupState {
        let Ok(path) = dir.strip_prefix(cgroup::mount(paths)) else { return CgroupState::NotSeen };
        let places = places(path, paths);
        if places.is_empty() {
            return CgroupState::NotSeen;
        }
        let mut listed = self.0.borrow_mut();
        for (root, tail) in places {
            let all = listed.entry(root.clone()).or_insert_with(|| list(&root));
            let Some(all) = all else { return CgroupState::NotSeen };
            let mut alike = all.iter().filter(|dir| dir.ends_with(&tail));
            if let Some(dir) = alike.find(|dir| !cgroup::is_empty(dir)) {
                return CgroupState::Populated(dir.clone());
            }
        }
        CgroupState::Empty
    }
}

/// The hierarchies to look in, and the path to look for. In v1 a path begins with the name of its
/// hierarchy.
fn places(path: &Path, paths: &Paths) -> Vec<(PathBuf, PathBuf)> {
    let top = cgroup::mount(paths);
    let is_unified = |dir: &Path| dir.join("cgroup.controllers").exists();
    let mut components = path.components();
    let first = components.next().map(|first| first.as_os_str());
    let named = first.filter(|first| V1_HIERARCHIES.iter().any(|name| *first == *name));
    let v1 = named.map(|name| top.join(name)).filter(|_| !is_unified(&top));
    let v1 = v1.filter(|dir| dir.is_dir()).map(|dir| (dir, components.as_path().to_owned()));
    // The cgroup is in a v1 hierarchy that is not mounted here.
    if v1.is_none() && named.is_some() {
        return Vec::new();
    }
    let v2 = [top.clone(), top.join("unified")].into_iter().find(|dir| is_unified(dir));
    v1.into_iter().chain(v2.map(|dir| (dir, path.to_owned()))).collect()
}

fn list(root: &Path) -> Option<Vec<PathBuf>> {
    let mut found = vec![root.to_owned()];
    let mut next = 0;
    while let Some(dir) = found.get(next) {
        next += 1;
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(_) => return None,
        };
        let dirs = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|k| k.is_dir()));
        found.extend(dirs.map(|entry| entry.path()));
        if found.len() > CGROUPS_MAX {
            return None;
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fake(cgroups: &[(&str, &str)]) -> (tempfile::TempDir, Paths) {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths { sys: dir.path().to_owned(), ..Paths::default() };
        for (cgroup, processes) in cgroups {
            let cgroup = cgroup::mount(&paths).join(cgroup);
            fs::create_dir_all(&cgroup).unwrap();
            fs::write(cgroup.join("cgroup.procs"), processes).unwrap();
        }
        (dir, paths)
    }

    fn found(path: &str, paths: &Paths) -> CgroupState {
        Cgroups::default().find(&cgroup::mount(paths).join(path), paths)
    }

    #[test]
    fn a_cgroup_seen_from_below_is_found() {
        let (_dir, paths) = fake(&[
            ("devices/docker/outer/docker/inner", "7\n"),
            ("devices/docker/outer/docker/ended", ""),
            ("devices/docker/other", "8\n"),
        ]);
        let inner = cgroup::mount(&paths).join("devices/docker/outer/docker/inner");
        assert_eq!(found("devices/docker/inner", &paths), CgroupState::Populated(inner));
        assert_eq!(found("devices/docker/ended", &paths), CgroupState::Empty);
        assert_eq!(found("devices/docker/gone", &paths), CgroupState::Empty);
        assert_eq!(found("devices/r/inner", &paths), CgroupState::Empty, "whole names only");
    }

    #[test]
    fn a_hierarchy_that_is_not_here_tells_nothing() {
        let (_dir, v1) = fake(&[("devices", ""), ("devices/a", "7\n")]);
        assert_eq!(found("docker/inner", &v1), CgroupState::NotSeen, "of v2, which is not mounted");
        assert_eq!(found("memory/a", &v1), CgroupState::NotSeen);
        assert_eq!(Cgroups::default().find(Path::new("/elsewhere/a"), &v1), CgroupState::NotSeen);
        let (_dir, v2) = fake(&[("", ""), ("system/a/b", "7\n")]);
        fs::write(cgroup::mount(&v2).join("cgroup.controllers"), "").unwrap();
        assert_eq!(found("devices/gone", &v2), CgroupState::NotSeen, "of v1, which is not mounted");
        assert_eq!(found("gone", &v2), CgroupState::Empty);
        assert!(matches!(found("a/b", &v2), CgroupState::Populated(_)));
        let (_dir, both) = fake(&[("devices", ""), ("unified/system/a/b", "7\n")]);
        fs::write(cgroup::mount(&both).join("unified/cgroup.controllers"), "").unwrap();
        assert!(matches!(found("a/b", &both), CgroupState::Populated(_)));
    }
}
