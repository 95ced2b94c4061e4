//! What a scan of NVIDIA's GPUs goes by. It is looked at before each container start, so it is a
//! handful of small things: one or two for the driver, one for each GPU that MIG can divide, and one
//! for each part of it.

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

/// What was looked at.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Looks {
    /// All of it. What could not be looked at is there as such: nothing that was found can
    /// be relied on later.
    pub(super) stamps: Vec<Stamp>,
    /// What could not, as sentences.
    pub(super) notes: Vec<String>,
}

/// A way to look at something.
type StampFn = fn(Source, &Path) -> io::Result<Stamp>;

impl Looks {
    fn look(&mut self, way: StampFn, path: &Path) {
        let stamp = way(Source::Nvidia, path).unwrap_or_else(|error| {
            self.notes.push(format!(
                "what the NVIDIA driver shows in `{}` cannot be read: {error}",
                path.display()
            ));
            Stamp::unknown(Source::Nvidia, path)
        });
        self.stamps.push(stamp);
    }
}

/// Looks at all of it.
pub(super) fn all(paths: &Paths, config: &Config, library: &NvmlLibrary) -> Looks {
    let mut looks = Looks { stamps: Vec::new(), notes: Vec::new() };
    // A driver that is upgraded has another version; one that is loaded later has one at all.
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
    // The module of unified memory gets its major when it is loaded, which may be at any time.
    // (/proc/devices has the number, and takes 40 us to read.)
    looks.look(Stamp::of_inode, &paths.sys.join("module/nvidia_uvm"));
    // A GPU that is taken out, or bound to another driver.
    looks.look(Stamp::of_entries, &gpus_dir(paths));
    for name in nodes::NEEDED {
        let path = paths.dev.join(name);
        // Those that are there are opened by their number when a container starts.
        if !path.exists() {
            looks.look(Stamp::of_file, &path);
        }
    }
    for directory in mig_dirs(paths) {
        looks.look(Stamp::of_entries, &directory);
        // An instance that is deleted and made anew has the same name, and maybe the same inode; its
        // times are new. One that gets or loses a compute instance has another number of links.
        // (A look costs a fifth of reading the names. What the kernel forgets when it is short of
        // memory has new times too, and is looked at once too often.)
        for instance in subdirs(&directory, "gi") {
            looks.look(Stamp::of_file, &instance);
            for part in subdirs(&instance, "ci") {
                looks.look(Stamp::of_file, &part);
            }
        }
    }
    looks
}

/// Of each GPU that can be divided, the directory with an entry for each of its GPU instances.
fn mig_dirs(paths: &Paths) -> Vec<PathBuf> {
    let directory = paths.proc.join("driver/nvidia/capabilities");
    let gpus = subdirs(&directory, "gpu");
    gpus.map(|gpu| gpu.join("mig")).filter(|mig| mig.is_dir()).collect()
}

/// The directories whose name is `prefix` and a number, in order.
fn subdirs<'a>(directory: &'a Path, prefix: &'a str) -> impl Iterator<Item = PathBuf> {
    let numbers = sysfs::numbered(directory, prefix).into_iter();
    numbers.map(move |number| directory.join(format!("{prefix}{number}")))
}
