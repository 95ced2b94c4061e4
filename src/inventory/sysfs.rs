//! Reads the kernel's small files: a line that may be missing, be empty, or fail to be read.

use crate::model::device::PciAddress;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

/// The most bytes of a file that are read; sysfs has pages of 4 KiB.
const MAX: u64 = 64 * 1024;

/// The text of a file without white space at its ends; `None` if the file is missing or empty.
/// Fails if the file exists and cannot be read.
pub fn text(path: &Path) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX).read_to_end(&mut bytes));
    match read {
        Ok(_) => {
            let text = String::from_utf8_lossy(&bytes).trim().to_owned();
            Ok(Some(text).filter(|text| !text.is_empty()))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        // Its parent is not a directory: a driver is just making it.
        Err(error) if error.kind() == ErrorKind::NotADirectory => Ok(None),
        Err(error) => Err(error),
    }
}

/// A whole number in decimal; `None` also for other text. Fails if the file exists and cannot be
/// read.
pub fn number(path: &Path) -> io::Result<Option<u64>> {
    Ok(text(path)?.and_then(|text| text.parse().ok()))
}

/// The directory of a PCI device, all links resolved; `None` if there is none.
pub fn pci_directory(sys: &Path, pci: PciAddress) -> Option<PathBuf> {
    fs::canonicalize(sys.join("bus/pci/devices").join(pci.to_string())).ok()
}

/// The PCI address in the name of a device's directory. `amdgpu_xcp_30` has none.
pub fn pci_of(directory: &Path) -> Option<PciAddress> {
    let name = directory.file_name()?.to_str()?;
    if name.contains(':') { PciAddress::parse(name) } else { None }
}

/// The numbers N of the entries `<prefix>N` of a directory, in order. Empty if it cannot be read.
pub fn numbered(directory: &Path, prefix: &str) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        found.extend(name.to_str().and_then(|name| digits(name.strip_prefix(prefix)?)));
    }
    found.sort_unstable();
    found
}

/// Reads digits alone; `u32::from_str` would accept a `+`.
fn digits(text: &str) -> Option<u32> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// The NUMA node of a device; `None` if the firmware does not tell, which the kernel writes as -1.
pub fn numa_node(directory: &Path) -> Option<u32> {
    text(&directory.join("numa_node")).ok()??.parse().ok()
}

/// The driver that is bound to a device.
pub fn driver(directory: &Path) -> Option<String> {
    let link = fs::read_link(directory.join("driver")).ok()?;
    Some(link.file_name()?.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn missing_and_empty_files_are_none_others_fail() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("a"), " 18446744073709551615\n").unwrap();
        fs::write(path("empty"), "\n").unwrap();
        fs::write(path("minus"), "-1\n").unwrap();
        // Reading address 0 of this process fails with EIO.
        symlink("/proc/self/mem", path("broken")).unwrap();
        assert_eq!(number(&path("a")).unwrap(), Some(u64::MAX));
        assert_eq!(text(&path("minus")).unwrap().as_deref(), Some("-1"));
        for nothing in ["empty", "absent", "a/b"] {
            assert_eq!(text(&path(nothing)).unwrap(), None, "{nothing}");
        }
        assert_eq!(number(&path("minus")).unwrap(), None);
        assert_eq!(number(&path("broken")).unwrap_err().raw_os_error(), Some(nix::libc::EIO));
    }

    #[test]
    fn numbered_entries_are_numbers_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["card10", "card9", "card9-DP-1", "card+1", "card", "renderD128"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        assert_eq!(numbered(dir.path(), "card"), [9, 10]);
        assert_eq!(numbered(&dir.path().join("none"), "card"), [0_u32; 0]);
    }
}
