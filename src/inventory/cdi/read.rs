//! Reading the directories of specs.

use super::Spec;
use super::check::{Checked, parse_json, parse_yaml};
use crate::config::Source;
use crate::inventory::stamp::Stamp;
use crate::model::text::shown;
use crate::paths::Paths;
use crate::sys::checked::read_checked;
use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Where specs lie (CDI, `DefaultSpecDirs`): what an administrator or a package put there, then
/// what is made anew at each boot. A device of a later directory stands for that of an earlier one.
pub const SPEC_DIRS: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];

/// A spec and where it is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecFile {
    pub path: PathBuf,
    /// The position of its directory among [`SPEC_DIRS`].
    pub priority: usize,
    /// What it says. Devices that others describe better are taken out.
    pub spec: Spec,
}

/// All specs of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Specs {
    /// Those that can be gone by, in the order of their directories and names.
    pub files: Vec<SpecFile>,
    /// What was looked at.
    pub stamps: Vec<Stamp>,
    /// What cannot be gone by, and why.
    pub notes: Vec<String>,
}

/// Reads all specs. A file that cannot be used costs its own devices and no others.
pub fn read(paths: &Paths) -> Specs {
    let mut specs = read_all(paths);
    specs.settle();
    specs
}

/// The same, with devices that others rule out.
pub fn read_all(paths: &Paths) -> Specs {
    let mut specs = Specs::default();
    for (priority, dir) in SPEC_DIRS.iter().enumerate() {
        read_dir(&paths.on_host(Path::new(dir)), priority, &mut specs);
    }
    specs
}

/// The files of a directory, in the order of their names, without those of directories in it.
fn read_dir(dir: &Path, priority: usize, specs: &mut Specs) {
    // Before it is read: what is put there meanwhile makes the inventory stale.
    specs.stamp(dir);
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return,
        Err(error) => return specs.note(dir, &format!("cannot be read: {error}")),
    };
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort_unstable();
    for path in files {
        let parse = match path.extension().and_then(|extension| extension.to_str()) {
            Some("json") => parse_json,
            Some("yaml") => parse_yaml,
            _ => continue,
        };
        if fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_dir()) {
            continue;
        }
        specs.stamp(&path);
        match read_file(&path, parse) {
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

fn read_file(
    path: &Path,
    parse: impl Fn(&str) -> Result<Checked, String>,
) -> Result<Option<Checked>, String> {
    let Some(file) = read_checked(path).map_err(|error| error.to_string())? else {
        return Ok(None);
    };
    let text = std::str::from_utf8(&file.bytes).map_err(|_| "it is not UTF-8".to_owned())?;
    parse(text).map(Some)
}

impl Specs {
    /// A spec is a file that somebody wrote, like the devices file, whose source stands for both.
    fn stamp(&mut self, path: &Path) {
        match Stamp::of_file(Source::Static, path) {
            Ok(stamp) => self.stamps.push(stamp),
            Err(error) => self.note(path, &format!("cannot be looked at: {error}")),
        }
    }

    fn note(&mut self, path: &Path, what: &str) {
        self.notes.push(format!("the CDI spec `{}`: {what}", shown(&path.display().to_string())));
    }

    /// Leaves each qualified name once: that of the later directory. Two of one directory rule
    /// each other out, since nothing says which was meant.
    fn settle(&mut self) {
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
                    "the CDI device `{name}` is ignored: `{}` describe it both",
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
