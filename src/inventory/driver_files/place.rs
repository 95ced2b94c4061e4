//! The file system that the driver is installed in, and what of it may go into containers.

use super::elf;
use crate::model::machine::Machine;
use crate::model::text::shown;
use crate::sys::checked::{FileError, check_way, fault_of};
use crate::sys::in_root::{Handle, Root};
use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// The driver's root directory. No path in there leads out of it.
pub(super) struct DriverRoot {
    root: Root,
    /// Of the host: what is of another architecture is no use in a container.
    pub machine: Machine,
    /// What is there and is not used, as sentences.
    pub notes: Vec<String>,
    /// Directories that were looked at, and whether what is in them stays what it is.
    ways: BTreeMap<PathBuf, bool>,
}

/// A file or directory of the driver's.
pub(super) struct DriverPath {
    handle: Handle,
    metadata: Metadata,
    /// Where it is, links resolved.
    pub real: PathBuf,
}

impl DriverPath {
    /// The path as text; `None` if it is none.
    pub fn text(&self) -> Option<&str> {
        self.real.to_str()
    }

    /// The file's own name.
    pub fn file_name(&self) -> Option<&str> {
        self.real.file_name()?.to_str()
    }
}

impl DriverRoot {
    pub fn open(root: &Path, machine: Machine) -> io::Result<Self> {
        Ok(Self { root: Root::open(root)?, machine, notes: Vec::new(), ways: BTreeMap::new() })
    }

    fn look(&self, path: &str) -> Option<DriverPath> {
        let handle = self.root.look(path).ok()?;
        let (metadata, real) = (handle.metadata().ok()?, handle.real_path().ok()?);
        Some(DriverPath { handle, metadata, real })
    }

    pub fn directory(&self, path: &str) -> Option<DriverPath> {
        self.look(path).filter(|here| here.metadata.is_dir())
    }

    pub fn file(&self, path: &str) -> Option<DriverPath> {
        self.look(path).filter(|here| here.metadata.is_file())
    }

    pub fn socket(&self, path: &str) -> Option<DriverPath> {
        self.look(path).filter(|here| here.metadata.file_type().is_socket())
    }

    /// The names in a directory that are text, sorted.
    pub fn names(directory: &DriverPath) -> Vec<String> {
        let entries = fs::read_dir(&directory.real).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort_unstable();
        names
    }

    /// The content of a file of at most `max` bytes.
    pub fn read(&self, path: &str, max: usize) -> Option<Vec<u8>> {
        self.file(path)?.handle.beginning(max.saturating_add(1)).ok().filter(|b| b.len() <= max)
    }

    /// Whether nobody but root can have written it, or can put something else in its place before it
    /// goes into a container; says so otherwise.
    pub fn is_safe(&mut self, here: &DriverPath) -> bool {
        if !here.real.parent().is_some_and(|directory| self.is_way_safe(directory)) {
            return false;
        }
        let Some(fault) = fault_of(&here.metadata) else { return true };
        self.note(format!("`{}` is not put into containers: {fault}", here.real.display()));
        false
    }

    /// The same of a service's socket. It is the service's, and so may its directory be.
    pub fn is_safe_socket(&mut self, here: &DriverPath) -> bool {
        let above = here.real.parent().and_then(Path::parent);
        above.is_some_and(|directory| self.is_way_safe(directory))
    }

    fn is_way_safe(&mut self, directory: &Path) -> bool {
        if let Some(is_safe) = self.ways.get(directory) {
            return *is_safe;
        }
        let checked = check_way(directory);
        self.ways.insert(directory.to_owned(), checked.is_ok());
        let Err(error) = checked else { return true };
        // The times of a directory that others write to say nothing, so it has no stamp.
        self.note(match error {
            FileError::Insecure { path, fault } => format!(
                "the driver's files below `{}` are not put into containers: {fault}; once that is \
                 put right, run `gpulease inventory refresh`",
                shown(&path.to_string_lossy())
            ),
            error => format!("the driver's files are not put into containers: {error}"),
        });
        false
    }

    fn note(&mut self, text: String) {
        if !self.notes.contains(&text) {
            self.notes.push(text);
        }
    }

    /// The name by which the loader knows a library; see [`elf::soname`].
    #[expect(clippy::option_option, reason = "as there")]
    pub fn soname(&self, here: &DriverPath) -> Option<Option<String>> {
        elf::soname(&here.handle.open().ok()?, self.machine)
    }

    /// Whether it is a program of this architecture, and no script.
    pub fn is_program(&self, here: &DriverPath) -> bool {
        let is_native = |file: File| elf::is_native(&file, self.machine);
        here.handle.open().is_ok_and(is_native)
    }
}
