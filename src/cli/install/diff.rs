//! What changes, as `diff -u` shows it.

use similar::TextDiff;
use std::path::Path;

/// `None` is a file that is not there.
pub(super) fn unified(path: &Path, old: Option<&str>, new: Option<&str>) -> String {
    if old == new {
        return String::new();
    }
    let name = |text: Option<&str>| match text {
        Some(_) => path.display().to_string(),
        None => "/dev/null".to_owned(),
    };
    TextDiff::from_lines(old.unwrap_or_default(), new.unwrap_or_default())
        .unified_diff()
        .header(&name(old), &name(new))
        .to_string()
}
