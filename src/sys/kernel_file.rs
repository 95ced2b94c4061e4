//! Files by which the kernel is told something: those of cgroupfs. They are there or they are not,
//! are never made or replaced, and take a value with one write.

use nix::fcntl::OFlag;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// No file that is read here is as long as this.
const BYTES_MAX: u64 = 1 << 16;

/// What the file says. Fails if it is not there, a link, or cannot be read.
pub fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    open(path, OpenOptions::new().read(true))?.take(BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// Writes a line, all of it in one write. Fails if the file is not there, a link, or the kernel
/// does not take the line.
pub fn write(path: &Path, line: &str) -> io::Result<()> {
    let count = open(path, OpenOptions::new().write(true))?.write(line.as_bytes())?;
    if count == line.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// A file of the kernel's is no link.
fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    options.custom_flags(OFlag::O_NOFOLLOW.bits()).open(path)
}

/// A file of one short line, without the white space at its ends.
pub fn line(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(256).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).trim().to_owned())
}
