//! The paths of driver files in one container, without those that the user's mounts occupy.
//!
//! Any directory of an image may be a link, even into a volume of the user's. So paths are compared
//! after the links of the image are resolved.

use crate::failure::Failure;
use crate::injection::Facts;
use crate::model::code::Code;
use crate::model::driver::FileKind;
use crate::model::text::shown;
use crate::sys::in_root::Root;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A container's root file system, as places for files.
pub(super) struct Places {
    root: Root,
    directory: String,
    /// The user's mounts, and whether each is a bind mount.
    taken: Vec<(PathBuf, bool)>,
    /// Directories that were resolved already: nearly all files are in one of them.
    known: BTreeMap<PathBuf, PathBuf>,
}

impl Places {
    /// `directory` is the one for libraries.
    pub(super) fn new(root: Root, directory: String, facts: &Facts) -> Self {
        let resolved = |path: &Path| root.resolve(path).unwrap_or_else(|| path.to_owned());
        let mounts = facts.mounts.iter();
        let taken = mounts.map(|m| (resolved(Path::new(&m.destination)), m.bind)).collect();
        Self { root, directory, taken, known: BTreeMap::new() }
    }

    /// The path of a file by one of its names; `None` if the user has mounted something there.
    /// Fails with `bad-bundle` if the image's links lead nowhere, or to a path that is not UTF-8.
    pub(super) fn free(&mut self, kind: FileKind, name: &str) -> Result<Option<String>, Failure> {
        let path = match kind {
            FileKind::Library => Path::new(&self.directory).join(name),
            _ => PathBuf::from(name),
        };
        let nowhere = || {
            let text = format!(
                "the driver's file `{}` cannot be put into the root file system: its links lead nowhere",
                shown(&path.to_string_lossy())
            );
            Failure::new(Code::BadBundle, text)
        };
        let (Some(parent), Some(last)) = (path.parent(), path.file_name()) else {
            return Err(nowhere());
        };
        let destination = self.resolved(parent).ok_or_else(nowhere)?.join(last);
        // The file may be a link in the image, which a runtime follows.
        let end = self.root.resolve(&destination).ok_or_else(nowhere)?;
        if self.is_taken(&end) {
            return Ok(None);
        }
        destination.into_os_string().into_string().map(Some).map_err(|_| nowhere())
    }

    fn resolved(&mut self, directory: &Path) -> Option<PathBuf> {
        if let Some(known) = self.known.get(directory) {
            return Some(known.clone());
        }
        let real = self.root.resolve(directory)?;
        self.known.insert(directory.to_owned(), real.clone());
        Some(real)
    }

    /// Whether the user has mounted something there. Below a bind mount of the user's, the
    /// low-level runtime would have to create the mount point in the user's directory.
    fn is_taken(&self, ours: &Path) -> bool {
        self.taken.iter().any(|(theirs, is_bind)| {
            let spellings = [(ours, theirs.as_path()), (merged(ours), merged(theirs))];
            spellings.iter().any(|(ours, theirs)| {
                let is_below = *is_bind && *theirs != Path::new("/") && ours.starts_with(theirs);
                ours == theirs || is_below
            })
        })
    }
}

/// One spelling for directories that loaders treat alike, even in an image that has not merged
/// them: a mount below `/usr/lib` counts for `/lib` too.
fn merged(path: &Path) -> &Path {
    let is_one = |rest: &&str| ["/lib", "/bin", "/sbin"].iter().any(|dir| rest.starts_with(dir));
    let rest = path.to_str().and_then(|path| path.strip_prefix("/usr")).filter(is_one);
    rest.map_or(path, Path::new)
}
