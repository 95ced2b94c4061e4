//! The driver's libraries: their paths, their versions, and their names.

use super::ldcache;
use super::place::{DriverPath, DriverRoot};
use super::table::{LibraryName, SUBDIRECTORIES, is_driver_version};
use crate::model::driver::{DriverFile, FileKind};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// The largest cache of the loader that is read. On a large host it has some hundred KiB.
const CACHE_MAX: usize = 16 << 20;

/// The parts that a driver consists of at least: for computing, and for management.
const PARTS: [&str; 2] = ["libcuda", "libnvidia-ml"];

struct SharedLibrary {
    here: DriverPath,
    /// The file's own name.
    own: String,
    /// The names under which it was found, relative to a directory of libraries.
    names: Vec<String>,
}

pub(super) struct Libraries {
    files: Vec<SharedLibrary>,
    /// The directories that contain some of them.
    pub directories: Vec<PathBuf>,
}

/// Looks through the loader's directories of the driver's root.
pub(super) fn find(place: &DriverRoot) -> Libraries {
    let mut found = Libraries { files: Vec::new(), directories: Vec::new() };
    let mut seen = BTreeSet::new();
    for path in candidates(place) {
        let Some(directory) = place.directory(&path) else { continue };
        if !seen.insert(directory.real) {
            continue;
        }
        for below in SUBDIRECTORIES {
            found.look_through(place, &path, below);
        }
    }
    found
}

/// The directories that may contain some, in the order in which the loader prefers them.
fn candidates(place: &DriverRoot) -> Vec<String> {
    let cache = place.read("/etc/ld.so.cache", CACHE_MAX).unwrap_or_default();
    let mut all: Vec<String> = Vec::new();
    for path in ldcache::paths(&cache) {
        if let Some((directory, name)) = path.rsplit_once('/')
            && LibraryName::of(name).is_some()
            && !SUBDIRECTORIES.iter().any(|below| !below.is_empty() && directory.ends_with(below))
            && !all.iter().any(|there| there == directory)
        {
            all.push(directory.to_owned());
        }
    }
    let multiarch = place.machine.multiarch;
    all.extend([
        format!("/usr/lib/{multiarch}"),
        format!("/usr/lib/{multiarch}/nvidia/current"),
        format!("/usr/lib/{multiarch}/nvidia"),
        format!("/lib/{multiarch}"),
    ]);
    let others = [
        "/usr/lib64",
        "/usr/lib64/nvidia",
        "/lib64",
        "/usr/lib",
        "/usr/lib/nvidia",
        "/lib",
        "/run/opengl-driver/lib",
        "/usr/local/lib64",
        "/usr/local/lib",
    ];
    all.extend(others.map(str::to_owned));
    all
}

impl Libraries {
    fn look_through(&mut self, place: &DriverRoot, path: &str, below: &str) {
        let path = if below.is_empty() { path.to_owned() } else { format!("{path}/{below}") };
        let Some(directory) = place.directory(&path) else { return };
        let mut holds = false;
        for name in DriverRoot::names(&directory) {
            if LibraryName::of(&name).is_none() {
                continue;
            }
            let Some(here) = place.file(&format!("{path}/{name}")) else { continue };
            let Some(own) = here.file_name().map(str::to_owned) else { continue };
            if LibraryName::of(&own).is_none() {
                continue;
            }
            holds = true;
            self.add(here, own, below_directory(below, &name));
        }
        if holds && !self.directories.contains(&directory.real) {
            self.directories.push(directory.real);
        }
    }

    fn add(&mut self, here: DriverPath, own: String, name: String) {
        match self.files.iter_mut().find(|file| file.here.real == here.real) {
            Some(file) if file.names.contains(&name) => {}
            Some(file) => file.names.push(name),
            None => self.files.push(SharedLibrary { here, own, names: vec![name] }),
        }
    }

    /// The versions of the drivers that exist, the newest complete one first.
    pub fn versions(&self) -> Vec<String> {
        let mut parts: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for file in &self.files {
            if let Some(name) = LibraryName::of(&file.own)
                && let Some(version) = name.driver_version()
                && PARTS.contains(&name.stem)
            {
                parts.entry(version).or_default().insert(name.stem);
            }
        }
        let mut versions: Vec<_> = parts
            .into_iter()
            .map(|(version, parts)| (parts.len(), numbers(version), version))
            .collect();
        versions.sort_unstable();
        versions.into_iter().rev().map(|(_, _, version)| version.to_owned()).collect()
    }

    /// The libraries of one version of the driver, and those with a version of their own.
    pub fn of_version(self, version: &str, place: &mut DriverRoot) -> Vec<DriverFile> {
        let mut taken = BTreeSet::new();
        let mut files = Vec::new();
        for library in self.files {
            let Some(name) = LibraryName::of(&library.own) else { continue };
            let belongs = name.driver_version() == Some(version) || name.has_own_version();
            if !belongs || name.capabilities().is_empty() {
                continue;
            }
            let Some(path) = library.here.text() else { continue };
            let Some(soname) = place.soname(&library.here) else { continue };
            if !place.is_safe(&library.here) {
                continue;
            }
            let mut names = library.all_names(soname);
            // If two files have the same name, the first counts, as in the loader's order.
            names.retain(|name| taken.insert(name.clone()));
            if !names.is_empty() {
                files.push(DriverFile {
                    path: path.to_owned(),
                    kind: FileKind::Library,
                    names,
                    capabilities: name.capabilities().to_vec(),
                });
            }
        }
        files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        files
    }
}

impl SharedLibrary {
    /// All names: those under which it was found, its own, and the one that programs are linked to.
    fn all_names(&self, soname: Option<String>) -> Vec<String> {
        let of = |name: &String| name.rsplit_once('/').map_or("", |(below, _)| below).to_owned();
        let below = self.names.first().map(of).unwrap_or_default();
        let has =
            |name: &str| self.names.iter().any(|there| there.rsplit('/').next() == Some(name));
        let mut names = self.names.clone();
        for name in soname.into_iter().chain([self.own.clone()]) {
            if is_file_name(&name) && !has(&name) && !names.contains(&name) {
                names.push(below_directory(&below, &name));
            }
        }
        names.sort_unstable();
        names
    }
}

fn below_directory(below: &str, name: &str) -> String {
    if below.is_empty() { name.to_owned() } else { format!("{below}/{name}") }
}

/// A library's own name becomes a path, so it must be a plain file name.
fn is_file_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains('/') && !name.chars().any(char::is_control)
}

/// A version's numbers, for comparison; none if it is not a driver's version.
fn numbers(version: &str) -> Vec<u32> {
    if !is_driver_version(version) {
        return Vec::new();
    }
    version.split('.').filter_map(|part| part.parse().ok()).collect()
}
