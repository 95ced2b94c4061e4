//! The kernel's dmem controller, which limits a cgroup's device memory: cgroup v2, since Linux
//! 6.14 (Linux, admin-guide/cgroup-v2.rst, "DMEM").
//!
//! The hook sets the limits, not `linux.resources.unified` of the spec: crun enables no controller
//! that it does not know, and fails the start; runc writes a text of several regions at once, of which
//! the kernel takes none; and `runc update` would set what the spec said again after a resize.

use crate::model::order;
use crate::paths::Paths;
use crate::sys::{cgroup, kernel_file};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path};

/// The file that limits a cgroup.
const MAX: &str = "dmem.max";
/// Why there are no limits on an older kernel, or on one built without them, as Debian's are (7.3).
const NO_CONTROLLER: &str =
    "the kernel has no dmem controller (Linux 6.14 or later, built with CONFIG_CGROUP_DMEM)";

/// Limits a container's own cgroup: each region to so many bytes. A lower limit that another program
/// has set stays. First enables the controller in the cgroups above. If one of the limits cannot be
/// set, fails and lifts the others.
pub fn set(paths: &Paths, cgroup: &Path, limits: &BTreeMap<String, u64>) -> Result<(), String> {
    hand_down(paths, cgroup)?;
    let result = limits.iter().try_for_each(|(region, bytes)| limit(cgroup, region, *bytes));
    if result.is_err() {
        // The first error is the one that counts.
        let _ = clear(paths, cgroup, limits.keys().map(String::as_str));
    }
    result
}

/// Lifts the limits of these regions. Fails if one stays. The others are lifted all the same.
pub fn clear<'a>(
    paths: &Paths,
    cgroup: &Path,
    regions: impl IntoIterator<Item = &'a str>,
) -> Result<(), String> {
    inside(paths, cgroup)?;
    let lift = |region| write(&cgroup.join(MAX), &format!("{region} max"));
    regions.into_iter().map(lift).fold(Ok(()), Result::and)
}

/// The limits of a cgroup in bytes; null is none. Fails if they cannot be read, because the cgroup
/// is gone or has not been given the controller.
pub fn limits(paths: &Paths, cgroup: &Path) -> Result<BTreeMap<String, Option<u64>>, String> {
    inside(paths, cgroup)?;
    let text = read(&cgroup.join(MAX))?;
    Ok(values(&text).map(|(region, limit)| (region.to_owned(), limit.parse().ok())).collect())
}

/// Changes the limit of one region, in bytes, up or down. Processes that use more keep their memory and
/// get no more. Fails if the limit is another one than `from`, or cannot be set.
pub fn change(
    paths: &Paths,
    cgroup: &Path,
    region: &str,
    from: u64,
    to: u64,
) -> Result<(), String> {
    inside(paths, cgroup)?;
    let path = cgroup.join(MAX);
    let got = value(&path, region)?;
    if got == from.to_string() {
        return put(&path, region, to);
    }
    let path = path.display();
    Err(format!("`{path}` limits {region} to `{got}`, which is not the lease's {from}"))
}

/// How much of a region a cgroup's processes use, in bytes. Fails as [`limits`] does.
pub fn in_use(paths: &Paths, cgroup: &Path, region: &str) -> Result<u64, String> {
    inside(paths, cgroup)?;
    // A region without allocations need not be listed.
    Ok(value(&cgroup.join("dmem.current"), region)?.parse().unwrap_or_default())
}

/// Limits one region, unless it is limited to less.
fn limit(cgroup: &Path, region: &str, bytes: u64) -> Result<(), String> {
    let path = cgroup.join(MAX);
    let is_lower = value(&path, region)?.parse().is_ok_and(|there: u64| there <= bytes);
    if is_lower { Ok(()) } else { put(&path, region, bytes) }
}

/// Sets one region's limit, in a write of its own: the kernel takes one line at a time.
fn put(path: &Path, region: &str, bytes: u64) -> Result<(), String> {
    let wrote = format!("{region} {bytes}");
    write(path, &wrote)?;
    match value(path, region)? {
        got if got == bytes.to_string() => Ok(()),
        got => Err(format!("`{}` says `{got}` after `{wrote}` was written", path.display())),
    }
}

/// The file's value for a region; empty for a region that is gone.
fn value(path: &Path, region: &str) -> Result<String, String> {
    let text = read(path)?;
    let found = values(&text).find(|(name, _)| *name == region);
    Ok(found.map(|(_, value)| value.to_owned()).unwrap_or_default())
}

/// `drm/0000:03:00.0/vram0 8514437120`, a region a line.
fn values(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| line.trim_end().rsplit_once(' '))
}

/// Enables the controller in all cgroups above this one, from the root down.
fn hand_down(paths: &Paths, cgroup: &Path) -> Result<(), String> {
    let mut dir = cgroup::mount(paths);
    for name in inside(paths, cgroup)?.components() {
        let path = dir.join("cgroup.subtree_control");
        if !has_controller(&read(&path)?) {
            write(&path, "+dmem")?;
        }
        dir.push(name);
    }
    Ok(())
}

fn has_controller(controllers: &str) -> bool {
    controllers.split_ascii_whitespace().any(|controller| controller == "dmem")
}

/// The cgroup as the hierarchy names it. Never the root, and nothing that leads elsewhere.
fn inside<'a>(paths: &Paths, cgroup: &'a Path) -> Result<&'a Path, String> {
    let root = cgroup::mount(paths);
    let is_name = |part: Component<'_>| matches!(part, Component::Normal(_));
    let inner = cgroup.strip_prefix(&root).ok();
    inner
        .filter(|inner| inner.components().next().is_some() && inner.components().all(is_name))
        .ok_or_else(|| format!("`{}` is no cgroup below `{}`", cgroup.display(), root.display()))
}

fn read(path: &Path) -> Result<String, String> {
    kernel_file::read(path).map_err(|error| format!("cannot read `{}`: {error}", path.display()))
}

fn write(path: &Path, line: &str) -> Result<(), String> {
    let fault = |error| format!("cannot write `{line}` to `{}`: {error}", path.display());
    kernel_file::write(path, line).map_err(fault)
}

/// The regions that can be limited, with their sizes in bytes. Fails with why there are none.
pub fn regions(paths: &Paths) -> Result<BTreeMap<String, u64>, String> {
    let root = cgroup::mount(paths);
    let controllers = fs::read_to_string(root.join("cgroup.controllers"))
        .map_err(|_| "cgroup v2 is not mounted on /sys/fs/cgroup".to_owned())?;
    if !has_controller(&controllers) {
        return Err(NO_CONTROLLER.to_owned());
    }
    let capacity = fs::read_to_string(root.join("dmem.capacity"))
        .map_err(|error| format!("dmem.capacity cannot be read: {error}"))?;
    let size = |(region, size): (&str, &str)| Some((region.to_owned(), size.parse().ok()?));
    Ok(order::map(values(&capacity).filter_map(size)))
}

#[cfg(test)]
mod tests;
