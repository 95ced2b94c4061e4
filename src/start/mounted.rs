//! Finds the host's device nodes that a container gets by mounts.

use crate::injection::{Access, Facts, SpecDevice, SpecMount};
use crate::paths::Paths;
use crate::sys::char_drivers::numbers;
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// The limits of the search: files, and depth below a mount's source. A host's `/dev` has some
/// hundreds of files, and GPU nodes are at most two levels deep.
const FILES_MAX: usize = 20_000;
const DEPTH_MAX: u32 = 3;

/// The devices that a spec opens, with those that its mounts bring.
pub(super) fn access(facts: &Facts, paths: &Paths) -> Access {
    let mut access = Access::of(facts);
    let mounts = std::mem::take(&mut access.mounts);
    access.nodes.extend(nodes(&mounts, paths));
    access
}

/// The character devices that these mounts show, under their paths on the host.
pub(super) fn nodes(mounts: &[SpecMount], paths: &Paths) -> Vec<SpecDevice> {
    let mut found = Vec::new();
    for mount in mounts {
        let source = if mount.devices { paths.dev.clone() } else { real(&mount.source) };
        // The option does not close mounts below the source.
        if mount.closes_devices && source.starts_with(&paths.dev) {
            continue;
        }
        let mut left = FILES_MAX;
        // The search starts at `/dev` if the source contains it, because that path is long.
        let top = if paths.dev.starts_with(&source) { &paths.dev } else { &source };
        look(top, DEPTH_MAX, &mut left, &mut |path| found.extend(node(path, paths)));
    }
    found
}

/// Engines pass on the path that a user wrote, which may contain links.
fn real(source: &str) -> PathBuf {
    Path::new(source).canonicalize().unwrap_or_else(|_| source.into())
}

/// Calls `found` for each character device. Other files cost nothing but their names. Links are not
/// followed, because in the container they lead to the container's files.
fn look(path: &Path, depth: u32, left: &mut usize, found: &mut dyn FnMut(&Path)) {
    let Ok(kind) = fs::symlink_metadata(path).map(|metadata| metadata.file_type()) else { return };
    if kind.is_char_device() {
        found(path);
    }
    if !kind.is_dir() || depth == 0 {
        return;
    }
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        let Some(less) = left.checked_sub(1) else { return };
        *left = less;
        match entry.file_type() {
            Ok(kind) if kind.is_char_device() => found(&entry.path()),
            Ok(kind) if kind.is_dir() => look(&entry.path(), depth - 1, left, found),
            _ => {}
        }
    }
}

fn node(path: &Path, paths: &Paths) -> Option<SpecDevice> {
    let (major, minor) = numbers(&fs::symlink_metadata(path).ok()?)?;
    let in_dev = path.strip_prefix(&paths.dev).ok().map(|rest| Path::new("/dev").join(rest));
    Some(SpecDevice {
        path: in_dev.as_deref().unwrap_or(path).to_str().unwrap_or_default().to_owned(),
        kind: "c".to_owned(),
        major: Some(major.into()),
        minor: Some(minor.into()),
    })
}

#[cfg(test)]
mod tests;
