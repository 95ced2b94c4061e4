//! The file system that the driver is installed in, and which of its files may go into containers.

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

/// The driver's root directory. No path in it leads out of it.
pub(super) struct DriverRoot {
    root: Root,
    /// The host's architecture. Files of another one are useless in a container.
    pub machine: Machine,
    /// Notes about files that are not used, as sentences.
    pub notes: Vec<String>,
    /// The directories that were checked, and whether others cannot replace what is in them.
    ways: BTreeMap<PathBuf, bool>,
}

/// A file or directory of the driver's.
pub(super) struct DriverPath {
    handle: Handle,
    metadata: Metadata,
    /// The path without links.
    pub real: PathBuf,
}

impl DriverPath {
    /// The path as text; `None` if it is not UTF-8.
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

    /// The names in a directory that are UTF-8, sorted.
    pub fn names(directory: &DriverPath) -> Vec<String> {
        let entries = fs::read_dir(&directory.real).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort_unstable();
        names
    }

    /// The content of a file; `None` if it has more than `max` bytes.
    pub fn read(&self, path: &str, max: usize) -> Option<Vec<u8>> {
        self.file(path)?.handle.beginning(max.saturating_add(1)).ok().filter(|b| b.len() <= max)
    }

    /// Whether only root can have written the file, and only root can replace it before it goes
    /// into a container. Notes the reason otherwise.
    pub fn is_safe(&mut self, here: &DriverPath) -> bool {
        if !here.real.parent().is_some_and(|directory| self.is_way_safe(directory)) {
            return false;
        }
        let Some(fault) = fault_of(&here.metadata) else { return true };
        self.note(format!("`{}` is not put into containers: {fault}", here.real.display()));
        false
    }

    /// Whether only root can replace a service's socket. The socket and its directory may belong to
    /// the service.
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
        // The times of a directory that others can write to prove nothing, so it has no stamp.
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

    /// Whether it is a program of this architecture, and not a script.
    pub fn is_program(&self, here: &DriverPath) -> bool {
        let is_native = |file: File| elf::is_native(&file, self.machine);
        here.handle.open().is_ok_and(is_native)
    }
}
