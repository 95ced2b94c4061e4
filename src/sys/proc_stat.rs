//! The lines of `/proc/<pid>/stat`.

use crate::paths::Paths;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::str::FromStr;

/// More bytes than all needed fields have in their longest form.
pub(super) const STAT_BYTES: usize = 1024;

/// Reads a stat line, or its first part. procfs returns it in one read.
pub(super) fn read_stat<'a>(path: &Path, buffer: &'a mut [u8; STAT_BYTES]) -> io::Result<&'a [u8]> {
    let length = File::open(path)?.read(buffer)?;
    Ok(buffer.get(..length).unwrap_or_default())
}

/// A field of `/proc/<pid>/stat` behind the command name, with the number that it has in proc(5).
/// The command name is field 2 and may contain spaces and parentheses, so fields are counted from
/// the last closing one.
pub(super) fn field<T: FromStr>(stat: &[u8], number: usize) -> Option<T> {
    let text =
        std::str::from_utf8(stat.get(stat.iter().rposition(|byte| *byte == b')')?..)?).ok()?;
    text.split_whitespace().nth(number.checked_sub(2)?)?.parse().ok()
}

pub(super) fn start_time(stat: &[u8]) -> Option<u64> {
    field(stat, 22)
}

pub(super) fn state(stat: &[u8]) -> Option<char> {
    field(stat, 3)
}

/// The pids of a directory that has an entry for each process, as procfs and KFD have.
pub fn pids(dir: &Path) -> impl Iterator<Item = i32> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The parent of a process; `None` if the process is gone or cannot be looked at.
pub fn parent(pid: i32, paths: &Paths) -> Option<i32> {
    let path = paths.proc.join(pid.to_string()).join("stat");
    field(read_stat(&path, &mut [0; STAT_BYTES]).ok()?, 4)
}

/// Whether it is a zombie without threads, which only waits to be reaped by its parent.
pub(super) fn has_ended(stat: &[u8], dir: &Path) -> bool {
    let threads = || fs::read_dir(dir.join("task")).map_or(2, Iterator::count);
    matches!(state(stat), Some('Z' | 'X')) && threads() <= 1
}

/// The start time of the process of this directory in procfs; `None` if it has ended. A process
/// that does not tell counts as older than all others.
pub(super) fn start_of_living(dir: &Path) -> Option<u64> {
    let mut buffer = [0; STAT_BYTES];
    match read_stat(&dir.join("stat"), &mut buffer) {
        Ok(stat) if has_ended(stat, dir) => None,
        Ok(stat) => Some(start_time(stat).unwrap_or(0)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => None,
        Err(_) => Some(0),
    }
}
