//! Character devices: their numbers, and their drivers, which the first section of `/proc/devices`
//! lists. (The second section lists block devices.)

use super::PathError;
use crate::paths::Paths;
use std::fs::{self, Metadata};
use std::os::unix::fs::{FileTypeExt, MetadataExt};

/// The major and minor number of a node; `None` if it is not a character device.
pub fn numbers(metadata: &Metadata) -> Option<(u32, u32)> {
    let number = metadata.rdev();
    let numbers = (libc::major(number), libc::minor(number));
    metadata.file_type().is_char_device().then_some(numbers)
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
