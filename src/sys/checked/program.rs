//! Checks a program that root is about to execute: no other user may be able to change which
//! program it is.

use super::judge::{
    FileError, FileFacts, UnsafeFile, effective_user, judge_directory, judge_file, judge_owner,
};
use crate::sys::PathError;
use crate::sys::in_root::backwards;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The most symbolic links, as in Linux.
const LINKS_MAX: u32 = 40;

/// The mode's bits that a directory on the way may not have, unless it is sticky: a user that can
/// write to it can rename what is below, and members of a group are not root.
const WRITERS: u32 = 0o022;

/// Checks that only root or the effective user can change which program `path` is: neither the
/// file, nor any directory or symbolic link on the way to it from `/`.
///
/// All of them have to belong to root or the effective user. The file may not be writable by group
/// or others. A directory may only be if it is sticky, as `/tmp` is: there others can create
/// entries of their own, but cannot replace root's.
///
/// The file need not be executable. A relative path starts at the current directory. Fails if there
/// is no such file, or if it cannot be looked at. Fails with [`FileError::Insecure`] if it is
/// unsafe, which names `path` itself for a fault of the file, else the directory or link.
pub fn check_program(path: &Path) -> Result<(), FileError> {
    let user = effective_user();
    let insecure = |at: &Path, fault| FileError::Insecure { path: at.to_owned(), fault };
    // The rest of the path; the next name is last. The kernel's lookup is repeated here step by
    // step, because the canonical path does not show the directories that a chain of links leads
    // through.
    let mut rest = Vec::new();
    let mut at = PathBuf::from("/");
    rest.extend(backwards(path));
    if path.is_relative() {
        let current = std::env::current_dir().map_err(PathError::new("resolve", path))?;
        rest.extend(backwards(&current));
    }
    let mut links = 0;
    judge_directory(look_at(&at)?, user, WRITERS).map_err(|fault| insecure(&at, fault))?;
    while let Some(name) = rest.pop() {
        if name == ".." {
            // It was checked on the way down.
            at.pop();
            continue;
        }
        at.push(name);
        let facts = look_at(&at)?;
        if facts.is(libc::S_IFLNK) {
            // The mode of a link means nothing. Its owner can replace it.
            judge_owner(facts, user).map_err(|fault| insecure(&at, fault))?;
            links += 1;
            if links > LINKS_MAX {
                let source = io::Error::from_raw_os_error(libc::ELOOP);
                return Err(PathError::new("resolve", path)(source).into());
            }
            let target = fs::read_link(&at).map_err(PathError::new("resolve", &at))?;
            rest.extend(backwards(&target));
            if target.is_absolute() {
                at = PathBuf::from("/");
            } else {
                at.pop();
            }
        } else if rest.is_empty() {
            return judge_file(facts, user).map_err(|fault| insecure(path, fault));
        } else {
            judge_directory(facts, user, WRITERS).map_err(|fault| insecure(&at, fault))?;
        }
    }
    // The path ended with `/` or `..`.
    Err(insecure(path, UnsafeFile::NotRegular))
}

/// Checks by the rules of [`check_program`] that only root or the effective user can replace
/// `directory` or an entry of it. The path is absolute and has no symbolic links. Fails if a
/// directory cannot be looked at, or with [`FileError::Insecure`] for the first unsafe one.
pub fn check_way(directory: &Path) -> Result<(), FileError> {
    let user = effective_user();
    let mut way: Vec<&Path> = directory.ancestors().collect();
    way.reverse();
    for at in way {
        judge_directory(look_at(at)?, user, WRITERS)
            .map_err(|fault| FileError::Insecure { path: at.to_owned(), fault })?;
    }
    Ok(())
}

