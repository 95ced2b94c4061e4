//! The other programs of gpulease, and the host's.

use crate::paths::Paths;
use std::path::{Path, PathBuf};

/// The directories in which programs of the host are looked for. The caller's PATH does not count:
/// Podman leaves it empty, and any user can set it. The last one has the runc, crun and conmon of
/// CRI-O's own packages.
pub const SYSTEM_DIRS: &[&str] = &[
    "/usr/bin",
    "/usr/sbin",
    "/usr/local/bin",
    "/usr/local/sbin",
    "/bin",
    "/sbin",
    "/usr/libexec/crio",
];

/// Where packages install them.
const DIRECTORIES: &[&str] = &["/usr/bin", "/usr/local/bin"];

/// The runtime that engines call.
pub const SHIM_NAME: &str = "gpulease-runtime";

const OURS: &[&str] = &["gpulease", SHIM_NAME, "gpulease-hook", "gpulease-rocm"];

/// Whether a program of this name is one of gpulease's.
pub fn is_of_gpulease(name: &str) -> bool {
    OURS.contains(&name)
}

/// The path that a program of this name has beside this one.
pub fn beside(name: &str) -> Option<PathBuf> {
    Some(std::env::current_exe().ok()?.parent()?.join(name))
}

/// The program of this name beside this one, or where packages install it. The caller's `PATH` is
/// never used.
pub fn find(name: &str) -> Option<PathBuf> {
    let fixed = DIRECTORIES.iter().map(|dir| Path::new(dir).join(name));
    beside(name).into_iter().chain(fixed).find(|path| path.is_file())
}

/// Where a host has a program of this name in [`SYSTEM_DIRS`].
pub fn installed_on(name: &str, paths: &Paths) -> Option<PathBuf> {
    let dirs = SYSTEM_DIRS.iter().map(|dir| paths.on_host(Path::new(dir)));
    dirs.map(|dir| dir.join(name)).find(|path| path.is_file())
}

/// The `gpulease` command, which does what takes long or needs more code than a container start
/// should load.
pub fn command() -> Option<PathBuf> {
    find("gpulease")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_beside_this_one_are_found() {
        let own = std::env::current_exe().unwrap();
        let name = own.file_name().unwrap().to_str().unwrap();
        assert_eq!(find(name), Some(own));
        assert_eq!(find("gpulease-that-is-not-there"), None);
    }
}
