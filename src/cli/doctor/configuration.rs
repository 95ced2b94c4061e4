//! Checks the user that runs the check, and the configuration file.

use super::finding::{Findings, UNCHECKED, plain, quoted};
use crate::config::ConfigError;
use crate::failure::Failure;
use crate::host::{ConfigState, Host};
use crate::model::text::shown;
use crate::sys::checked::{FileError, UnsafeFile};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

pub(super) fn check(host: &Host, found: &mut Findings) {
    privileges(host, found);
    let path = &host.config_path;
    let Err(error) = host.configuration() else {
        let text = if path.exists() {
            format!("{} is in use", quoted(path))
        } else {
            format!("{} does not exist: the defaults apply", quoted(path))
        };
        return found.ok("configuration", text);
    };
    cannot_go_on(host.known(), found);
    if let ConfigError::File(FileError::Io(error)) = error
        && error.source.kind() == ErrorKind::PermissionDenied
        && !host.is_root()
    {
        return found.unchecked(path, &error.source);
    }
    // A start is refused with the same error.
    let text = Failure::from(error).message;
    match error {
        ConfigError::File(error) => insecure(error, text, "config-insecure", found),
        ConfigError::Missing { .. } => found.fault(
            "config-missing",
            text,
            "write the file, or correct --gpulease-config or GPULEASE_CONFIG",
        ),
        ConfigError::Empty { .. } => found.fault(
            "config-empty",
            text,
            format!("write the settings, or `rm {}` for the defaults", plain(path)),
        ),
        ConfigError::NotText { .. }
        | ConfigError::Invalid { .. }
        | ConfigError::Unsettled { .. } => found.fault(
            "config-invalid",
            text,
            format!("correct {}; gpulease-config(5) describes it", quoted(path)),
        ),
    }
}

/// Reports the checks that need the configuration and were left out.
fn cannot_go_on(known: ConfigState, found: &mut Findings) {
    let what = match known {
        ConfigState::All => return,
        ConfigState::Essentials => "the hook, the devices and the inventory",
        ConfigState::Nothing => {
            "the low-level runtime, the hook, the lease directory, the devices and the inventory"
        }
    };
    found.note(
        UNCHECKED,
        format!("{what} were not checked: this needs a valid configuration"),
        "correct the configuration, then run `gpulease doctor` again",
    );
}

fn privileges(host: &Host, found: &mut Findings) {
    if host.is_root() {
        return found.ok("privileges", "this is root, on the host");
    }
    let user = nix::unistd::geteuid();
    let map = host.paths.proc.join("self/uid_map");
    if user.is_root() && !map.exists() {
        found.unchecked(&map, &"it does not exist");
    } else if user.is_root() {
        found.warning(
            "user-namespace",
            "this is root of a user namespace only: an engine that runs here gets no leases",
            "run the engine, and `gpulease doctor`, as root of the host",
        );
    } else {
        found.note(
            "not-root",
            format!("this is user {user}: files that only root can read are not checked"),
            "run `gpulease doctor` as root",
        );
    }
}

/// A file that others can write, whose directory others can write, or that cannot be read.
pub(super) fn insecure(error: &FileError, text: String, code: &'static str, found: &mut Findings) {
    match error {
        FileError::Insecure { path, fault } => found.fault(code, text, fix_of(path, *fault)),
        FileError::Io(error) => {
            let fix = format!("let root read {}", quoted(&error.path));
            found.fault(code, text, fix);
        }
        FileError::TooLarge { path } => {
            let fix = format!("{} is no such file: replace it", quoted(path));
            found.fault(code, text, fix);
        }
    }
}

/// The command that repairs the fault.
pub(super) fn fix_of(path: &Path, fault: UnsafeFile) -> String {
    let is_link_of = |user| {
        std::fs::symlink_metadata(path).is_ok_and(|link| link.is_symlink() && link.uid() == user)
    };
    let is_link = matches!(fault, UnsafeFile::Owner(user) if is_link_of(user));
    let path = plain(path);
    match fault {
        // Without the option the owner of the link's target would change.
        UnsafeFile::Owner(_) if is_link => format!("`chown -h root:root {path}`"),
        UnsafeFile::Owner(_) => format!("`chown root:root {path}`"),
        UnsafeFile::Writable(_) => format!("`chmod go-w {path}`"),
        UnsafeFile::NotRegular => format!("put a regular file at `{path}`"),
        UnsafeFile::NotDirectory => format!("make a directory of `{path}`"),
    }
}

/// An error in another program's file. Its text may repeat parts of the file.
pub(super) fn foreign(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    shown(&line)
}
