//! What a daemon and its servers say of themselves.

use super::directory::DaemonDir;
use crate::model::text::shown_line;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// A log that is longer is emptied: it lies in memory.
const MAX: u64 = 1 << 20;
/// What is read of its end for a message.
const TAIL: u64 = 1 << 14;

fn path(place: &DaemonDir) -> PathBuf {
    place.log().join("control.log")
}

/// The last line of this kind in the daemon's log. Of a log that clients have made long, its end.
pub(super) fn last_words(place: &DaemonDir, is_meant: impl Fn(&str) -> bool) -> String {
    let text = tail(&path(place)).unwrap_or_default();
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

/// Empties a log that has grown long: the daemon writes a line for each question.
pub fn trim(place: &DaemonDir) {
    let path = path(place);
    if std::fs::symlink_metadata(&path).is_ok_and(|m| m.is_file() && m.len() > MAX) {
        let _ = nix::unistd::truncate(&path, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_log_without_end_the_end_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let place = DaemonDir::new(dir.path(), "GPU-a").unwrap();
        let said = || last_words(&place, |line| line.contains("erver "));
        assert_eq!(said(), "");
        std::fs::create_dir_all(place.log()).unwrap();
        let mut text = "Server 1 exited\n".to_owned() + &"Cmd:x\n".repeat(1 << 18);
        std::fs::write(path(&place), &text).unwrap();
        assert_eq!(said(), "", "it is too far from the end");
        text.push_str("Server 2 exited\nCmd:y\n");
        std::fs::write(path(&place), &text).unwrap();
        assert_eq!(said(), "; it last said: Server 2 exited");
        trim(&place);
        assert_eq!(std::fs::metadata(path(&place)).unwrap().len(), 0);
    }
}
