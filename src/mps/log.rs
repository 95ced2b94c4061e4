//! The log that a daemon and its servers write.

use super::directory::DaemonDir;
use crate::model::text::shown_line;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

/// A longer log is emptied, for it lies in memory. In bytes.
const MAX: u64 = 1 << 20;
/// How much of its end is read for a message, in bytes.
const TAIL: u64 = 1 << 14;

/// The last line of this kind in the daemon's log, as the end of a message; nothing without one.
/// Clients can make the log long, so only its end is read.
pub(super) fn last_words(dir: &DaemonDir, is_meant: impl Fn(&str) -> bool) -> String {
    let text = tail(&dir.log_file()).unwrap_or_default();
    match text.lines().rev().find(|line| is_meant(line)) {
        Some(line) => format!("; it last said: {}", shown_line(line)),
        None => String::new(),
    }
}

fn tail(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let start = file.metadata()?.len().saturating_sub(TAIL);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Empties a log that has grown long: the daemon writes a line for each command.
pub fn trim(dir: &DaemonDir) {
    let path = dir.log_file();
    if std::fs::symlink_metadata(&path).is_ok_and(|m| m.is_file() && m.len() > MAX) {
        let _ = nix::unistd::truncate(&path, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_of_a_long_log_is_read() {
        let run = tempfile::tempdir().unwrap();
        let daemon = DaemonDir::new(run.path(), "GPU-a").unwrap();
        let said = || last_words(&daemon, |line| line.contains("erver "));
        assert_eq!(said(), "");
        std::fs::create_dir_all(daemon.log()).unwrap();
        let mut text = "Server 1 exited\n".to_owned() + &"Cmd:x\n".repeat(1 << 18);
        std::fs::write(daemon.log_file(), &text).unwrap();
        assert_eq!(said(), "", "it is too far from the end");
        text.push_str("Server 2 exited\nCmd:y\n");
        std::fs::write(daemon.log_file(), &text).unwrap();
        assert_eq!(said(), "; it last said: Server 2 exited");
        trim(&daemon);
        assert_eq!(std::fs::metadata(daemon.log_file()).unwrap().len(), 0);
    }
}
