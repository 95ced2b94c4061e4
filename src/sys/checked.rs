//! Reading a file that decides what root does: only if nobody else could have written it.

mod judge;
mod program;

pub use judge::{FILE_MAX, FileError, UnsafeFile};
pub use program::{check_program, check_way};

use super::PathError;
use super::error::if_there;
use judge::{FileFacts, effective_user, judge_directory, judge_file, judge_mode, judge_owner};
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The bytes of a file together with the metadata of the very file that was read.
#[derive(Debug)]
pub struct CheckedFile {
    pub bytes: Vec<u8>,
    /// As it was before the first byte was read.
    pub metadata: Metadata,
}

/// Reads a regular file that only root or the effective user can write, in a directory where nobody
/// else can replace it; at most [`FILE_MAX`] bytes. `None` if there is no such file.
///
/// A symbolic link is followed, because a distribution or a deployment tool may well manage the
/// file that way; the directory of the link and that of its target are both checked. Fails if the
/// file exists but is unsafe, too large or unreadable.
pub fn read_checked(path: &Path) -> Result<Option<CheckedFile>, FileError> {
    let failed = |action| move |source| FileError::Io(PathError::new(action, path)(source));
    let found = if_there(fs::symlink_metadata(path)).map_err(failed("look at"))?;
    let Some(found) = found else { return Ok(None) };
    check_directory_of(path)?;
    let target = if found.is_symlink() {
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
    let Some(file) = if_there(opened).map_err(failed("open"))? else { return Ok(None) };
    let metadata = file.metadata().map_err(failed("look at"))?;
    let facts = FileFacts::of(&metadata);
    judge_file(facts, effective_user())
        .map_err(|fault| FileError::Insecure { path: path.into(), fault })?;
    match read_at_most(&file, &metadata, FILE_MAX) {
        Ok(bytes) => Ok(Some(CheckedFile { bytes, metadata })),
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            Err(FileError::TooLarge { path: path.into() })
        }
        Err(error) => Err(failed("read")(error)),
    }
}

/// Whether a program could have been replaced by anybody but root or the effective user, by the
/// rules of [`check_program`]. `None` if there is no such file. Fails if the file exists but is
/// unsafe, or cannot be looked at.
pub fn check_unread(path: &Path) -> Result<Option<Metadata>, FileError> {
    let found = if_there(fs::metadata(path)).map_err(PathError::new("look at", path))?;
    if found.is_some() {
        check_program(path)?;
    }
    Ok(found)
}

/// The bytes of a regular file that others may have put there and that decides nothing: a symbolic
/// link is followed. `None` if there is no such file. Fails as [`read_own`], but for the owner.
pub fn read_foreign(path: &Path, max: u64) -> io::Result<Option<Vec<u8>>> {
    read_regular(path, max, 0, |_| None)
}

/// What the caller named by its path, read as the program would read it for which it was meant: a
/// pipe to its end, which is waited for. Never under the lock. Fails with
/// [`io::ErrorKind::FileTooLarge`] for more than `max` bytes; else the system's.
pub fn read_stream(path: &Path, max: u64) -> io::Result<Stream> {
    let file =
        OpenOptions::new().read(true).custom_flags(libc::O_NOCTTY | libc::O_CLOEXEC).open(path)?;
    let metadata = file.metadata()?;
    let bytes = read_at_most(&file, &metadata, max)?;
    Ok(Stream { bytes, is_regular: metadata.is_file() })
}

#[derive(Debug)]
pub struct Stream {
    pub bytes: Vec<u8>,
    /// Whether the next one who reads gets it too.
    pub is_regular: bool,
}

/// The bytes of a regular file of root's or the effective user's: a symbolic link or a file of
/// another user is damage. `None` if there is no such file. Fails with
/// [`io::ErrorKind::InvalidData`] for what is not such a file, [`io::ErrorKind::FileTooLarge`] for
/// more than `max` bytes; else the system's. A pipe or a device is not waited for.
pub fn read_own(path: &Path, max: u64) -> io::Result<Option<Vec<u8>>> {
    let foreign = |metadata: &Metadata| {
        judge_owner(FileFacts::of(metadata), effective_user()).err().map(|fault| fault.to_string())
    };
    read_regular(path, max, libc::O_NOFOLLOW, foreign)
}

/// Whether a reader found something else than what belongs at the path, as it will next time.
pub fn is_damage(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::FileTooLarge)
}

/// Opens without waiting, looks at what was opened, and reads no more than `max` bytes: whatever
/// lies at the path, this ends soon.
fn read_regular(
    path: &Path,
    max: u64,
    flags: i32,
    fault: impl FnOnce(&Metadata) -> Option<String>,
) -> io::Result<Option<Vec<u8>>> {
    let damage = |what: String| Err(io::Error::new(io::ErrorKind::InvalidData, what));
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC | flags)
        .open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return match error.raw_os_error() {
                Some(libc::ELOOP) if flags & libc::O_NOFOLLOW != 0 => {
                    damage("it is a symbolic link".to_owned())
                }
                // A socket, or a device without a driver.
                Some(libc::ENXIO) => damage(NOT_REGULAR.to_owned()),
                _ => Err(error),
            };
        }
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return damage(NOT_REGULAR.to_owned());
    }
    if let Some(fault) = fault(&metadata) {
        return damage(fault);
    }
    read_at_most(&file, &metadata, max).map(Some)
}

/// All bytes of a file, which may have grown since it was looked at.
fn read_at_most(file: &File, metadata: &Metadata, max: u64) -> io::Result<Vec<u8>> {
    let too_large = || {
        let what = format!("it is larger than {max} bytes");
        Err(io::Error::new(io::ErrorKind::FileTooLarge, what))
    };
    if metadata.len() > max {
        return too_large();
    }
    // One byte more than there is: a file that has not grown is read in one go.
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0) + 1);
    file.take(max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max { too_large() } else { Ok(bytes) }
}

const NOT_REGULAR: &str = "it is not a regular file";

/// Whether nobody else can replace, or put in the way, a file of this path: by the rules of
/// [`read_checked`], for one that is only about to be made. Fails if its directory is unsafe, is
/// not there, or cannot be looked at.
pub fn check_directory_of(path: &Path) -> Result<(), FileError> {
    let Some(directory) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) else {
        return Ok(());
    };
    let metadata = fs::metadata(directory).map_err(PathError::new("look at", directory))?;
    judge_directory(FileFacts::of(&metadata), effective_user(), 0o002)
        .map_err(|fault| FileError::Insecure { path: directory.into(), fault })
}

/// What makes a file or a directory unfit to be handed on to containers: somebody other than root
/// (or the effective user) could have written it.
pub fn fault_of(metadata: &Metadata) -> Option<UnsafeFile> {
    let facts = FileFacts::of(metadata);
    judge_owner(facts, effective_user()).and_then(|()| judge_mode(facts, 0o022)).err()
}

#[cfg(test)]
mod tests;
