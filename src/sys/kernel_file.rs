//! Small files of the kernel, such as those of cgroupfs and procfs. They are never created or
//! replaced, and take a value in one write.

use nix::fcntl::OFlag;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The most bytes that are read.
const BYTES_MAX: u64 = 1 << 16;

/// The text of the file. Fails if the file is missing or a link, or cannot be read.
pub fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    open(path, OpenOptions::new().read(true))?.take(BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// Writes a line in one write. Fails if the file is missing or a link, or if the kernel does not
/// accept the line.
pub fn write(path: &Path, line: &str) -> io::Result<()> {
    let count = open(path, OpenOptions::new().write(true))?.write(line.as_bytes())?;
    if count == line.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// The kernel's files are no links.
fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    options.custom_flags(OFlag::O_NOFOLLOW.bits()).open(path)
}

/// The text of a file with one short line, without white space at its ends.
pub fn line(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(256).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).trim().to_owned())
}
