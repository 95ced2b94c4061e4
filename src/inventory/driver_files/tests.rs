//! On faked driver roots, with libraries that are small but real ELF files.

use super::*;
use crate::config::Config;
use crate::inventory::stamp::Look;
use crate::model::device::Device;
use crate::model::driver::Capability::{Compute, Utility};
use crate::model::fixtures;
use crate::model::machine::HOST;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};

/// A shared object with one loaded segment, a dynamic section and a name.
fn library(soname: &str) -> Vec<u8> {
    let machine = HOST.unwrap().elf;
    let (dynamic, strings) = (64_u64 + 2 * 56, 64_u64 + 2 * 56 + 3 * 16);
    let size = strings + 1 + soname.len() as u64 + 1;
    let mut bytes = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0".to_vec();
    bytes.extend(machine.to_le_bytes());
    bytes.extend(1_u32.to_le_bytes());
    for value in [0, 64, 0] {
        bytes.extend(u64::to_le_bytes(value));
    }
    bytes.extend(0_u32.to_le_bytes());
    for value in [64_u16, 56, 2, 64, 0, 0] {
        bytes.extend(value.to_le_bytes());
    }
    for (kind, offset, length) in [(1_u32, 0, size), (2, dynamic, 3 * 16)] {
        bytes.extend(kind.to_le_bytes());
        bytes.extend(4_u32.to_le_bytes());
        // Loaded where it does not lie: the name has to be found by its address.
        for value in [offset, offset + 0x1000, offset + 0x1000, length, length, 8] {
            bytes.extend(value.to_le_bytes());
        }
    }
    for value in [14, 1, 5, strings + 0x1000, 0, 0] {
        bytes.extend(u64::to_le_bytes(value));
    }
    bytes.push(0);
    bytes.extend(soname.as_bytes());
    bytes.push(0);
    bytes
}

/// Makes a directory that only its owner can write to, whatever the umask is.
fn make_directory(path: &Path) {
    fs::DirBuilder::new().recursive(true).mode(0o755).create(path).unwrap();
}

struct Fake {
    dir: tempfile::TempDir,
    config: Config,
    paths: Paths,
}

impl Fake {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::below(dir.path());
        Self { config: Config::of(&paths), paths, dir }
    }

    fn put(&self, path: &str, bytes: &[u8]) {
        let path = self.path(path);
        make_directory(path.parent().unwrap());
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    }

    fn link(&self, path: &str, target: &str) {
        let path = self.path(path);
        make_directory(path.parent().unwrap());
        symlink(target, path).unwrap();
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn lib(&self, directory: &str, name: &str, soname: &str) {
        self.put(&format!("{directory}/{name}"), &library(soname));
    }

    /// The two libraries without which there is no driver.
    fn driver(&self, directory: &str, version: &str) {
        self.lib(directory, &format!("libcuda.so.{version}"), "libcuda.so.1");
        self.lib(directory, &format!("libnvidia-ml.so.{version}"), "libnvidia-ml.so.1");
    }

    fn module(&self, version: &str) {
        self.put("sys/module/nvidia/version", format!("{version}\n").as_bytes());
    }

    fn found(&self) -> Found {
        let mut found = Found { devices: vec![device(false)], ..Found::default() };
        complete(&mut found, &self.paths, &self.config);
        found
    }

    /// Path below the root and names of each file.
    fn files(&self, found: &Found) -> Vec<(String, Vec<String>)> {
        let root = self.dir.path().canonicalize().unwrap();
        let files = found.drivers.iter().flat_map(|driver| &driver.files);
        let path = |file: &DriverFile| {
            Path::new(&file.path).strip_prefix(&root).unwrap().to_str().unwrap().to_owned()
        };
        files.map(|file| (path(file), file.names.clone())).collect()
    }
}

fn device(simulated: bool) -> Device {
    Device { simulated, ..fixtures::device("GPU-1", Vendor::Nvidia) }
}

fn one(path: &str, names: &[&str]) -> (String, Vec<String>) {
    (path.to_owned(), names.iter().map(|name| (*name).to_owned()).collect())
}

