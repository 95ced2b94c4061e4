//! A `/sys` of a test's own, with the links that the kernel makes. They are relative, so the tree
//! can be mounted anywhere. The unit tests of the library have this file, too.

#![allow(dead_code, reason = "shared by tests that each use a part")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

pub struct Sys {
    _dir: tempfile::TempDir,
    pub root: PathBuf,
}

impl Sys {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        Self { _dir: dir, root }
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    fn parent(path: &Path) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
    }

    pub fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        Self::parent(&path);
        // It may be a link to something that must not be written.
        let _ = fs::remove_file(&path);
        fs::write(path, format!("{text}\n")).unwrap();
    }

    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap()
    }

    pub fn directory(&self, path: &str) {
        fs::create_dir_all(self.path(path)).unwrap();
    }

    /// Puts one text in the place of another.
    pub fn edit(&self, path: &str, from: &str, to: &str) {
        let text = self.read(path);
        assert!(text.contains(from), "no `{from}` in {path}:\n{text}");
        self.write(path, text.replace(from, to).trim_end());
    }

    pub fn remove(&self, path: &str) {
        let path = self.path(path);
        if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
    }

    /// A link to another place of the tree.
    pub fn link(&self, path: &str, to: &str) {
        let up = "../".repeat(path.matches('/').count());
        self.point(path, &format!("{up}{to}"));
    }

    /// A link to anywhere.
    pub fn point(&self, path: &str, to: &str) {
        let path = self.path(path);
        Self::parent(&path);
        let _ = fs::remove_file(&path);
        symlink(to, path).unwrap();
    }

    /// Makes reading a file fail with EIO: so does address 0 of whoever reads.
    pub fn fail_with_eio(&self, path: &str) {
        self.point(path, "/proc/self/mem");
    }

    /// Makes reading a file fail with EACCES, for root as well: the kernel's own file can be
    /// written only.
    pub fn fail_with_eacces(&self, path: &str) {
        self.point(path, "/sys/bus/platform/drivers_probe");
    }

    /// A PCI device, by the chain of what it hangs on: `pci0000:00/0000:00:01.1/0000:01:00.0`.
    /// Gives its directory.
    pub fn pci(&self, chain: &str, vendor: &str, files: &[(&str, &str)]) -> String {
        let directory = format!("devices/{chain}");
        let (_, address) = chain.rsplit_once('/').unwrap();
        self.write(&format!("{directory}/vendor"), vendor);
        for (name, text) in files {
            self.write(&format!("{directory}/{name}"), text);
        }
        self.link(&format!("bus/pci/devices/{address}"), &directory);
        directory
    }

    pub fn driver(&self, directory: &str, driver: &str) {
        let drivers = format!("bus/pci/drivers/{driver}");
        fs::create_dir_all(self.path(&drivers)).unwrap();
        self.link(&format!("{directory}/driver"), &drivers);
    }

    /// The card and the render node of a device.
    pub fn drm(&self, directory: &str, card: u32, minor: u32) {
        for (name, number) in [(format!("card{card}"), card), (format!("renderD{minor}"), minor)] {
            self.write(&format!("{directory}/drm/{name}/dev"), &format!("226:{number}"));
            self.link(&format!("{directory}/drm/{name}/device"), directory);
            self.link(&format!("class/drm/{name}"), &format!("{directory}/drm/{name}"));
        }
    }
}
