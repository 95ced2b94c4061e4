//! Reading a file that decides what root does: only if nobody else could have written it.

mod program;

pub use program::{check_program, check_way};

use super::PathError;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// The largest configuration or devices file that is read: 1 MiB.
pub const FILE_MAX: u64 = 1 << 20;

/// Why a file was not read.
#[derive(Debug, Error)]
pub enum FileError {
    /// A system call failed.
    #[error(transparent)]
    Io(#[from] PathError),
    /// Somebody other than root (or the effective user) could have written it.
    #[error("`{}` is not safe to use: {fault}", path.display())]
    Insecure {
        /// The file or the directory at fault.
        path: PathBuf,
        /// What is wrong with it.
        fault: Fault,
    },
    /// More than [`FILE_MAX`].
    #[error("`{}` is larger than {FILE_MAX} bytes", path.display())]
    TooLarge {
        /// Which file.
        path: PathBuf,
    },
}

/// What makes a file or a directory unsafe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Fault {
    /// A directory, a pipe, a device, …
    #[error("it is not a regular file")]
    NotRegular,
    /// The parent is not a directory.
    #[error("it is not a directory")]
    NotDirectory,
    /// Owned by a user that is neither root nor the effective one.
    #[error("its owner is user {0}, neither root nor the user that runs gpulease")]
    Owner(u32),
    /// Writable by group or others; the mode's permission bits.
    #[error("its mode {0:04o} lets others write to it")]
    Writable(u32),
}

/// The bytes of a file together with the metadata of the very file that was read.
#[derive(Debug)]
pub struct CheckedFile {
    /// The content.
    pub bytes: Vec<u8>,
    /// As it was before the first byte was read.
    pub metadata: Metadata,
}

/// Reads a regular file that only root or the effective user can write, in a directory where
/// nobody else can replace it; at most [`FILE_MAX`] bytes. `None` if there is no such file.
///
/// A symbolic link is followed, because a distribution or a deployment tool may well manage the
/// file that way; the directory of the link and that of its target are both checked.
///
/// # Errors
/// If the file exists but is unsafe, too large or unreadable.
pub fn read_checked(path: &Path) -> Result<Option<CheckedFile>, FileError> {
    let failed = |action| move |source| FileError::Io(PathError::new(action, path)(source));
    let is_link = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata.is_symlink(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("look at")(error)),
    };
    check_directory_of(path)?;
    let target = if is_link {
        let target = fs::canonicalize(path).map_err(failed("resolve"))?;
        check_directory_of(&target)?;
        target
    } else {
        path.to_owned()
    };
    // Without O_NONBLOCK the open of a pipe would wait for a writer, before it can be refused.
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC)
        .open(&target);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("open")(error)),
    };
    let metadata = file.metadata().map_err(failed("look at"))?;
    let facts = Facts::of(&metadata);
    judge_file(facts, effective_user())
        .map_err(|fault| FileError::Insecure { path: path.into(), fault })?;
    if metadata.len() > FILE_MAX {
        return Err(FileError::TooLarge { path: path.into() });
    }
    let bytes = read_at_most(file).map_err(failed("read"))?;
    // It may have grown since.
    if bytes.len() as u64 > FILE_MAX {
        return Err(FileError::TooLarge { path: path.into() });
    }
    Ok(Some(CheckedFile { bytes, metadata }))
}

/// Whether a program could have been replaced by anybody but root or the effective user, by the
/// rules of [`check_program`]. `None` if there is no such file.
///
/// # Errors
/// If the file exists but is unsafe, or cannot be looked at.
pub fn check_unread(path: &Path) -> Result<Option<Metadata>, FileError> {
    let failed = |action| move |source| FileError::Io(PathError::new(action, path)(source));
    match fs::metadata(path) {
        Ok(metadata) => check_program(path).map(|()| Some(metadata)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("look at")(error)),
    }
}

/// The bytes of a regular file that belongs to somebody else and decides nothing: whoever may
/// write it. At most `max` bytes; a pipe or a device is refused without being waited for. `None`
/// if there is no such file.
///
/// # Errors
/// If there is something else, or more, or it is unreadable.
pub fn read_foreign(path: &Path, max: u64) -> io::Result<Option<Vec<u8>>> {
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC)
        .open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max {
        return Err(io::Error::other(format!("it is larger than {max} bytes")));
    }
    Ok(Some(bytes))
}

