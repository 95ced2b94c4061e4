//! What it costs a container start to see that the inventory still tells the truth. No driver is
//! needed: files of the kernel's own stand for those of the drivers, with as many entries.

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on stops")]
#![allow(clippy::print_stdout, reason = "it says what it measured")]

use gpulease::door::config::{Config, Source};
use gpulease::door::inventory::cache::{INVENTORY_VERSION, Settings};
use gpulease::door::inventory::stamp::Stamp;
use gpulease::door::inventory::{self, Inventory};
use gpulease::door::model::device::Node;
use gpulease::door::paths::Paths;
use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Instant;

const ROUNDS: usize = 20_000;

/// Directories in procfs with a few entries each, as `/proc/driver/nvidia/capabilities/gpu0/mig` has.
fn directories(count: usize) -> Vec<PathBuf> {
    let all = fs::read_dir("/proc/irq").unwrap().flatten().map(|entry| entry.path());
    let mut all: Vec<PathBuf> = all.filter(|path| path.is_dir()).collect();
    all.sort();
    assert!(all.len() >= count, "/proc/irq has too few directories to stand for {count} GPUs");
    all.truncate(count);
    all
}

/// What an NVIDIA node with eight GPUs goes by, each of which has this many MIG instances: see
/// `inventory::nvidia`.
fn nvidia(instances: usize) -> Vec<Stamp> {
    let source = Source::Nvidia;
    let mut stamps = vec![
        Stamp::of_text(source, Path::new("/sys/kernel/mm/transparent_hugepage/enabled")).unwrap(),
        Stamp::of_inode(source, Path::new("/sys/kernel/mm")).unwrap(),
        Stamp::of_entries(source, Path::new("/proc/driver")).unwrap(),
        Stamp::of_file(source, Path::new("/etc/ld.so.cache")).unwrap(),
        Stamp::of_file(source, Path::new("/usr/lib")).unwrap(),
        Stamp::of_file(source, Path::new("/etc/gpulease/devices.toml")).unwrap(),
    ];
    for path in directories(8) {
        stamps.push(Stamp::of_entries(source, &path).unwrap());
        // A directory for the GPU instance and one for its compute instance.
        stamps.extend((0..2 * instances).map(|_| Stamp::of_file(source, &path).unwrap()));
    }
    stamps
}

/// What an AMD node goes by: see `inventory::amd`.
fn amd() -> Vec<Stamp> {
    let source = Source::Amd;
    let text = |path: &str| Stamp::of_text(source, Path::new(path)).unwrap();
    vec![
        text("/sys/kernel/mm/transparent_hugepage/enabled"),
        Stamp::of_file(Source::Static, Path::new("/etc/gpulease/devices.toml")).unwrap(),
    ]
}

fn measure(what: &str, stamps: Vec<Stamp>) {
    let (paths, config) = (Paths::default(), Config::default());
    let count = stamps.len();
    let inventory = Inventory {
        v: INVENTORY_VERSION,
        boot_id: fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap().trim().to_owned(),
        settings: Settings::of(&config),
        from: Vec::new(),
        stamps,
        node: Node::default(),
        drivers: Vec::new(),
        cdi: gpulease::door::model::cdi::Cdi::default(),
        notes: Vec::new(),
        made_at: String::new(),
    };
    let mut nanoseconds: Vec<u128> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            assert_eq!(black_box(inventory::freshness(&inventory, &paths, &config)), Ok(()));
            start.elapsed().as_nanos()
        })
        .collect();
    nanoseconds.sort_unstable();
    let median = nanoseconds.get(ROUNDS / 2).copied().unwrap_or_default();
    println!("{what:<40} {count:>2} stamps {:>5}.{} us", median / 1000, median % 1000 / 100);
}

fn main() {
    measure("a devices file alone", amd().split_off(1));
    measure("AMD", amd());
    measure("NVIDIA, 8 GPUs that can do MIG", nvidia(0));
    measure("NVIDIA, 8 GPUs in 7 instances each", nvidia(7));
}
