//! The standard streams for a filter. `std`'s own treat a closed stream as one that is at its end,
//! or that accepts everything.

use super::char_drivers;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;

/// All of stdin, at most `max` bytes. Fails if it cannot be read, or is longer.
pub fn read_input(max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(32 << 10);
    io::stdin().lock().take(max + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > max {
        let text = format!("the input is larger than {} MiB", max >> 20);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    Ok(bytes)
}

/// Writes all bytes to stdout, unbuffered. Fails if not all were written. Rust programs ignore
/// SIGPIPE, so a missing reader is an error, too.
pub fn write_output(bytes: &[u8]) -> io::Result<()> {
    File::from(io::stdout().as_fd().try_clone_to_owned()?).write_all(bytes)
}

/// Whether stdout is the null device. `std` opens that too if stdout was closed.
pub fn output_is_lost() -> bool {
    let metadata =
        io::stdout().as_fd().try_clone_to_owned().and_then(|fd| File::from(fd).metadata());
    metadata.is_ok_and(|metadata| char_drivers::numbers(&metadata) == Some((1, 3)))
}
