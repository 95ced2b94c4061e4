//! Character devices: their numbers, and their drivers, which the first section of `/proc/devices`
//! lists. (The second section lists block devices.)

use super::PathError;
use crate::paths::Paths;
use std::fs::{self, Metadata};
use std::os::unix::fs::{FileTypeExt, MetadataExt};

/// The major and minor number of a node; `None` if it is not a character device.
pub fn numbers(metadata: &Metadata) -> Option<(u32, u32)> {
    metadata.file_type().is_char_device().then(|| split(metadata.rdev()))
}

/// The same for a character or a block device.
pub fn numbers_of_any(metadata: &Metadata) -> Option<(u32, u32)> {
    let kind = metadata.file_type();
    (kind.is_char_device() || kind.is_block_device()).then(|| split(metadata.rdev()))
}

/// The major and the minor number in a `dev_t`.
pub fn split(device: u64) -> (u32, u32) {
    (libc::major(device), libc::minor(device))
}

/// A driver with one of its major numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CharDriver {
    pub(crate) major: u32,
    pub(crate) name: String,
}

/// All registered drivers. Fails if the file cannot be read.
pub(crate) fn registered(paths: &Paths) -> Result<Vec<CharDriver>, PathError> {
    let path = paths.proc.join("devices");
    let text = fs::read_to_string(&path).map_err(PathError::new("read", &path))?;
    let lines = text.lines().skip_while(|line| !line.starts_with("Character devices:")).skip(1);
    let driver = |line: &str| {
        let (major, name) = line.trim_start().split_once(' ')?;
        Some(CharDriver { major: major.parse().ok()?, name: name.trim().to_owned() })
    };
    Ok(lines.map_while(driver).collect())
}