/// Looks at the path without following a link.
fn look_at(path: &Path) -> Result<FileFacts, PathError> {
    let metadata = fs::symlink_metadata(path).map_err(PathError::new("look at", path))?;
    Ok(FileFacts::of(&metadata))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// A directory with `a/b/c/tool`, all as it should be whatever the umask.
    fn tree() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let mut at = fs::canonicalize(dir.path()).unwrap();
        chmod(&at, 0o755);
        for name in ["a", "b", "c"] {
            at.push(name);
            fs::create_dir(&at).unwrap();
            chmod(&at, 0o755);
        }
        at.push("tool");
        fs::write(&at, "").unwrap();
        chmod(&at, 0o755);
        (dir, at)
    }

    #[track_caller]
    fn fault(path: &Path) -> (PathBuf, UnsafeFile) {
        match check_program(path) {
            Err(FileError::Insecure { path, fault }) => (path, fault),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_directory_above_a_program_is_checked() {
        let (dir, tool) = tree();
        check_program(&tool).unwrap();
        check_program(Path::new("/bin/sh")).unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        for above in ["a", "a/b", "a/b/c"] {
            let above = root.join(above);
            for mode in [0o777, 0o775, 0o757] {
                chmod(&above, mode);
                assert_eq!(fault(&tool), (above.clone(), UnsafeFile::Writable(mode)));
            }
            chmod(&above, 0o1777);
            check_program(&tool).unwrap();
            chmod(&above, 0o755);
        }
        chmod(&tool, 0o775);
        assert_eq!(fault(&tool), (tool.clone(), UnsafeFile::Writable(0o775)));
        assert_eq!(fault(&root), (root.clone(), UnsafeFile::NotRegular));
        assert_eq!(fault(&root.join("a/..")), (root.join("a/.."), UnsafeFile::NotRegular));
        chmod(&tool, 0o755);
        assert_eq!(fault(&tool.join("x")).1, UnsafeFile::NotDirectory);
        check_program(&root.join("a/b/../b/./c/tool")).unwrap();
        assert!(matches!(check_program(&root.join("none")), Err(FileError::Io(_))));
    }

    #[test]
    fn every_directory_that_links_lead_through_is_checked() {
        let (dir, tool) = tree();
        let root = fs::canonicalize(dir.path()).unwrap();
        let middle = root.join("middle");
        fs::create_dir(&middle).unwrap();
        chmod(&middle, 0o755);
        symlink("../a/b", middle.join("there")).unwrap();
        symlink(middle.join("there"), root.join("dir")).unwrap();
        symlink("dir/c/tool", root.join("tool")).unwrap();
        check_program(&root.join("tool")).unwrap();
        // Neither in the path nor in the canonical one.
        chmod(&middle, 0o777);
        assert_eq!(fault(&root.join("tool")), (middle.clone(), UnsafeFile::Writable(0o777)));
        chmod(&middle, 0o755);
        chmod(&root.join("a"), 0o775);
        assert_eq!(fault(&root.join("tool")), (root.join("a"), UnsafeFile::Writable(0o775)));
        chmod(&root.join("a"), 0o755);
        chmod(&tool, 0o757);
        assert_eq!(fault(&root.join("tool")), (root.join("tool"), UnsafeFile::Writable(0o757)));
        symlink("loop", root.join("loop")).unwrap();
        let error = check_program(&root.join("loop")).unwrap_err();
        assert!(matches!(error, FileError::Io(_)), "{error}");
    }

    #[test]
    fn what_another_user_owns_on_the_way_is_refused() {
        if effective_user() != 0 {
            return;
        }
        let (dir, tool) = tree();
        let root = fs::canonicalize(dir.path()).unwrap();
        let above = root.join("a");
        chown(&above, Some(12345), None).unwrap();
        assert_eq!(fault(&tool), (above.clone(), UnsafeFile::Owner(12345)));
        chown(&above, Some(0), None).unwrap();
        // Another user's link in a directory like /tmp.
        chmod(&above, 0o1777);
        let link = above.join("link");
        symlink(&tool, &link).unwrap();
        check_program(&link).unwrap();
        lchown(&link, Some(12345), None).unwrap();
        assert_eq!(fault(&link), (link.clone(), UnsafeFile::Owner(12345)));
    }
}
