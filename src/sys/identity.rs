//! The identity of this process: whether it is root on the host, its boot and its pid namespace.

use super::PathError;
use crate::paths::Paths;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The id of this boot, from `/proc/sys/kernel/random/boot_id`. Fails if procfs cannot be read.
pub fn boot_id(paths: &Paths) -> Result<String, PathError> {
    // A sweep needs it twice for each lease. A process never sees another boot, so only a faked
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

/// The inode of our pid namespace. Pids that were recorded in another one mean nothing here. Fails
/// if procfs cannot be read.
pub fn pid_namespace(paths: &Paths) -> Result<u64, PathError> {
    let path = paths.proc.join("self/ns/pid");
    namespace_inode(&path).map_err(PathError::new("read", &path))
}

/// The number in a link of `/proc/<pid>/ns`: `pid:[4026531836]`.
pub(super) fn namespace_inode(link: &Path) -> io::Result<u64> {
    let number =
        |target: PathBuf| target.to_str()?.split_once(":[")?.1.strip_suffix(']')?.parse().ok();
    match fs::read_link(link) {
        Ok(target) => number(target).ok_or_else(|| io::ErrorKind::InvalidData.into()),
        // It is not a link, so the kernel did not make it: a fake.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            fs::metadata(link).map(|metadata| metadata.ino())
        }
        Err(error) => Err(error),
    }
}

/// Whether this process is root in the initial user namespace. Another user namespace has a uid map
/// other than the identity (user_namespaces(7)).
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
