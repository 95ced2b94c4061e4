//! Who we are: root on the host, or something that only looks like it.

use super::PathError;
use super::cgroup_of_others::Cgroups;
use super::namespaces::{self, Census};
use crate::paths::Paths;
use std::cell::OnceCell;
use std::fs;
use std::path::Path;
use std::sync::OnceLock;

/// The boot's id, from `/proc/sys/kernel/random/boot_id`. Fails if procfs cannot be read.
pub fn boot_id(paths: &Paths) -> Result<String, PathError> {
    // Asked for twice for each lease of a sweep. A process never sees another boot; only a faked
    // procfs can change.
    static KNOWN: OnceLock<String> = OnceLock::new();
    let is_real = paths.proc == Path::new("/proc");
    if let Some(known) = KNOWN.get().filter(|_| is_real) {
        return Ok(known.clone());
    }
    let path = paths.proc.join("sys/kernel/random/boot_id");
    let text = fs::read_to_string(&path).map_err(PathError::new("read", &path))?;
    let boot_id = text.trim().to_owned();
    if is_real {
        let _ = KNOWN.set(boot_id.clone());
    }
    Ok(boot_id)
}

/// The inode of our pid namespace: pids recorded under another one mean nothing here. Fails if
/// procfs cannot be read.
pub fn pid_namespace(paths: &Paths) -> Result<u64, PathError> {
    let path = paths.proc.join("self/ns/pid");
    namespaces::inode(&path).map_err(PathError::new("read", &path))
}

/// Where and when we are: what a recorded pid has to agree with to mean anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Here {
    /// See [`boot_id`]; `None` if procfs does not tell.
    pub boot_id: Option<String>,
    /// See [`pid_namespace`]; `None` if procfs does not tell.
    pub pid_namespace: Option<u64>,
    /// Who is in the other pid namespaces, once that was asked.
    pub(super) census: OnceCell<Result<Census, String>>,
    /// The cgroups that others may have seen otherwise.
    pub(crate) cgroups: Cgroups,
}

impl Here {
    /// Looks once, for judging many processes.
    pub fn look(paths: &Paths) -> Self {
        Self {
            boot_id: boot_id(paths).ok(),
            pid_namespace: pid_namespace(paths).ok(),
            census: OnceCell::new(),
            cgroups: Cgroups::default(),
        }
    }
}

/// Whether this process is root in the initial user namespace. A user namespace shows itself by
/// a uid map other than the identity (user_namespaces(7)).
pub fn is_host_root(paths: &Paths) -> bool {
    if !nix::unistd::geteuid().is_root() {
        return false;
    }
    fs::read_to_string(paths.proc.join("self/uid_map")).is_ok_and(|map| is_identity(&map))
}

fn is_identity(map: &str) -> bool {
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_namespace_is_not_the_host() {
        assert!(is_identity("         0          0 4294967295\n"));
        assert!(!is_identity("0 1000 1\n1 100000 65536\n"));
        assert!(!is_identity(""));
    }
}