#[test]
fn a_library_has_all_its_names() {
    let fake = Fake::new();
    fake.driver("usr/lib64", "550.54.14");
    fake.link("usr/lib64/libcuda.so.1", "libcuda.so.550.54.14");
    fake.link("usr/lib64/libcuda.so", "libcuda.so.1");
    fake.link("lib64", "usr/lib64");
    fake.lib("usr/lib64/vdpau", "libvdpau_nvidia.so.550.54.14", "libvdpau_nvidia.so.1");
    fake.lib("usr/lib64", "libnvidia-allocator.so.550.54.14", "libnvidia-allocator.so.1");
    fake.link("usr/lib64/gbm/nvidia-drm_gbm.so", "../libnvidia-allocator.so.550.54.14");
    let found = fake.found();
    assert_eq!(
        fake.files(&found),
        [
            one(
                "usr/lib64/libcuda.so.550.54.14",
                &["libcuda.so", "libcuda.so.1", "libcuda.so.550.54.14"]
            ),
            one(
                "usr/lib64/libnvidia-allocator.so.550.54.14",
                &[
                    "gbm/nvidia-drm_gbm.so",
                    "libnvidia-allocator.so.1",
                    "libnvidia-allocator.so.550.54.14"
                ]
            ),
            one(
                "usr/lib64/libnvidia-ml.so.550.54.14",
                &["libnvidia-ml.so.1", "libnvidia-ml.so.550.54.14"]
            ),
            one(
                "usr/lib64/vdpau/libvdpau_nvidia.so.550.54.14",
                &["vdpau/libvdpau_nvidia.so.1", "vdpau/libvdpau_nvidia.so.550.54.14"]
            ),
        ]
    );
    let [driver] = &found.drivers[..] else { panic!("{:?}", found.drivers) };
    assert_eq!(driver.version, None);
    let capabilities = |name: &str| {
        let has = |file: &&DriverFile| file.names.iter().any(|there| there == name);
        driver.files.iter().find(has).unwrap().capabilities.clone()
    };
    assert_eq!(capabilities("libcuda.so.1"), [Compute]);
    assert_eq!(capabilities("libnvidia-ml.so.1"), [Utility]);
    assert_eq!(found.notes, [""; 0]);
}

/// Debian keeps the driver in a directory of its own, and links to it through `/etc/alternatives`.
#[test]
fn alternatives_are_followed_within_the_root() {
    let fake = Fake::new();
    let multiarch = HOST.unwrap().multiarch;
    let current = format!("usr/lib/{multiarch}/nvidia/current");
    fake.driver(&current, "550.163.01");
    fake.link(&format!("{current}/libcuda.so.1"), "libcuda.so.550.163.01");
    fake.link(&format!("usr/lib/{multiarch}/libcuda.so.1"), "/etc/alternatives/libcuda");
    fake.link("etc/alternatives/libcuda", &format!("/{current}/libcuda.so.1"));
    fake.put("usr/lib/nvidia/current/nvidia-smi", &library("x"));
    fake.link("usr/bin/nvidia-smi", "/etc/alternatives/nvidia-smi");
    fake.link("etc/alternatives/nvidia-smi", "/usr/lib/nvidia/current/nvidia-smi");
    let files = fake.files(&fake.found());
    let cuda = format!("{current}/libcuda.so.550.163.01");
    assert!(files.contains(&one(&cuda, &["libcuda.so.1", "libcuda.so.550.163.01"])), "{files:?}");
    let smi = one("usr/lib/nvidia/current/nvidia-smi", &["/usr/bin/nvidia-smi"]);
    assert!(files.contains(&smi), "{files:?}");
}

#[test]
fn the_modules_version_counts_then_the_newest() {
    let fake = Fake::new();
    fake.driver("usr/lib64", "535.216.01");
    fake.driver("usr/lib64", "550.54.14");
    fake.lib("usr/lib64", "libcuda.so.1000.1", "libcuda.so.1");
    fake.lib("usr/lib64", "libnvidia-egl-gbm.so.1.1.2", "libnvidia-egl-gbm.so.1");
    let paths = |found: &Found| fake.files(found).into_iter().map(|f| f.0).collect::<Vec<_>>();
    let of = |version: &str| {
        let gbm = "usr/lib64/libnvidia-egl-gbm.so.1.1.2".to_owned();
        let [cuda, ml] = ["cuda", "nvidia-ml"].map(|n| format!("usr/lib64/lib{n}.so.{version}"));
        vec![cuda, gbm, ml]
    };
    assert_eq!(paths(&fake.found()), of("550.54.14"));
    fake.module("535.216.01");
    let found = fake.found();
    assert_eq!(paths(&found), of("535.216.01"));
    assert_eq!(found.drivers[0].version.as_deref(), Some("535.216.01"));
    fake.module("570.10");
    let found = fake.found();
    // Those of the newest, which the shim refuses to hand on.
    assert_eq!(paths(&found), of("550.54.14"));
    let [note] = &found.notes[..] else { panic!("{:?}", found.notes) };
    assert!(note.contains("570.10") && note.contains("550.54.14"), "{note}");
    // The version from a source is kept.
    let told = Driver {
        vendor: Vendor::Nvidia,
        version: Some("550.54.14".to_owned()),
        cuda: Some("12.4".to_owned()),
        library: None,
        root: "/".to_owned(),
        files: Vec::new(),
    };
    let mut found =
        Found { devices: vec![device(false)], drivers: vec![told.clone()], ..Found::default() };
    complete(&mut found, &fake.paths, &fake.config);
    assert_eq!(paths(&found), of("550.54.14"));
    assert_eq!(Driver { files: Vec::new(), ..found.drivers[0].clone() }, told);
}

