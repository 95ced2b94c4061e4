//! Reads the directories of specs.

use super::CdiDocument;
use super::check::{Checked, parse};
use crate::config::Source;
use crate::inventory::stamp::Stamp;
use crate::model::encoding::Encoding;
use crate::model::text::shown;
use crate::paths::Paths;
use crate::sys::checked::read_checked;
use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The directories of specs (CDI, `DefaultSpecDirs`): static ones first, then those that are
/// generated at each boot. A device of a later directory replaces its namesake of an earlier one.
pub const SPEC_DIRS: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];

/// A spec and its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecFile {
    pub path: PathBuf,
    /// The position of its directory among [`SPEC_DIRS`].
    pub priority: usize,
    /// Its content, without the devices that another file replaces.
    pub spec: CdiDocument,
}

/// All specs of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Specs {
    /// The valid specs, in the order of their directories and names.
    pub files: Vec<SpecFile>,
    /// Stamps of the directories and files that were read.
    pub stamps: Vec<Stamp>,
    /// The parts that are ignored, and why.
    pub notes: Vec<String>,
}

/// Reads all specs. An invalid file is left out with a note, and the others count.
pub fn read(paths: &Paths) -> Specs {
    let mut specs = read_all(paths);
    specs.resolve_conflicts();
    specs
}

/// Reads all specs, with devices that another file replaces or excludes.
pub fn read_all(paths: &Paths) -> Specs {
    let mut specs = Specs::default();
    for (priority, dir) in SPEC_DIRS.iter().enumerate() {
        read_dir(&paths.on_host(Path::new(dir)), priority, &mut specs);
    }
    specs
}

/// Reads the files of a directory in the order of their names, and none of its subdirectories.
fn read_dir(dir: &Path, priority: usize, specs: &mut Specs) {
    // Stamped before it is read, so that a file that is added meanwhile makes the inventory stale.
    specs.stamp(dir);
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return,
        Err(error) => return specs.note(dir, &format!("cannot be read: {error}")),
    };
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort_unstable();
    for path in files {
        let is_dir = fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_dir());
        if is_dir || !path.extension().is_some_and(|end| end == "json" || end == "yaml") {
            continue;
        }
        specs.stamp(&path);
        match read_file(&path) {
            Ok(None) => {}
            Ok(Some(Checked { spec, notes })) => {
                for what in notes {
                    specs.note(&path, &what);
                }
                specs.files.push(SpecFile { path, priority, spec });
            }
            Err(what) => specs.note(&path, &format!("it is ignored: {what}")),
        }
    }
}

/// `None` if the file has gone since its directory was read.
fn read_file(path: &Path) -> Result<Option<Checked>, String> {
    let Some(file) = read_checked(path).map_err(|error| error.to_string())? else {
        return Ok(None);
    };
    let (text, _) = Encoding::decode(&file.bytes)?;
    parse(&text).map(Some)
}

impl Specs {
    /// Specs count as the static source, as the devices file does.
    fn stamp(&mut self, path: &Path) {
        match Stamp::of_file(Source::Static, path) {
            Ok(stamp) => self.stamps.push(stamp),
            Err(error) => self.note(path, &format!("cannot be looked at: {error}")),
        }
    }

    fn note(&mut self, path: &Path, what: &str) {
        self.notes.push(format!("the CDI spec `{}`: {what}", shown(&path.display().to_string())));
    }

    /// Keeps each qualified name once: that of the later directory. Two files of one directory with
    /// the same name exclude each other, as in engines.
    fn resolve_conflicts(&mut self) {
        let mut owners: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (at, file) in self.files.iter().enumerate() {
            for device in &file.spec.devices {
                owners.entry(file.spec.qualified(&device.name)).or_default().push(at);
            }
        }
        for (name, owners) in owners {
            let priority = |at: &usize| self.files.get(*at).map(|file| file.priority);
            let highest = owners.iter().filter_map(priority).max();
            let best: Vec<usize> =
                owners.iter().copied().filter(|at| priority(at) == highest).collect();
            if best.len() > 1 {
                let paths = best.iter().filter_map(|at| self.files.get(*at));
                let paths: Vec<String> =
                    paths.map(|f| shown(&f.path.display().to_string())).collect();
                self.notes.push(format!(
                    "the CDI device `{name}` is ignored: it is in `{}`",
                    paths.join("` and `")
                ));
            }
            let keeper = best.first().filter(|_| best.len() == 1);
            for (at, file) in self.files.iter_mut().enumerate() {
                if Some(&at) != keeper && owners.contains(&at) {
                    let kind = file.spec.kind.clone();
                    file.spec.devices.retain(|device| format!("{kind}={}", device.name) != name);
                }
            }
        }
    }
}
