//! Reads files that decide what root does, and only if no other user could have written them.

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

/// The bytes of a file, with the metadata of exactly this file.
#[derive(Debug)]
pub struct CheckedFile {
    pub bytes: Vec<u8>,
    /// The metadata from before the first byte was read.
    pub metadata: Metadata,
}

/// Reads a regular file that only root or the effective user can write, in a directory where no
/// other user can replace it; at most [`FILE_MAX`] bytes. `None` if there is no such file.
///
/// A symbolic link is followed, because a distribution or a deployment tool may manage the file
/// that way. The directory of the link and that of its target are both checked. Fails if the file
/// exists but is unsafe, too large or unreadable.
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
    // Without O_NONBLOCK, opening a pipe would wait for a writer before the pipe can be refused.
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

/// Checks by the rules of [`check_program`] that only root or the effective user could have
/// replaced a program. `None` if there is no such file. Fails if the file exists but is unsafe, or
/// cannot be looked at.
pub fn check_unread(path: &Path) -> Result<Option<Metadata>, FileError> {
    let found = if_there(fs::metadata(path)).map_err(PathError::new("look at", path))?;
    if found.is_some() {
        check_program(path)?;
    }
    Ok(found)
}

/// Reads a regular file of any owner that decides nothing. A symbolic link is followed. `None` if
/// there is no such file. Fails as [`read_own`], except for the owner.
pub fn read_foreign(path: &Path, max: u64) -> io::Result<Option<Vec<u8>>> {
    read_regular(path, max, 0, |_| None)
}

/// Reads a file that the caller named, as the program that it is for would read it: a pipe to its
/// end, which is waited for, so never under the lock. Fails with [`io::ErrorKind::FileTooLarge`]
/// for more than `max` bytes, else with the system's error.
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
    /// Whether it can be read again.
    pub is_regular: bool,
}

/// Reads a regular file of root's or the effective user's. A symbolic link or a file of another
/// user is damage. `None` if there is no such file. Fails with [`io::ErrorKind::InvalidData`] for
/// anything else, with [`io::ErrorKind::FileTooLarge`] for more than `max` bytes, else with the
/// system's error. It never waits for a pipe or a device.
pub fn read_own(path: &Path, max: u64) -> io::Result<Option<Vec<u8>>> {
    let foreign = |metadata: &Metadata| {
        judge_owner(FileFacts::of(metadata), effective_user()).err().map(|fault| fault.to_string())
    };
    read_regular(path, max, libc::O_NOFOLLOW, foreign)
}

/// Whether the error means that there is something wrong at the path, which the next reader will
/// find again.
pub fn is_damage(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::FileTooLarge)
}

/// Opens the path without waiting, checks what was opened, and reads at most `max` bytes. So it
/// ends soon, whatever is at the path.
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
                // It is a socket, or a device without a driver.
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

/// Reads all bytes of a file, which may have grown since its metadata was read.
fn read_at_most(file: &File, metadata: &Metadata, max: u64) -> io::Result<Vec<u8>> {
    let too_large = || {
        let what = format!("it is larger than {max} bytes");
        Err(io::Error::new(io::ErrorKind::FileTooLarge, what))
    };
    if metadata.len() > max {
        return too_large();
    }
    // One byte more than expected, so that a file that has not grown is read in one call.
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0) + 1);
    file.take(max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max { too_large() } else { Ok(bytes) }
}

const NOT_REGULAR: &str = "it is not a regular file";

/// Checks by the rules of [`read_checked`] that no other user can replace a file at this path, or
/// create it first. The file need not exist. Fails if its directory is unsafe or missing, or cannot
/// be looked at.
pub fn check_directory_of(path: &Path) -> Result<(), FileError> {
    let Some(directory) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) else {
        return Ok(());
    };
    let metadata = fs::metadata(directory).map_err(PathError::new("look at", directory))?;
    judge_directory(FileFacts::of(&metadata), effective_user(), 0o002)
        .map_err(|fault| FileError::Insecure { path: directory.into(), fault })
}

/// Why a file or a directory must not be passed on to containers: a user other than root (or the
/// effective user) could have written it.
pub fn fault_of(metadata: &Metadata) -> Option<UnsafeFile> {
    let facts = FileFacts::of(metadata);
    judge_owner(facts, effective_user()).and_then(|()| judge_mode(facts, 0o022)).err()
}

#[cfg(test)]
mod tests;
