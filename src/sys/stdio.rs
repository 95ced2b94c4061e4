//! The standard streams as a filter needs them: `std`'s own take a stream that is closed for one
//! that is at its end, or that takes everything.

use nix::sys::stat::{fstat, major, minor};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;

/// All of stdin, but no more than `max` bytes. Fails if it cannot be read, or is longer.
pub fn read_input(max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(32 << 10);
    io::stdin().lock().take(max + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > max {
        let text = format!("the input is larger than {} MiB", max >> 20);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    Ok(bytes)
}

/// Writes to stdout, unbuffered: all of it, or an error. Fails if not all of it was taken. SIGPIPE
/// is ignored in every program of Rust, so a reader that is gone is an error, too.
pub fn write_output(bytes: &[u8]) -> io::Result<()> {
    File::from(io::stdout().as_fd().try_clone_to_owned()?).write_all(bytes)
}

/// Whether stdout is the null device, which is also what `std` puts in the place of
/// one that was closed.
pub fn output_is_lost() -> bool {
    fstat(io::stdout().as_fd()).is_ok_and(|stat| {
        let is_character = stat.st_mode & libc::S_IFMT == libc::S_IFCHR;
        is_character && (major(stat.st_rdev), minor(stat.st_rdev)) == (1, 3)
    })
}
