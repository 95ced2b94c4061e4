//! Reads the kernel's log, without waiting for more.

use super::PathError;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

/// A record and its dictionary have at most 8 KiB. The kernel does not read a record into a smaller
/// buffer.
const RECORD_MAX: usize = 16 * 1024;

/// More records than the log's buffer can contain.
const READS_MAX: u32 = 1 << 17;

/// The kernel's own messages in `path` (`/dev/kmsg`) that contain `word`, oldest first and at most
/// the newest `max`; none if there is no such file. Messages from user space are left out. Fails if
/// the log cannot be opened (`EPERM` without `CAP_SYSLOG`), or read.
pub fn messages(path: &Path, word: &str, max: usize) -> Result<Vec<String>, PathError> {
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
    let mut file = match open(path, flags, Mode::empty()) {
        Ok(fd) => File::from(fd),
        Err(nix::errno::Errno::ENOENT) => return Ok(Vec::new()),
        Err(errno) => return Err(PathError::new("open", path)(errno.into())),
    };
    let mut found = std::collections::VecDeque::new();
    let mut take = |line: &[u8]| {
        if let Some(message) = of_kernel(line).filter(|message| message.contains(word)) {
            if found.len() == max {
                found.pop_front();
            }
            found.push_back(message);
        }
    };
    let mut buffer = vec![0; RECORD_MAX];
    // The unfinished line of a read, which only a plain file has.
    let mut rest: Vec<u8> = Vec::new();
    for _ in 0..READS_MAX {
        let count = match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            // Records were overwritten before they were read. The next read continues behind them.
            Err(error) if error.raw_os_error() == Some(libc::EPIPE) => continue,
            Err(error) => return Err(PathError::new("read", path)(error)),
        };
        rest.extend_from_slice(buffer.get(..count).unwrap_or_default());
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            take(&line);
        }
        if rest.len() > RECORD_MAX {
            rest.clear();
        }
    }
    take(&rest);
    Ok(found.into())
}

/// The message of a record `4,1234,5678901,-;message`, if the kernel wrote it: the first number is
/// the facility times 8 plus the level, and the kernel's facility is 0.
/// (Documentation/ABI/testing/dev-kmsg)
fn of_kernel(record: &[u8]) -> Option<String> {
    let record = String::from_utf8_lossy(record);
    let (prefix, message) = record.trim_end().split_once(';')?;
    let priority: u32 = prefix.split(',').next()?.parse().ok()?;
    (priority < 8).then(|| message.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_own_messages_are_told_from_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kmsg");
        assert_eq!(messages(&path, "NVRM", 9).unwrap(), Vec::<String>::new());
        let mut text = String::new();
        for number in 0..2000 {
            text += &format!("6,{number},{number}00,-;usb 1-1: something else\n SUBSYSTEM=usb\n");
        }
        text += "4,2001,5,-;NVRM: one\n12,2002,6,-;NVRM: of user space\nNVRM: no record\n";
        text += "3,2003,7,c;NVRM: two\n6,2004,8,-;NVRM: three";
        std::fs::write(&path, &text).unwrap();
        assert_eq!(messages(&path, "NVRM", 9).unwrap(), ["NVRM: one", "NVRM: two", "NVRM: three"]);
        assert_eq!(messages(&path, "NVRM", 2).unwrap(), ["NVRM: two", "NVRM: three"]);
        // A line that never ends is not kept.
        std::fs::write(&path, "x".repeat(200_000) + "\n4,1,1,-;NVRM: four\n").unwrap();
        assert_eq!(messages(&path, "NVRM", 9).unwrap(), ["NVRM: four"]);
    }

    #[test]
    fn the_real_log_is_not_waited_for() {
        let path = Path::new("/dev/kmsg");
        if let Ok(all) = messages(path, "", usize::MAX) {
            assert!(path.exists() || all.is_empty());
        }
    }
}
