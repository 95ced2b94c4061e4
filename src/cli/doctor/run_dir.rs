//! Checks the lease directory: its owner, its file system, and its lock.

use super::finding::{Findings, UNCHECKED, plain, quoted};
use crate::claim::{Ctx, place};
use crate::failure::chain;
use crate::host::Host;
use crate::model::code::Code;
use crate::sys::lock::{self, LockError, LockHolders};
use crate::sys::mount;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// A start holds the lock for about a millisecond, so 64 starts at once need less than this.
const LOCK_DEADLINE: Duration = Duration::from_millis(300);

pub(super) fn check(host: &Host, found: &mut Findings) {
    let dir = &host.paths.run;
    let before = found.list.len();
    moved(host, found);
    if !directory(dir, "run-dir", found) {
        return;
    }
    parent(dir, found);
    for name in ["leases", "bundles", "corrupt"] {
        let inner = dir.join(name);
        if fs::symlink_metadata(&inner).is_ok() {
            directory(&inner, name, found);
        }
    }
    file_system(dir, host, found);
    the_lock(host, found);
    if found.is_clean_since(before) {
        found.ok(
            "run-dir",
            format!("{} is root's alone, on a tmpfs, and its lock is free", quoted(dir)),
        );
    }
}

/// Reports leases in a directory that the configuration no longer names.
fn moved(host: &Host, found: &mut Findings) {
    match place::check(Ctx::of(host), &host.config_name()) {
        Ok(()) => {}
        Err(failure) if failure.code == Code::BadConfig => found.fault(
            "run-dir-moved",
            format!("{failure}: every start with a request is refused"),
            failure.hint.unwrap_or_default(),
        ),
        // This user cannot read the files that root can read.
        Err(failure) if failure.code == Code::StateUnavailable && !host.is_root() => found.note(
            UNCHECKED,
            format!("the directory of earlier leases was not checked: {failure}"),
            "run `gpulease doctor` as root",
        ),
        Err(failure) => found.warning(
            "run-dir-unknown",
            format!("the directory of earlier leases is unknown: {failure}"),
            format!(
                "`rm -r --one-file-system {}` while no container holds a GPU",
                plain(&host.paths.var.join("run_dir"))
            ),
        ),
    }
}

/// Checks a directory. Returns whether it exists, so that its contents can be checked.
fn directory(dir: &Path, what: &str, found: &mut Findings) -> bool {
    let shown = quoted(dir);
    let metadata = match fs::symlink_metadata(dir) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            found.note(
                "run-dir-missing",
                format!("{shown} does not exist yet; the next start with a request creates it"),
                "`gpulease inventory refresh` creates it now",
            );
            return false;
        }
        Err(error) => {
            found.unchecked(dir, &error);
            return false;
        }
    };
    if !metadata.is_dir() {
        found.fault(
            "run-dir-not-directory",
            format!("{shown} is not a directory: every start with a request is refused"),
            format!("`rm {}`; the next start creates the directory", plain(dir)),
        );
        return false;
    }
    let user = nix::unistd::geteuid().as_raw();
    if metadata.uid() != 0 && metadata.uid() != user {
        found.fault(
            "run-dir-owner",
            format!(
                "{shown} belongs to user {}: that user could forge leases in \
                 it",
                metadata.uid()
            ),
            format!("`chown -R root:root {}`", plain(dir)),
        );
    }
    if metadata.mode() & 0o022 != 0 {
        let right = if what == "run-dir" { "0755" } else { "0700" };
        let mode = metadata.mode() & 0o7777;
        found.fault(
            "run-dir-mode",
            format!("{shown} has mode {mode:04o}: others could forge leases in it"),
            format!("`chmod {right} {}`", plain(dir)),
        );
    }
    true
}

/// A user that can rename the directory can replace it.
fn parent(dir: &Path, found: &mut Findings) {
    let Some(parent) = dir.parent() else { return };
    let Ok(metadata) = fs::metadata(parent) else { return };
    let sticky = metadata.mode() & 0o1000 != 0;
    if metadata.mode() & 0o022 != 0 && !sticky {
        let (mode, parent, dir) = (metadata.mode() & 0o7777, plain(parent), quoted(dir));
        found.fault(
            "run-dir-parent",
            format!(
                "`{parent}` has mode {mode:04o}: others could put another directory in place of \
                 {dir}"
            ),
            format!("`chmod go-w {parent}`"),
        );
    }
}

fn file_system(dir: &Path, host: &Host, found: &mut Findings) {
    let mount = match mount::of(dir) {
        Ok(mount) => mount,
        Err(error) => return found.unchecked(dir, &error.source),
    };
    let dir = plain(dir);
    if !mount.volatile {
        let file = quoted(&host.config_path);
        found.warning(
            "run-dir-not-tmpfs",
            format!(
                "`{dir}` is not on a tmpfs: leases survive a reboot, and every write goes to a \
                 disk"
            ),
            format!("mount a tmpfs there, or set `run_dir` in {file} to a directory on one"),
        );
    }
    // A container's read-only view of the host says nothing about the host.
    if mount.full {
        found.fault(
            "run-dir-full",
            format!("the file system of `{dir}` is full: no lease can be recorded"),
            format!("make room: `df {dir}` and `df -i {dir}` show how much"),
        );
    }
}

fn the_lock(host: &Host, found: &mut Findings) {
    let path = host.paths.run.join("lock");
    let error = match lock::probe(&path, LOCK_DEADLINE, &host.paths) {
        // Processes that share the lock were not in the way of this check, but they are in the way
        // of starts.
        Ok(true) => return sharers(&path, host, found),
        Ok(false) => return,
        Err(error) => error,
    };
    match &error {
        LockError::Timeout { holders, .. } => held(&path, holders, found),
        LockError::Path(error)
            if error.source.kind() == ErrorKind::PermissionDenied && !host.is_root() =>
        {
            found.unchecked(&path, &error.source);
        }
        LockError::Path(_) => found.fault(
            "lock-unusable",
            chain(&error),
            format!(
                "`rm -r --one-file-system {}` while no container starts; the next start creates it",
                plain(&path)
            ),
        ),
    }
}

fn sharers(path: &Path, host: &Host, found: &mut Findings) {
    let start = Instant::now();
    loop {
        let holders = LockHolders::of_shared(path, &host.paths);
        if holders.foreign().next().is_none() {
            return;
        }
        if start.elapsed() >= LOCK_DEADLINE {
            return held(path, &holders, found);
        }
        std::thread::sleep(LOCK_DEADLINE / 30);
    }
}

fn held(path: &Path, holders: &LockHolders, found: &mut Findings) {
    let message =
        format!("the lock {} is held by {holders}, for longer than a start holds it", quoted(path));
    match holders.way_out() {
        Some(way_out) => found.fault("lock-foreign", message, way_out),
        None => found.fault(
            "lock-held",
            message,
            format!("starts wait for it; `fuser -v {}` shows its process", plain(path)),
        ),
    }
}
