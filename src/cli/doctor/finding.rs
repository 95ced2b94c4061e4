//! How findings name files.

use crate::model::text::shown;
use std::path::Path;

pub(super) use crate::view::findings::{Findings, Level, UNCHECKED};

/// `/dev/nvidia0` in a message, with the number of the others.
pub(super) fn first_and_more(paths: &[&str]) -> String {
    let first = shown(paths.first().copied().unwrap_or_default());
    match paths.len() {
        0 | 1 => format!("`{first}`"),
        count => format!("`{first}` and {} more", count - 1),
    }
}

/// A path in a message.
pub(super) fn quoted(path: &Path) -> String {
    format!("`{}`", plain(path))
}

/// A path in a command.
pub(super) fn plain(path: &Path) -> String {
    path.display().to_string()
}
