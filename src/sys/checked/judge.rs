//! Decides by its metadata whether only root or the effective user could have written a file.

use crate::sys::PathError;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use thiserror::Error;

/// The largest configuration or devices file that is read: 1 MiB.
pub const FILE_MAX: u64 = 1 << 20;

/// Why a file was not read.
#[derive(Debug, Error)]
pub enum FileError {
    /// A system call failed.
    #[error(transparent)]
    Io(#[from] PathError),
    /// A user other than root (or the effective user) could have written it.
    #[error("`{}` is not safe to use: {fault}", path.display())]
    Insecure {
        /// The file or the directory that is unsafe.
        path: PathBuf,
        /// The reason.
        fault: UnsafeFile,
    },
    #[error("`{}` is larger than {FILE_MAX} bytes", path.display())]
    TooLarge { path: PathBuf },
}

/// Why a file or a directory is unsafe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum UnsafeFile {
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

pub(super) fn effective_user() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// The metadata that decides.
#[derive(Debug, Clone, Copy)]
pub(super) struct FileFacts {
    pub mode: u32,
    pub owner: u32,
}

impl FileFacts {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self { mode: metadata.mode(), owner: metadata.uid() }
    }

    pub(super) const fn is(self, kind: u32) -> bool {
        self.mode & libc::S_IFMT == kind
    }
}

pub(super) fn judge_file(facts: FileFacts, user: u32) -> Result<(), UnsafeFile> {
    if !facts.is(libc::S_IFREG) {
        return Err(UnsafeFile::NotRegular);
    }
    judge_owner(facts, user)?;
    judge_mode(facts, 0o022)
}

/// `writers` are the mode's bits that other users may not have. In a sticky directory others can
/// create files, but cannot replace this one, and a file that they create fails the check of its
/// owner.
pub(super) fn judge_directory(facts: FileFacts, user: u32, writers: u32) -> Result<(), UnsafeFile> {
    if !facts.is(libc::S_IFDIR) {
        return Err(UnsafeFile::NotDirectory);
    }
    judge_owner(facts, user)?;
    if facts.mode & libc::S_ISVTX == 0 { judge_mode(facts, writers) } else { Ok(()) }
}

pub(super) const fn judge_mode(facts: FileFacts, writers: u32) -> Result<(), UnsafeFile> {
    if facts.mode & writers == 0 { Ok(()) } else { Err(UnsafeFile::Writable(facts.mode & 0o7777)) }
}

pub(super) const fn judge_owner(facts: FileFacts, user: u32) -> Result<(), UnsafeFile> {
    if facts.owner == 0 || facts.owner == user {
        Ok(())
    } else {
        Err(UnsafeFile::Owner(facts.owner))
    }
}
