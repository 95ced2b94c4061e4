//! The files of NVIDIA's driver on this host that containers need: its libraries and programs, and
//! the files that those read. None of them is loaded or run.
//!
//! A container gets exactly the files that belong to the loaded kernel module, because the driver's
//! user-space part works with no other version of it.

mod elf;
mod ldcache;
mod libraries;
mod place;
mod table;

use super::found::Found;
use super::stamp::Stamp;
use crate::config::{Config, DriverSetting, Source};
use crate::model::device::Vendor;
use crate::model::driver::{Capability, Driver, DriverFile, FileKind};
use crate::model::machine;
use crate::paths::Paths;
use place::{DriverPath, DriverRoot};
use std::fs;
use std::path::{Path, PathBuf};

/// The most directories that each container start checks for changes.
const DIRECTORIES_MAX: usize = 6;

/// Adds the driver's files to the findings of the sources, if there are devices that need them: to
/// the NVIDIA driver that a source found, or to a new one if the devices are only known from the
/// devices file.
pub(super) fn complete(found: &mut Found, paths: &Paths, config: &Config) {
    let has_gpu = found.devices.iter().any(|d| d.vendor == Vendor::Nvidia && !d.simulated);
    if !has_gpu || !config.driver.may_be(DriverSetting::Native) {
        return;
    }
    let Some(machine) = machine::HOST else { return };
    let root = &config.driver_root;
    let mut place = match DriverRoot::open(root, machine) {
        Ok(place) => place,
        Err(error) => {
            let text = format!(
                "no driver files for containers: cannot open `{}`: {error}",
                root.display()
            );
            found.notes.push(text);
            stamp(found, root);
            return;
        }
    };
    let told = found.drivers.iter().find(|driver| driver.vendor == Vendor::Nvidia);
    let module = told.and_then(|driver| driver.version.clone()).or_else(|| loaded(found, paths));
    let libraries = libraries::find(&place);
    let directories = libraries.directories.clone();
    let versions = libraries.versions();
    let files = match choose(&versions, module.as_deref()) {
        Some(version) => {
            let mut files = libraries.of_version(version, &mut place);
            add_others(&mut files, &mut place, version);
            files
        }
        None => Vec::new(),
    };
    stamp_all(found, root, &directories);
    put(found, module, root, files);
    let misfit = found.drivers.iter().find_map(Driver::misfit);
    found.notes.extend(misfit.map(|text| {
        format!(
            "{text}: they do not work together, and containers are refused; load the module of the \
             libraries' version, or reboot"
        )
    }));
    found.notes.append(&mut place.notes);
}

/// The version of the loaded kernel module, which is stamped.
fn loaded(found: &mut Found, paths: &Paths) -> Option<String> {
    let path = paths.sys.join("module/nvidia/version");
    if !found.stamps.iter().any(|stamp| stamp.path == path) {
        found.stamps.extend(Stamp::of_text(Source::Nvidia, &path));
    }
    let text = fs::read_to_string(&path).ok()?;
    Some(text.trim().to_owned()).filter(|version| table::is_driver_version(version))
}

/// The version whose files are used; `versions` begins with the newest complete one. If none of
/// them is the module's, the newest is used as well: a start with it is refused, which is better
/// than programs that find no driver.
fn choose<'a>(versions: &'a [String], module: Option<&str>) -> Option<&'a str> {
    let of_module = versions.iter().find(|version| Some(version.as_str()) == module);
    of_module.or_else(|| versions.first()).map(String::as_str)
}

fn add_others(files: &mut Vec<DriverFile>, place: &mut DriverRoot, version: &str) {
    for (name, capabilities) in table::BINARIES {
        let find =
            |dir: &&str| place.file(&format!("{dir}/{name}")).filter(|h| place.is_program(h));
        if let Some(here) = table::BINARY_DIRS.iter().find_map(find) {
            add(files, place, &here, FileKind::Binary, &format!("/usr/bin/{name}"), capabilities);
        }
    }
    for (path, capabilities) in table::CONFIGS {
        if let Some(here) = place.file(path) {
            add(files, place, &here, FileKind::Config, path, capabilities);
        }
    }
    let firmware = format!("{}/{version}", table::FIRMWARE);
    if let Some(here) = place.directory(&firmware) {
        add(files, place, &here, FileKind::Firmware, &firmware, table::ANY);
    }
    for (path, capabilities) in table::SOCKETS {
        if let Some(here) = place.socket(path) {
            add(files, place, &here, FileKind::Socket, path, capabilities);
        }
    }
}

fn add(
    files: &mut Vec<DriverFile>,
    place: &mut DriverRoot,
    here: &DriverPath,
    kind: FileKind,
    name: &str,
    capabilities: &[Capability],
) {
    let is_safe = match kind {
        FileKind::Socket => place.is_safe_socket(here),
        _ => place.is_safe(here),
    };
    if let Some(path) = here.text().filter(|_| is_safe) {
        let (path, names) = (path.to_owned(), vec![name.to_owned()]);
        files.push(DriverFile { path, kind, names, capabilities: capabilities.to_vec() });
    }
}

/// Stamps what changes with an upgrade or an installation: the loader's cache, which both make
/// anew, the directories with libraries, and those of the sockets.
fn stamp_all(found: &mut Found, root: &Path, directories: &[PathBuf]) {
    let below = |path: &str| root.join(path.trim_start_matches('/'));
    stamp(found, &below("/etc/ld.so.cache"));
    for directory in directories.iter().take(DIRECTORIES_MAX) {
        stamp(found, directory);
    }
    for (socket, _) in table::SOCKETS {
        if let Some(directory) = Path::new(socket).parent().and_then(Path::to_str) {
            stamp(found, &below(directory));
        }
    }
}

fn stamp(found: &mut Found, path: &Path) {
    match Stamp::of_file(Source::Nvidia, path) {
        Ok(stamp) => found.stamps.push(stamp),
        Err(error) => found.notes.push(format!("cannot look at `{}`: {error}", path.display())),
    }
}

fn put(found: &mut Found, module: Option<String>, root: &Path, files: Vec<DriverFile>) {
    match found.drivers.iter_mut().find(|driver| driver.vendor == Vendor::Nvidia) {
        Some(driver) => {
            driver.version = driver.version.take().or(module);
            driver.files = files;
        }
        None if files.is_empty() && module.is_none() => {}
        None => found.drivers.push(Driver {
            vendor: Vendor::Nvidia,
            version: module,
            cuda: None,
            library: None,
            root: root.display().to_string(),
            files,
        }),
    }
}

#[cfg(test)]
mod tests;
