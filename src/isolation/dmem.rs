//! The kernel's dmem controller, which limits a cgroup's device memory: cgroup v2, since Linux
//! 6.14 (Linux, admin-guide/cgroup-v2.rst, "DMEM").
//!
//! The hook sets the limits, not `linux.resources.unified` of the spec: crun enables no controller
//! that it does not know, and fails the start; runc writes a text of several regions at once, of which
//! the kernel takes none; and `runc update` would set what the spec said again after a resize.

use crate::model::order;
use crate::paths::Paths;
use crate::sys::kernel_file;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use thiserror::Error;

/// The file that limits a cgroup.
const MAX: &str = "dmem.max";
/// What a kernel lacks that is older, or was built without it, as Debian's are (Linux 7.3).
const NO_CONTROLLER: &str =
    "the kernel has no dmem controller (Linux 6.14 or later, built with CONFIG_CGROUP_DMEM)";
/// A limit that is none.
const UNLIMITED: &str = "max";

/// Why a limit was not set or not lifted.
#[derive(Debug, Error)]
pub enum DmemError {
    /// The cgroup is none below the mount of cgroup v2.
    #[error("`{}` is no cgroup below `{}`", .0.display(), .1.display())]
    NoCgroup(PathBuf, PathBuf),
    /// A file could not be read.
    #[error("cannot read `{}`", .0.display())]
    Read(PathBuf, #[source] io::Error),
    /// A file could not be written.
    #[error("cannot write `{line}` to `{}`", path.display())]
    Write {
        path: PathBuf,
        /// What was to be written.
        line: String,
        source: io::Error,
    },
    /// The kernel took the value and did not make it the limit.
    #[error("`{}` says `{got}` after `{wrote}` was written", path.display())]
    NotKept {
        path: PathBuf,
        wrote: String,
        /// What it says of that region.
        got: String,
    },
    /// The limit that is to be changed is not the one that was set.
    #[error("`{}` limits {region} to `{got}`, which is not the lease's {expected}", path.display())]
    NotOurs { path: PathBuf, region: String, got: String, expected: u64 },
}

/// Limits a container's own cgroup: each region to so many bytes. Where the limit is lower already,
/// because somebody else has set one, it stays. The controller is handed down to the cgroup first.
/// Fails if a limit does not come to be; none of these is left then.
pub fn set(paths: &Paths, cgroup: &Path, limits: &BTreeMap<String, u64>) -> Result<(), DmemError> {
    hand_down(paths, cgroup)?;
    let result = limits.iter().try_for_each(|(region, bytes)| limit(cgroup, region, *bytes));
    if result.is_err() {
        // The first error is the one to tell.
        let _ = clear(paths, cgroup, limits.keys().map(String::as_str));
    }
    result
}

/// Lifts the limits of these regions. Fails if one stays. The others are lifted all the same.
pub fn clear<'a>(
    paths: &Paths,
    cgroup: &Path,
    regions: impl IntoIterator<Item = &'a str>,
) -> Result<(), DmemError> {
    inside(paths, cgroup)?;
    let each = regions.into_iter().map(|region| {
        let line = format!("{region} {UNLIMITED}");
        write(&cgroup.join(MAX), &line)
    });
    each.fold(Ok(()), Result::and)
}

/// The limits of a cgroup in bytes; null is none. Fails if they cannot be read, because the cgroup
/// is gone or has not been given the controller.
pub fn limits(paths: &Paths, cgroup: &Path) -> Result<BTreeMap<String, Option<u64>>, DmemError> {
    inside(paths, cgroup)?;
    let line = |line: &str| {
        let (region, limit) = line.rsplit_once(' ')?;
        Some((region.to_owned(), limit.parse().ok()))
    };
    Ok(read(&cgroup.join(MAX))?.lines().filter_map(line).collect())
}

/// Changes the limit of one region in bytes from what was set before, up or down. Nothing is taken
/// from processes that use more than that: they are only given no more. Fails if the limit is
/// another one than `from`, or does not come to be.
pub fn change(
    paths: &Paths,
    cgroup: &Path,
    region: &str,
    from: u64,
    to: u64,
) -> Result<(), DmemError> {
    inside(paths, cgroup)?;
    let path = cgroup.join(MAX);
    let got = said(&path, region)?;
    if got != from.to_string() {
        return Err(DmemError::NotOurs { path, region: region.to_owned(), got, expected: from });
    }
    let wrote = format!("{region} {to}");
    write(&path, &wrote)?;
    let got = said(&path, region)?;
    if got == to.to_string() { Ok(()) } else { Err(DmemError::NotKept { path, wrote, got }) }
}

