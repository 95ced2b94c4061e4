//! An I/O error that knows what was being done to which path.

use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// What failed, where, and the system's reason.
#[derive(Debug, Error)]
#[error("cannot {action} `{}`", path.display())]
pub struct PathError {
    /// A verb: `read`, `replace`, `lock`.
    pub action: &'static str,
    pub path: PathBuf,
    pub source: io::Error,
}

impl PathError {
    /// For use in `map_err`.
    pub fn new(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self { action, path, source }
    }

    /// Whether the path is simply not there.
    pub fn is_missing(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }
}
