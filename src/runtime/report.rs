//! Reports a failure to the user: one JSON object in the file of the engine's `--log`, one line on
//! stderr, exit status 1. Docker and containerd show the JSON object, CRI-O shows the line, and
//! Podman shows one of them, depending on the runtime's name.

use super::args::Invocation;
use crate::failure::{Failure, one_line};
use crate::sys::clock;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;

/// Podman's log of one container (libpod, oci_conmon_common.go). Podman reads the whole file as one
/// JSON object and keeps the file from start to start, so an earlier refusal must not stay before
/// ours.
const PODMANS_LOG: &str = "oci-log";

/// Reports a failure to the engine and the user.
pub fn report(failure: &Failure, call: &Invocation) -> ExitCode {
    let message = one_line(failure);
    let _ = writeln!(io::stderr(), "{message}");
    if let Some(log) = &call.log {
        // If this fails too, the message is at least on stderr.
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
    // Other engines take the last line, and the log may contain other messages, so the entry is
    // appended. The log may be a pipe without a reader, which must not block the shim.
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

    #[test]
    fn a_log_without_a_reader_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("oci-log");
        nix::unistd::mkfifo(&log, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(write_log(&log, true, "refused").is_err());
    }

    #[test]
    fn podmans_log_is_one_object_others_are_appended_to() {
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
