//! The file system that the driver is installed in, and what of it may go into containers.

use super::elf;
use crate::model::machine::Machine;
use crate::sys::checked::fault_of;
use crate::sys::in_root::{Handle, Root};
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// The driver's root directory. No path in there leads out of it.
pub(super) struct Place {
    root: Root,
    /// Of the host: what is of another architecture is no use in a container.
    pub machine: Machine,
    /// What is there and is not used, as sentences.
    pub notes: Vec<String>,
}

/// A file or directory of the driver's.
pub(super) struct Here {
    handle: Handle,
    metadata: Metadata,
    /// Where it is, links resolved.
    pub real: PathBuf,
}

impl Here {
    /// The path as text; `None` if it is none.
    pub fn text(&self) -> Option<&str> {
        self.real.to_str()
    }

    /// The file's own name.
    pub fn file_name(&self) -> Option<&str> {
        self.real.file_name()?.to_str()
    }
}

impl Place {
    pub fn open(root: &Path, machine: Machine) -> io::Result<Self> {
        Ok(Self { root: Root::open(root)?, machine, notes: Vec::new() })
    }

    fn look(&self, path: &str) -> Option<Here> {
        let handle = self.root.look(path).ok()?;
        let (metadata, real) = (handle.metadata().ok()?, handle.real_path().ok()?);
        Some(Here { handle, metadata, real })
    }

    /// A directory.
    pub fn directory(&self, path: &str) -> Option<Here> {
        self.look(path).filter(|here| here.metadata.is_dir())
    }

    /// A regular file.
    pub fn file(&self, path: &str) -> Option<Here> {
        self.look(path).filter(|here| here.metadata.is_file())
    }

    /// A socket.
    pub fn socket(&self, path: &str) -> Option<Here> {
        self.look(path).filter(|here| here.metadata.file_type().is_socket())
    }

    /// The names in a directory that are text, sorted.
    pub fn names(directory: &Here) -> Vec<String> {
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

    /// Whether nobody but root can have written it; says so otherwise.
    pub fn is_safe(&mut self, here: &Here) -> bool {
        let Some(fault) = fault_of(&here.metadata) else { return true };
        let text = format!("`{}` is not put into containers: {fault}", here.real.display());
        if !self.notes.contains(&text) {
            self.notes.push(text);
        }
        false
    }

    /// The name by which the loader knows a library; see [`elf::soname`].
    #[expect(clippy::option_option, reason = "as there")]
    pub fn soname(&self, here: &Here) -> Option<Option<String>> {
        elf::soname(&here.handle.open().ok()?, self.machine)
    }

    /// Whether it is a program of this architecture, and no script.
    pub fn is_program(&self, here: &Here) -> bool {
        let is_native = |file: File| elf::is_native(&file, self.machine);
        here.handle.open().is_ok_and(is_native)
    }
}
