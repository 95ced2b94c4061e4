//! Telling whether a source is still the one that was read.

use serde::{Deserialize, Serialize};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What kind of source an inventory came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceKind {
    /// A devices file.
    Static,
}

/// What a source file looked like when it was read. Any edit, replacement or change of owner or
/// mode changes the stamp.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceStamp {
    /// The kind of source.
    pub kind: SourceKind,
    /// The file.
    pub path: PathBuf,
    /// The file system it lies on (`st_dev`).
    pub device: u64,
    /// Its inode: another one after a replacement by rename.
    pub inode: u64,
    /// Its size in bytes.
    pub size: u64,
    /// Its last change of content, in nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Its last change of content, owner or mode, in nanoseconds since 1970. Unlike `mtime_ns` it
    /// cannot be set back.
    pub ctime_ns: i64,
}

impl SourceStamp {
    /// The stamp of the static source at `path`, which has this metadata.
    #[must_use]
    pub fn of_static(path: &Path, metadata: &Metadata) -> Self {
        Self {
            kind: SourceKind::Static,
            path: path.to_owned(),
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            mtime_ns: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
            ctime_ns: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// Good for the years 1678 to 2262; past that all times look alike.
const fn nanoseconds(seconds: i64, nanoseconds: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds)
}
