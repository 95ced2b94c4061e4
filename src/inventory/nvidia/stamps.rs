//! The stamps of a scan of NVIDIA's GPUs. Each container start checks them, so they are few and
//! small: one or two for the driver, one for each GPU that MIG can divide, and one for each of its
//! parts.

use super::ask::is_loaded;
use super::library::{NvmlLibrary, places};
use super::nodes;
use super::procfs::{gpus_dir, version_path};
use crate::config::{Config, Source};
use crate::inventory::stamp::{Look, Stamp};
use crate::inventory::sysfs;
use crate::paths::Paths;
use std::io;
use std::path::{Path, PathBuf};

/// The stamps that were taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Looks {
    /// All stamps. One that could not be taken is marked as such, and what was found cannot be
    /// relied on later.
    pub(super) stamps: Vec<Stamp>,
    /// Notes about those that could not be taken, as sentences.
    pub(super) notes: Vec<String>,
}

/// A kind of stamp.
type StampFn = fn(Source, &Path) -> io::Result<Stamp>;

impl Looks {
    fn look(&mut self, way: StampFn, path: &Path) {
        let stamp = way(Source::Nvidia, path).unwrap_or_else(|error| {
            self.notes
                .push(format!("the NVIDIA driver's `{}` cannot be read: {error}", path.display()));
            Stamp::unknown(Source::Nvidia, path)
        });
        self.stamps.push(stamp);
    }
}

/// Takes all stamps.
pub(super) fn all(paths: &Paths, config: &Config, library: &NvmlLibrary) -> Looks {
    let mut looks = Looks { stamps: Vec::new(), notes: Vec::new() };
    // An upgraded driver has another version, and a driver that is loaded later has a version at
    // all.
    looks.look(Stamp::of_text, &version_path(paths));
    let has_driver =
        looks.stamps.iter().any(|version| version.look != Look::Absent) || is_loaded(paths);
    if let NvmlLibrary::At(path) = library {
        looks.look(Stamp::of_file, path);
    }
    if !has_driver {
        return looks;
    }
    if !matches!(library, NvmlLibrary::At(_)) {
        for path in places(config) {
            looks.look(Stamp::of_file, &path);
        }
    }
    // The module of unified memory gets its major number when it is loaded, which may be at any
    // time. (The number is in /proc/devices, which takes 40 us to read.)
    looks.look(Stamp::of_inode, &paths.sys.join("module/nvidia_uvm"));
    // This changes if a GPU is removed, or bound to another driver.
    looks.look(Stamp::of_entries, &gpus_dir(paths));
    for name in nodes::NEEDED {
        let path = paths.dev.join(name);
        // Existing nodes are opened by their number when a container starts.
        if !path.exists() {
            looks.look(Stamp::of_file, &path);
        }
    }
    for directory in mig_dirs(paths) {
        looks.look(Stamp::of_entries, &directory);
        // An instance that is deleted and made again has the same name, and maybe the same inode,
        // but new times. An instance that gets or loses a compute instance changes its number of
        // links. (A stamp costs a fifth of reading the names. If the kernel is short of memory and
        // drops an entry, its times change too, which causes a superfluous scan.)
        for instance in subdirs(&directory, "gi") {
            looks.look(Stamp::of_file, &instance);
            for part in subdirs(&instance, "ci") {
                looks.look(Stamp::of_file, &part);
            }
        }
    }
    looks
}

/// For each GPU that can be divided, the directory with an entry for each of its GPU instances.
fn mig_dirs(paths: &Paths) -> Vec<PathBuf> {
    let directory = paths.proc.join("driver/nvidia/capabilities");
    let gpus = subdirs(&directory, "gpu");
    gpus.map(|gpu| gpu.join("mig")).filter(|mig| mig.is_dir()).collect()
}

/// The directories whose name is `prefix` and a number, in the order of the numbers.
fn subdirs<'a>(directory: &'a Path, prefix: &'a str) -> impl Iterator<Item = PathBuf> {
    let numbers = sysfs::numbered(directory, prefix).into_iter();
    numbers.map(move |number| directory.join(format!("{prefix}{number}")))
}
