//! How a failure reaches the user: one JSON object in the file that the engine named with
//! `--log`, one line on stderr, exit status 1. Docker and containerd show the first, CRI-O the
//! second, and Podman one or the other, by the runtime's name.

use super::args::Invocation;
use crate::failure::Failure;
use crate::model::text;
use crate::sys::clock;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;

/// The most bytes of a message: conmon reads 8 KiB of stderr at once.
const MAX_BYTES: usize = 2048;

/// The message for an engine: `gpulease: no-capacity: …; hint: …`, one line.
#[must_use]
pub fn one_line(failure: &Failure) -> String {
    let Failure { code, message, hint } = failure;
    // A refusal's own line begins with its code and ends with its hint.
    let mut line = if message.starts_with(code.as_str()) {
        format!("gpulease: {message}")
    } else {
        format!("gpulease: {code}: {message}")
    };
    if let Some(hint) = hint {
        line.push_str("; hint: ");
        line.push_str(hint);
    }
    sober(&line)
}

/// Engines guess an exit status from words in the message: Docker makes 127 of "no such file or
/// directory" and 126 of "permission denied", Podman likewise, and containerd takes "does not
/// exist" for a container that is gone. Ours mean none of that.
const MISREAD: &[(&str, &str)] = &[
    ("no such file or directory", "there is no such path"),
    ("permission denied", "access was denied"),
    ("operation not permitted", "the kernel refused"),
    ("executable file not found", "no executable"),
    ("does not exist", "is missing"),
    ("no such process", "the process is gone"),
    ("not running", "not alive"),
    ("process already finished", "process ended"),
];

fn sober(line: &str) -> String {
    let mut line = text::one_line(line);
    for (word, instead) in MISREAD {
        while let Some(at) = line.to_ascii_lowercase().find(word) {
            line.replace_range(at..at + word.len(), instead);
        }
    }
    if line.len() > MAX_BYTES {
        let mut end = MAX_BYTES;
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        line.truncate(end);
        line.push('…');
    }
    line
}

/// Podman's log of one container (libpod, oci_conmon_common.go). It reads the whole file as one
/// JSON object and keeps it from start to start: an earlier refusal must not stay before ours.
const PODMANS_LOG: &str = "oci-log";

/// Tells the engine and the user.
pub fn report(failure: &Failure, call: &Invocation) -> ExitCode {
    let message = one_line(failure);
    let _ = writeln!(io::stderr(), "{message}");
    if let Some(log) = &call.log {
        // If even that fails, stderr has said it.
        let _ = write_log(log, call.log_json, &message);
    }
    ExitCode::FAILURE
}

fn write_log(log: &Path, json: bool, message: &str) -> io::Result<()> {
    let time = clock::now_rfc3339();
    let entry = if json {
        serde_json::json!({ "level": "error", "msg": message, "time": time }).to_string()
    } else {
        format!("time=\"{time}\" level=error msg={}", serde_json::Value::from(message))
    };
    // Others take the last line, and a log may be anybody's: it is appended to. It may be a pipe that
    // is not read, which must not keep us.
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o644);
    options.custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC);
    let mut file = options.open(log)?;
    let is_podmans = log.file_name().is_some_and(|name| name == PODMANS_LOG);
    if json && is_podmans && fs::symlink_metadata(log)?.is_file() {
        file.set_len(0)?;
    }
    writeln!(file, "{entry}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::code::Code;

    #[test]
    fn engines_do_not_misread_our_messages() {
        let text = "cannot read `/x`: No such file or directory (os error 2)\nor Permission denied";
        let line = one_line(&Failure::new(Code::BadBundle, text).hint("h"));
        assert_eq!(
            line,
            "gpulease: bad-bundle: cannot read `/x`: there is no such path (os error 2) or access was denied; hint: h"
        );
    }

    #[test]
    fn what_a_terminal_obeys_is_escaped() {
        let text = "cannot read `/tmp/\u{202e}gpj\u{1b}[2J`\u{9b}";
        let line = one_line(&Failure::new(Code::BadBundle, text).hint("see \u{2066}x"));
        let expected = "gpulease: bad-bundle: cannot read `/tmp/\\u{202e}gpj\\u{1b}[2J`\\u{9b}; \
                        hint: see \\u{2066}x";
        assert_eq!(line, expected);
    }

    #[test]
    fn the_replacements_cannot_bring_a_misread_word_back() {
        for (_, instead) in MISREAD {
            assert_eq!(sober(instead), *instead);
        }
        assert!(sober(&"ü".repeat(3000)).len() <= MAX_BYTES + '…'.len_utf8());
    }
    #[test]
    fn a_log_without_a_reader_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("oci-log");
        nix::unistd::mkfifo(&log, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(write_log(&log, true, "refused").is_err());
    }

    #[test]
    fn podmans_log_is_one_object_and_others_keep_what_they_have() {
        let dir = tempfile::tempdir().unwrap();
        for (name, json, lines) in
            [("oci-log", true, 1), ("log.json", true, 2), ("oci-log.txt", false, 2)]
        {
            let log = dir.path().join(name);
            for message in ["first", "second"] {
                write_log(&log, json, message).unwrap();
            }
            let text = std::fs::read_to_string(&log).unwrap();
            assert_eq!(text.lines().count(), lines, "{name}: {text}");
            assert!(text.lines().last().unwrap().contains("second"), "{name}: {text}");
        }
    }
}
