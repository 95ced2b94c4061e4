//! Where driver files go in one container, and what the user has there already.
//!
//! Any directory of an image may be a link, into a volume of the user's as well. So our places and
//! the user's are compared by what they are in the image without links.

use crate::failure::Failure;
use crate::injection::Facts;
use crate::model::code::Code;
use crate::model::driver::FileKind;
use crate::model::text::shown;
use crate::sys::in_root::Root;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A container's root file system, seen as places for files.
pub(super) struct Places {
    root: Root,
    directory: String,
    /// What the user mounts, and whether it is a bind mount.
    taken: Vec<(PathBuf, bool)>,
    /// Directories of ours that were resolved: nearly all files are in one of them.
    known: BTreeMap<PathBuf, PathBuf>,
}

impl Places {
    /// With the directory of libraries.
    pub(super) fn new(root: Root, directory: String, facts: &Facts) -> Self {
        let resolved = |path: &Path| root.resolve(path).unwrap_or_else(|| path.to_owned());
        let mounts = facts.mounts.iter();
        let taken = mounts.map(|m| (resolved(Path::new(&m.destination)), m.bind)).collect();
        Self { root, directory, taken, known: BTreeMap::new() }
    }

    /// Where a file goes by one of its names, unless the user has put something there. Fails with
    /// `bad-bundle` if the image leads it nowhere, or where a spec cannot say.
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

    /// Whether the user has put something there. Below a directory of the user's the runtime would
    /// even have to make the file that is mounted on.
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

/// One spelling for the directories that loaders take for the same, if an image has not merged
/// them: what the user has put into `/usr/lib` counts for `/lib` as well.
fn merged(path: &Path) -> &Path {
    let is_one = |rest: &&str| ["/lib", "/bin", "/sbin"].iter().any(|dir| rest.starts_with(dir));
    let rest = path.to_str().and_then(|path| path.strip_prefix("/usr")).filter(is_one);
    rest.map_or(path, Path::new)
}