#[test]
fn foreign_architectures_and_unsafe_files_are_skipped() {
    let fake = Fake::new();
    fake.driver("usr/lib64", "550.54.14");
    let mut narrow = library("libnvidia-cfg.so.1");
    narrow[4] = 1;
    fake.put("usr/lib64/libnvidia-cfg.so.550.54.14", &narrow);
    fake.put("usr/lib64/libnvidia-opencl.so.550.54.14", b"not a library");
    fake.put("usr/bin/nvidia-smi", b"#!/bin/sh\n");
    fake.lib("usr/lib64", "libnvidia-encode.so.550.54.14", "libnvidia-encode.so.1");
    let open = fake.path("usr/lib64/libnvidia-encode.so.550.54.14");
    fs::set_permissions(&open, fs::Permissions::from_mode(0o666)).unwrap();
    // A name that would become a path.
    fake.lib("usr/lib64", "libnvidia-fbc.so.550.54.14", "../../etc/passwd");
    let found = fake.found();
    let names: Vec<String> = fake.files(&found).into_iter().flat_map(|file| file.1).collect();
    assert_eq!(
        names,
        [
            "libcuda.so.1",
            "libcuda.so.550.54.14",
            "libnvidia-fbc.so.550.54.14",
            "libnvidia-ml.so.1",
            "libnvidia-ml.so.550.54.14"
        ]
    );
    assert_eq!(found.notes.len(), 1, "{:?}", found.notes);
    assert!(found.notes[0].contains("libnvidia-encode.so") && found.notes[0].contains("0666"));
}

#[test]
fn files_that_others_can_swap_are_left_out() {
    let fake = Fake::new();
    fake.driver("usr/lib64", "550.54.14");
    fake.put("usr/bin/nvidia-smi", &library("x"));
    make_directory(&fake.path("run/nvidia-persistenced"));
    let socket = fake.path("run/nvidia-persistenced/socket");
    let _listener = std::os::unix::net::UnixListener::bind(socket).unwrap();
    let chmod = |path: &str, mode| {
        fs::set_permissions(fake.path(path), fs::Permissions::from_mode(mode)).unwrap();
    };
    // The paths that are found while one directory has another mode, and what is said of it.
    let with = |directory: &str, mode: u32| {
        let was = fs::metadata(fake.path(directory)).unwrap().permissions();
        chmod(directory, mode);
        let found = fake.found();
        fs::set_permissions(fake.path(directory), was).unwrap();
        let paths: Vec<String> = fake.files(&found).into_iter().map(|file| file.0).collect();
        (paths.join(" "), found.notes)
    };
    let (cuda, ml) = ("usr/lib64/libcuda.so.550.54.14", "usr/lib64/libnvidia-ml.so.550.54.14");
    let (smi, socket) = ("usr/bin/nvidia-smi", "run/nvidia-persistenced/socket");
    let all = [cuda, ml, smi, socket].join(" ");
    assert_eq!(with("usr", 0o755), (all.clone(), Vec::new()));
    assert_eq!(with("usr", 0o1777), (all.clone(), Vec::new()), "others cannot replace");
    for (directory, mode, left) in [
        ("usr/lib64", 0o777, [smi, socket].join(" ")),
        ("usr/lib64", 0o775, [smi, socket].join(" ")),
        ("usr", 0o777, socket.to_owned()),
        ("run", 0o777, [cuda, ml, smi].join(" ")),
        ("", 0o777, String::new()),
    ] {
        let (paths, notes) = with(directory, mode);
        assert_eq!(paths, left, "{directory}");
        let [note] = &notes[..] else { panic!("{notes:?}") };
        let path = fake.path(directory).canonicalize().unwrap();
        let says = format!("below `{}` are not put into containers: its mode", path.display());
        assert!(note.contains(&says) && note.contains(&format!("{mode:04o}")), "{note}");
    }
    // The service's own.
    assert_eq!(with("run/nvidia-persistenced", 0o777), (all, Vec::new()));
}

