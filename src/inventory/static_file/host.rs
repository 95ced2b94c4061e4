//! Checks that no simulated device has the number of a real one. A container that gets its node
//! would get the host's device.

use crate::model::device::{DeviceNode, Node, NodeNumbers};
use crate::paths::Paths;
use crate::sys::char_drivers;
use std::fs;
use std::path::{Path, PathBuf};

/// A simulated node whose number exists on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExistingNumber {
    /// The path of the simulated node.
    pub path: String,
    pub major: u32,
    pub minor: u32,
    /// The file of the host that contains the number.
    pub seen_in: PathBuf,
}

/// The first simulated node whose number is that of a device in `<sys>/dev/char`.
///
/// Not every driver puts its devices there. NVIDIA's does not, because only GPL modules may use the
/// kernel's device classes. [`simulated_majors_registered`] finds such devices.
pub fn simulated_numbers_exist(node: &Node, sys: &Path) -> Option<ExistingNumber> {
    simulated(node).find_map(|(path, NodeNumbers { major, minor })| {
        let seen_in = sys.join(format!("dev/char/{major}:{minor}"));
        // Not `exists`, because the entry is a link, and a dangling one counts too.
        fs::symlink_metadata(&seen_in).ok()?;
        Some(ExistingNumber { path: path.to_owned(), major, minor, seen_in })
    })
}

/// The first simulated node whose major number is registered by a driver, according to
/// `<proc>/devices`. The file does not list minor numbers, so any use of the major counts.
pub fn simulated_majors_registered(node: &Node, paths: &Paths) -> Option<ExistingNumber> {
    simulated(node).next()?;
    let registered = char_drivers::registered(paths).ok()?;
    let is_registered = |major| registered.iter().any(|driver| driver.major == major);
    simulated(node).find(|(_, numbers)| is_registered(numbers.major)).map(
        |(path, NodeNumbers { major, minor })| ExistingNumber {
            path: path.to_owned(),
            major,
            minor,
            seen_in: paths.proc.join("devices"),
        },
    )
}

fn simulated(node: &Node) -> impl Iterator<Item = (&str, NodeNumbers)> {
    node.nodes().filter_map(|DeviceNode { path, simulated }| Some((path.as_str(), (*simulated)?)))
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;
    use std::os::unix::fs::symlink;

    fn node() -> Node {
        parse(
            r#"
            simulated = true
            [[device]]
            uuid = "GPU-1"
            vendor = "nvidia"
            model = "M"
            memory_mib = 1
            pci = "1:0.0"
            nodes = [{ path = "/dev/nvidia0", major = 195, minor = 7 }]
            [[control]]
            vendor = "nvidia"
            nodes = [{ path = "/dev/nvidiactl", major = 2000, minor = 255 }]
            "#,
        )
        .unwrap()
    }

    #[test]
    fn numbers_in_sysfs_are_found() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("dev/char");
        assert_eq!(simulated_numbers_exist(&node(), root.path()), None);
        fs::create_dir_all(&directory).unwrap();
        symlink("../../nowhere", directory.join("195:8")).unwrap();
        assert_eq!(simulated_numbers_exist(&node(), root.path()), None);
        symlink("../../nowhere", directory.join("2000:255")).unwrap();
        let found = simulated_numbers_exist(&node(), root.path()).unwrap();
        assert_eq!((found.path.as_str(), found.major, found.minor), ("/dev/nvidiactl", 2000, 255));
        assert_eq!(found.seen_in, directory.join("2000:255"));
    }

    #[test]
    fn majors_in_procfs_are_found() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("devices");
        let paths = Paths { proc: root.path().to_owned(), ..Paths::default() };
        assert_eq!(simulated_majors_registered(&node(), &paths), None);
        fs::write(&path, "Character devices:\n  1 mem\n511 x\n\nBlock devices:\n195 y\n").unwrap();
        assert_eq!(simulated_majors_registered(&node(), &paths), None);
        fs::write(&path, "Character devices:\n  1 mem\n195 nvidia\n\nBlock devices:\n").unwrap();
        let found = simulated_majors_registered(&node(), &paths).unwrap();
        assert_eq!((found.path.as_str(), found.seen_in), ("/dev/nvidia0", path));
    }
}