fn read_at_most(file: File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(4096);
    file.take(FILE_MAX + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Whether nobody else can replace, or put in the way, a file of this path: by the rules of
/// [`read_checked`], for one that is only about to be made.
///
/// # Errors
/// If its directory is unsafe, is not there, or cannot be looked at.
pub fn check_directory_of(path: &Path) -> Result<(), FileError> {
    let Some(directory) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) else {
        return Ok(());
    };
    let metadata = fs::metadata(directory).map_err(PathError::new("look at", directory))?;
    judge_directory(Facts::of(&metadata), effective_user())
        .map_err(|fault| FileError::Insecure { path: directory.into(), fault })
}

/// What makes a file or a directory unfit to be handed on to containers: somebody other than root
/// (or the effective user) could have written it.
#[must_use]
pub fn fault_of(metadata: &Metadata) -> Option<Fault> {
    let facts = Facts::of(metadata);
    let writable = (facts.mode & 0o022 != 0).then_some(Fault::Writable(facts.mode & 0o7777));
    judge_owner(facts, effective_user()).err().or(writable)
}

fn effective_user() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// What of the metadata decides.
#[derive(Debug, Clone, Copy)]
struct Facts {
    mode: u32,
    owner: u32,
}

impl Facts {
    fn of(metadata: &Metadata) -> Self {
        Self { mode: metadata.mode(), owner: metadata.uid() }
    }

    const fn is(self, kind: u32) -> bool {
        self.mode & libc::S_IFMT == kind
    }
}

fn judge_file(facts: Facts, user: u32) -> Result<(), Fault> {
    if !facts.is(libc::S_IFREG) {
        return Err(Fault::NotRegular);
    }
    judge_owner(facts, user)?;
    if facts.mode & 0o022 != 0 {
        return Err(Fault::Writable(facts.mode & 0o7777));
    }
    Ok(())
}

fn judge_directory(facts: Facts, user: u32) -> Result<(), Fault> {
    if !facts.is(libc::S_IFDIR) {
        return Err(Fault::NotDirectory);
    }
    judge_owner(facts, user)?;
    // In a sticky directory others can create files, but not replace this one; one that they
    // create fails the check of its owner.
    if facts.mode & 0o002 != 0 && facts.mode & libc::S_ISVTX == 0 {
        return Err(Fault::Writable(facts.mode & 0o7777));
    }
    Ok(())
}

const fn judge_owner(facts: Facts, user: u32) -> Result<(), Fault> {
    if facts.owner == 0 || facts.owner == user { Ok(()) } else { Err(Fault::Owner(facts.owner)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn judgement() {
        use Fault::{NotDirectory, NotRegular, Owner, Writable};
        let file = |mode, owner| judge_file(Facts { mode, owner }, 1000);
        assert_eq!(file(0o100_644, 0), Ok(()));
        assert_eq!(file(0o100_600, 1000), Ok(()));
        assert_eq!(file(0o100_644, 1001), Err(Owner(1001)));
        assert_eq!(file(0o100_664, 0), Err(Writable(0o664)));
        assert_eq!(file(0o100_646, 0), Err(Writable(0o646)));
        assert_eq!(file(0o010_644, 0), Err(NotRegular));
        let directory = |mode, owner| judge_directory(Facts { mode, owner }, 1000);
        assert_eq!(directory(0o040_755, 0), Ok(()));
        assert_eq!(directory(0o041_777, 0), Ok(()));
        assert_eq!(directory(0o040_777, 0), Err(Writable(0o777)));
        assert_eq!(directory(0o040_755, 1001), Err(Owner(1001)));
        assert_eq!(directory(0o100_755, 0), Err(NotDirectory));
    }

    fn put(path: &Path, text: &[u8], mode: u32) {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn fault(path: &Path) -> Fault {
        match read_checked(path) {
            Err(FileError::Insecure { fault, .. }) => fault,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn files_on_disk() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("f");
        assert!(read_checked(&path).unwrap().is_none());
        put(&path, b"hello", 0o644);
        assert_eq!(read_checked(&path).unwrap().unwrap().bytes, b"hello");
        put(&path, b"hello", 0o664);
        assert_eq!(fault(&path), Fault::Writable(0o664));
        assert_eq!(fault(root.path()), Fault::NotRegular);
        put(&path, &vec![b'#'; (FILE_MAX + 1) as usize], 0o644);
        assert!(matches!(read_checked(&path), Err(FileError::TooLarge { .. })));
        let below = path.join("x");
        let error = read_checked(&below).unwrap_err();
        assert!(error.to_string().contains(below.to_str().unwrap()), "{error}");
    }

    #[test]
    fn a_pipe_is_refused_and_not_waited_for() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        assert_eq!(fault(&path), Fault::NotRegular);
    }

    #[test]
    fn both_ends_of_a_link_are_checked() {
        let root = tempfile::tempdir().unwrap();
        let (safe, open) = (root.path().join("safe"), root.path().join("open"));
        for directory in [&safe, &open] {
            fs::create_dir(directory).unwrap();
        }
        put(&safe.join("real"), b"x", 0o644);
        put(&open.join("real"), b"x", 0o644);
        symlink(safe.join("real"), safe.join("good")).unwrap();
        symlink(open.join("real"), safe.join("out")).unwrap();
        symlink(safe.join("none"), safe.join("dangling")).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(read_checked(&safe.join("good")).unwrap().is_some());
        assert_eq!(fault(&safe.join("out")), Fault::Writable(0o777));
        assert_eq!(fault(&open.join("real")), Fault::Writable(0o777));
        // A link to nothing is a mistake, not an absent file.
        assert!(matches!(read_checked(&safe.join("dangling")), Err(FileError::Io(_))));
    }

    #[test]
    fn another_users_file_is_refused() {
        if effective_user() != 0 {
            return;
        }
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("f");
        put(&path, b"x", 0o644);
        std::os::unix::fs::chown(&path, Some(12345), None).unwrap();
        assert_eq!(fault(&path), Fault::Owner(12345));
    }
}