/// What a cgroup's processes use of a region, in bytes. Fails if it cannot be
/// read, as with [`limits`].
pub fn in_use(paths: &Paths, cgroup: &Path, region: &str) -> Result<u64, DmemError> {
    inside(paths, cgroup)?;
    // A region that nothing was ever allocated in need not be listed.
    Ok(said(&cgroup.join("dmem.current"), region)?.parse().unwrap_or_default())
}

/// Sets one region's limit, in a write of its own: the kernel takes one line at a time.
fn limit(cgroup: &Path, region: &str, bytes: u64) -> Result<(), DmemError> {
    let path = cgroup.join(MAX);
    let is_lower = said(&path, region)?.parse().is_ok_and(|there: u64| there <= bytes);
    if is_lower {
        return Ok(());
    }
    let wrote = format!("{region} {bytes}");
    write(&path, &wrote)?;
    let got = said(&path, region)?;
    if got == bytes.to_string() {
        return Ok(());
    }
    Err(DmemError::NotKept { path, wrote, got })
}

/// What the file says of a region; nothing of one that is gone.
fn said(path: &Path, region: &str) -> Result<String, DmemError> {
    let text = read(path)?;
    let mut lines = text.lines().filter_map(|line| line.rsplit_once(' '));
    Ok(lines.find(|(name, _)| *name == region).map_or_else(String::new, |(_, value)| value.into()))
}

/// Enables the controller in all cgroups above this one, from the root down.
fn hand_down(paths: &Paths, cgroup: &Path) -> Result<(), DmemError> {
    let mut dir = root(paths);
    for name in inside(paths, cgroup)?.components() {
        let path = dir.join("cgroup.subtree_control");
        if !read(&path)?.split_ascii_whitespace().any(|controller| controller == "dmem") {
            write(&path, "+dmem")?;
        }
        dir.push(name);
    }
    Ok(())
}

fn root(paths: &Paths) -> PathBuf {
    paths.sys.join("fs/cgroup")
}

/// The cgroup as the hierarchy names it. Never the root, and nothing that leads elsewhere.
fn inside<'a>(paths: &Paths, cgroup: &'a Path) -> Result<&'a Path, DmemError> {
    let root = root(paths);
    let is_name = |part: Component<'_>| matches!(part, Component::Normal(_));
    let inner = cgroup.strip_prefix(&root).ok();
    inner
        .filter(|inner| inner.components().next().is_some() && inner.components().all(is_name))
        .ok_or_else(|| DmemError::NoCgroup(cgroup.to_owned(), root))
}

fn read(path: &Path) -> Result<String, DmemError> {
    kernel_file::read(path).map_err(|error| DmemError::Read(path.to_owned(), error))
}

fn write(path: &Path, line: &str) -> Result<(), DmemError> {
    kernel_file::write(path, line).map_err(|source| DmemError::Write {
        path: path.to_owned(),
        line: line.to_owned(),
        source,
    })
}

/// The regions that can be limited, with their sizes in bytes. Fails: why there are
/// none, as a phrase.
pub(super) fn regions(paths: &Paths) -> Result<BTreeMap<String, u64>, String> {
    let root = paths.sys.join("fs/cgroup");
    let controllers = fs::read_to_string(root.join("cgroup.controllers"))
        .map_err(|_| "cgroup v2 is not mounted on /sys/fs/cgroup".to_owned())?;
    if !controllers.split_ascii_whitespace().any(|controller| controller == "dmem") {
        return Err(NO_CONTROLLER.to_owned());
    }
    let capacity = fs::read_to_string(root.join("dmem.capacity"))
        .map_err(|error| format!("dmem.capacity cannot be read: {error}"))?;
    Ok(parse(&capacity))
}

/// `drm/0000:03:00.0/vram0 8514437120`, a region a line.
fn parse(text: &str) -> BTreeMap<String, u64> {
    let line = |line: &str| {
        let (region, size) = line.split_once(' ')?;
        Some((region.to_owned(), size.trim().parse().ok()?))
    };
    order::map(text.lines().filter_map(line))
}

#[cfg(test)]
mod tests;
