//! The kernel's dmem controller, which limits a cgroup's device memory: cgroup v2, since Linux 6.14
//! (Linux, admin-guide/cgroup-v2.rst, "DMEM").

use crate::paths::Paths;
use std::collections::BTreeMap;
use std::fs;

/// The regions that can be limited, with their sizes in bytes.
///
/// # Errors
/// Why there are none, as a phrase.
pub(super) fn regions(paths: &Paths) -> Result<BTreeMap<String, u64>, String> {
    let root = paths.sys.join("fs/cgroup");
    let controllers = fs::read_to_string(root.join("cgroup.controllers"))
        .map_err(|_| "cgroup v2 is not mounted on /sys/fs/cgroup".to_owned())?;
    if !controllers.split_ascii_whitespace().any(|controller| controller == "dmem") {
        return Err("the kernel has no dmem controller, which came with Linux 6.14".to_owned());
    }
    let capacity = fs::read_to_string(root.join("dmem.capacity"))
        .map_err(|error| format!("dmem.capacity cannot be read: {error}"))?;
    Ok(parse(&capacity))
}

/// `drm/0000:03:00.0/vram0 8514437120`, a region a line.
fn parse(text: &str) -> BTreeMap<String, u64> {
    let line = |line: &str| {
        let (region, size) = line.split_once(' ')?;
        Some((region.to_owned(), size.trim().parse().ok()?))
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_read_and_what_is_missing_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths { sys: dir.path().to_owned(), ..Paths::default() };
        let root = dir.path().join("fs/cgroup");
        fs::create_dir_all(&root).unwrap();
        assert!(regions(&paths).unwrap_err().contains("cgroup v2"));
        fs::write(root.join("cgroup.controllers"), "cpu memory\n").unwrap();
        assert!(regions(&paths).unwrap_err().contains("6.14"));
        fs::write(root.join("cgroup.controllers"), "cpu dmem memory\n").unwrap();
        assert!(regions(&paths).unwrap_err().contains("dmem.capacity"));
        let text = "drm/0000:03:00.0/vram0 8514437120\ndrm/0000:03:00.0/stolen 67108864\njunk\n";
        fs::write(root.join("dmem.capacity"), text).unwrap();
        let regions = regions(&paths).unwrap();
        assert_eq!(regions.get("drm/0000:03:00.0/vram0"), Some(&8_514_437_120));
        assert_eq!(regions.len(), 2);
    }
}
