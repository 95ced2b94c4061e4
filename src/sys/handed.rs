//! Passes a text to the next program as a file in memory. Nothing has to be removed afterwards, no
//! full or read-only file system gets in the way, and no other process can change it.

use super::error::check;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::PathBuf;

/// Stores the text, and returns the path under which a program that this process becomes, or
/// starts, can read it. The path is an open descriptor, numbered `least` or more, which outlives
/// `execve` and is never closed here. Fails if the kernel gives none, for instance because `least`
/// is above the limit of descriptors.
pub fn hand_on(bytes: &[u8], least: RawFd) -> io::Result<PathBuf> {
    let mut file = File::from(memory()?);
    file.write_all(bytes)?;
    let seals = libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;
    // SAFETY: fcntl on a descriptor that `file` owns. The duplicate is left open on purpose.
    let kept = unsafe {
        check(libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals))?;
        libc::fcntl(file.as_raw_fd(), libc::F_DUPFD, least)
    };
    check(kept)?;
    Ok(PathBuf::from(format!("/proc/self/fd/{kept}")))
}

fn memory() -> io::Result<OwnedFd> {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // If files in memory may not be executed (`vm.memfd_noexec`), this flag has to say that it is
    // not executable. Kernels before 6.3 do not know the flag.
    for flags in [flags | libc::MFD_NOEXEC_SEAL, flags] {
        // SAFETY: the name ends with a NUL; the call gives a new descriptor or -1.
        let made = unsafe { libc::memfd_create(c"gpulease".as_ptr(), flags) };
        if made >= 0 {
            // SAFETY: the descriptor was just made, and this function alone owns it.
            return Ok(unsafe { OwnedFd::from_raw_fd(made) });
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::EINVAL) {
            return Err(error);
        }
    }
    Err(io::Error::from_raw_os_error(libc::EINVAL))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_program_reads_the_text_as_often_as_it_likes() {
        let path = hand_on(b"text\n", 20).unwrap();
        let number: RawFd = path.file_name().unwrap().to_str().unwrap().parse().unwrap();
        assert!(number >= 20);
        let read = Command::new("cat").args([&path, &path]).output().unwrap();
        // SAFETY: the number is that of the descriptor that was left open.
        drop(unsafe { OwnedFd::from_raw_fd(number) });
        assert_eq!(read.stdout, b"text\ntext\n");
    }

    #[test]
    fn the_text_cannot_be_changed() {
        let path = hand_on(b"text", 3).unwrap();
        let number: RawFd = path.file_name().unwrap().to_str().unwrap().parse().unwrap();
        let written = std::fs::OpenOptions::new().write(true).open(&path);
        let refused = written.and_then(|mut file| file.write_all(b"x")).unwrap_err();
        let truncated = std::fs::OpenOptions::new().write(true).truncate(true).open(&path);
        assert_eq!(refused.raw_os_error(), Some(libc::EPERM));
        assert!(truncated.is_err());
        // SAFETY: the number is that of the descriptor that was left open.
        drop(unsafe { OwnedFd::from_raw_fd(number) });
    }

    #[test]
    fn a_number_above_the_limit_is_an_error() {
        assert!(hand_on(b"", RawFd::MAX).is_err());
    }
}
