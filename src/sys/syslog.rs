//! Writes one line to the system log, for a program whose stderr is not kept.

use crate::model::text;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

/// `LOG_DAEMON | LOG_ERR` (syslog(3)).
const ERROR: u8 = 3 << 3 | 3;
const WARNING: u8 = 3 << 3 | 4;

/// Longer than our lines, and shorter than the limit of journald and rsyslog.
const MAX_BYTES: usize = 4096;

/// Sends the line to journald or another syslog at `socket` (`/dev/log`), which adds the time. It
/// never blocks: if no process listens, or its queue is full, the line is lost.
pub fn error(socket: &Path, tag: &str, line: &str) {
    send(socket, ERROR, tag, line);
}

/// Sends a line that is not an error, but worth finding again.
pub fn warning(socket: &Path, tag: &str, line: &str) {
    send(socket, WARNING, tag, line);
}

fn send(socket: &Path, priority: u8, tag: &str, line: &str) {
    let Ok(sender) = UnixDatagram::unbound() else { return };
    if sender.set_nonblocking(true).is_ok() {
        let _ = sender.send_to(message(priority, tag, line).as_bytes(), socket);
    }
}

fn message(priority: u8, tag: &str, line: &str) -> String {
    let line = text::one_line(line);
    let mut text = format!("<{priority}>{tag}[{}]: {line}", std::process::id());
    let mut end = text.len().min(MAX_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_bounded_line() {
        let text = message(ERROR, "gpulease-hook", "a\nb\0c\u{1b}[31m");
        let pid = std::process::id();
        assert_eq!(text, format!("<27>gpulease-hook[{pid}]: a b{}c{}[31m", r"\u{0}", r"\u{1b}"));
        let long = message(WARNING, "t", &"ü".repeat(5000));
        assert!(long.len() <= MAX_BYTES && long.ends_with('ü'));
    }

    #[test]
    fn a_listener_gets_the_lines_and_nothing_blocks() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("log");
        error(&socket, "t", "lost");
        let listener = UnixDatagram::bind(&socket).unwrap();
        listener.set_nonblocking(true).unwrap();
        // Many more than a socket's queue holds.
        for _ in 0..2000 {
            error(&socket, "t", "said");
        }
        let mut buffer = [0; 64];
        let length = listener.recv(&mut buffer).unwrap();
        assert!(buffer[..length].ends_with(b": said"));
    }
}