#[test]
fn nothing_outside_the_root_is_found() {
    let fake = Fake::new();
    let (root, outside) = (fake.path("driver"), fake.path("outside"));
    fs::create_dir_all(&root).unwrap();
    fake.driver("outside", "550.54.14");
    fake.link("driver/usr/lib64", outside.to_str().unwrap());
    fake.link("driver/lib64", "../../outside");
    fake.driver("driver/usr/lib", "535.10");
    let config = Config { driver_root: root, ..fake.config.clone() };
    let mut found = Found { devices: vec![device(false)], ..Found::default() };
    complete(&mut found, &fake.paths, &config);
    let paths: Vec<String> = fake.files(&found).into_iter().map(|file| file.0).collect();
    assert_eq!(
        paths,
        ["driver/usr/lib/libcuda.so.535.10", "driver/usr/lib/libnvidia-ml.so.535.10"]
    );
}

#[test]
fn other_files_go_where_they_lie() {
    let fake = Fake::new();
    fake.driver("usr/lib64", "550.54.14");
    fake.put("etc/OpenCL/vendors/nvidia.icd", b"libnvidia-opencl.so.1\n");
    fake.put("usr/lib/firmware/nvidia/550.54.14/gsp_ga10x.bin", b"x");
    fake.put("usr/lib/firmware/nvidia/535.10/gsp_ga10x.bin", b"x");
    fake.link("lib", "usr/lib");
    make_directory(&fake.path("run/nvidia-persistenced"));
    let socket = fake.path("run/nvidia-persistenced/socket");
    let _listener = std::os::unix::net::UnixListener::bind(socket).unwrap();
    let found = fake.found();
    let others: Vec<_> =
        found.drivers[0].files.iter().filter(|f| f.kind != FileKind::Library).collect();
    let shown: Vec<_> = others.iter().map(|f| (f.kind, f.names[0].as_str())).collect();
    assert_eq!(
        shown,
        [
            (FileKind::Config, "/etc/OpenCL/vendors/nvidia.icd"),
            (FileKind::Firmware, "/lib/firmware/nvidia/550.54.14"),
            (FileKind::Socket, "/run/nvidia-persistenced/socket"),
        ]
    );
    assert!(others[1].path.ends_with("/usr/lib/firmware/nvidia/550.54.14"));
}

#[test]
fn what_was_gone_by_is_stamped_and_not_each_file() {
    let fake = Fake::new();
    fake.driver("usr/lib64", "550.54.14");
    let found = fake.found();
    let look = |path: &str| {
        let path = fake.path(path);
        found.stamps.iter().find(|stamp| stamp.path == path).map(|stamp| stamp.look.clone())
    };
    assert_eq!(look("etc/ld.so.cache"), Some(Look::Absent));
    assert_eq!(look("run/nvidia-persistenced"), Some(Look::Absent));
    assert_eq!(look("sys/module/nvidia/version"), Some(Look::Absent));
    let real = fake.path("usr/lib64").canonicalize().unwrap();
    assert!(found.stamps.iter().any(|stamp| stamp.path == real));
    assert_eq!(found.stamps.len(), 4);
}

#[test]
fn files_are_looked_for_only_where_they_are_needed() {
    let fake = Fake::new();
    fake.driver("usr/lib64", "550.54.14");
    let complete_of = |found: Found, driver: DriverSetting| {
        let mut found = found;
        complete(&mut found, &fake.paths, &Config { driver, ..fake.config.clone() });
        found
    };
    let with = |simulated| Found { devices: vec![device(simulated)], ..Found::default() };
    assert_eq!(complete_of(Found::default(), DriverSetting::Auto), Found::default());
    assert_eq!(complete_of(with(true), DriverSetting::Native), with(true));
    for other in [DriverSetting::None, DriverSetting::Cdi, DriverSetting::Chain] {
        assert_eq!(complete_of(with(false), other), with(false));
    }
    assert_eq!(complete_of(with(false), DriverSetting::Native).drivers[0].files.len(), 2);
}

#[test]
fn the_loaders_cache_names_further_directories() {
    let fake = Fake::new();
    fake.driver("opt/nvidia/lib", "550.54.14");
    assert_eq!(fake.found().drivers, []);
    let path = b"/opt/nvidia/lib/libcuda.so.1\0";
    let mut cache = b"glibc-ld.so.cache1.1".to_vec();
    cache.extend(1_u32.to_ne_bytes());
    cache.extend([0; 24]);
    for value in [0x0303_u32, 72, 72, 0, 0, 0] {
        cache.extend(value.to_ne_bytes());
    }
    cache.extend(path);
    fake.put("etc/ld.so.cache", &cache);
    assert_eq!(fake.found().drivers[0].files.len(), 2);
}
