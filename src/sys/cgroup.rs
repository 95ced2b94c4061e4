//! A container's own cgroup. While a process is in it, the container exists, even if its init is
//! gone (shared pid namespaces, orphans after SIGKILL).

use crate::paths::Paths;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// The v1 hierarchies to look in, the best first. A runtime always uses the device controller for a
/// container with devices.
pub(super) const V1_HIERARCHIES: &[&str] = &["devices", "memory", "pids", "systemd"];

/// The directory where cgroups are mounted.
pub fn mount(paths: &Paths) -> PathBuf {
    paths.sys.join("fs/cgroup")
}

/// The hierarchy in which containers are looked for. It is chosen once for each decision, because
/// processes in different hierarchies cannot be compared.
struct Hierarchy {
    root: PathBuf,
    /// The name in its line of `/proc/<pid>/cgroup` (cgroups(7)); empty for version 2.
    name: &'static str,
}

impl Hierarchy {
    /// `None` if no cgroups are mounted.
    fn choose(paths: &Paths) -> io::Result<Option<Self>> {
        let mount = mount(paths);
        if mount.join("cgroup.controllers").try_exists()? {
            return Ok(Some(Self { root: mount, name: "" }));
        }
        for name in V1_HIERARCHIES {
            let root = mount.join(name);
            if root.try_exists()? {
                return Ok(Some(Self { root, name }));
            }
        }
        Ok(None)
    }

    fn of_process(&self, process: &str, paths: &Paths) -> io::Result<Option<PathBuf>> {
        let text = match fs::read_to_string(paths.proc.join(process).join("cgroup")) {
            Ok(text) => text,
            Err(error) if is_gone(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let Some(path) = path_in(&text, self.name) else { return Ok(None) };
        let own = std::process::id().to_string();
        let pid = if process == "self" { &own } else { process };
        let plain = below(&self.root, path);
        if lists(&plain, pid)? {
            return Ok(Some(plain));
        }
        let mountinfo = fs::read_to_string(paths.proc.join("self/mountinfo"))?;
        let shown = mount_root(&mountinfo, &self.root).and_then(|root| path.strip_prefix(root));
        let Some(shown) = shown.map(|shown| below(&self.root, shown)) else { return Ok(None) };
        Ok(lists(&shown, pid)?.then_some(shown))
    }
}

/// The cgroup of a process (`self` or a pid) as an absolute directory, if it is certain: the
/// directory must list the process. (In a container that runs an engine, the mount may show only a
/// part of the hierarchy. Then the mount's root in mountinfo is removed from the path.) `None` also
/// if the process is gone. Fails if the kernel does not show the cgroup, which is not the same as
/// having none.
pub fn of_process(process: &str, paths: &Paths) -> io::Result<Option<PathBuf>> {
    match Hierarchy::choose(paths)? {
        Some(hierarchy) => hierarchy.of_process(process, paths),
        None => Ok(None),
    }
}

fn lists(dir: &Path, pid: &str) -> io::Result<bool> {
    match fs::read_to_string(dir.join("cgroup.procs")) {
        Ok(procs) => Ok(procs.lines().any(|listed| listed == pid)),
        // A threaded cgroup lists no processes (cgroups(7)).
        Err(error) if is_gone(&error) || error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// The part of the hierarchy that is mounted at `mount` (proc_pid_mountinfo(5), field 4).
fn mount_root<'a>(mountinfo: &'a str, mount: &Path) -> Option<&'a str> {
    mountinfo.lines().rev().find_map(|line| {
        let mut fields = line.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        (Path::new(point) == mount).then(|| root.trim_end_matches('/'))
    })
}

/// The path in the line of one hierarchy: `4:devices:/docker/abc`, `1:name=systemd:/x`, `0::/x`.
fn path_in<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (number, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        let matches = if name.is_empty() {
            number == "0" && controllers.is_empty()
        } else {
            controllers.split(',').any(|c| c == name || c.strip_prefix("name=") == Some(name))
        };
        matches.then_some(path)
    })
}

fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

/// The cgroup that belongs only to the container of process `pid`. `None` if the container shares
/// its caller's cgroup (no `cgroupsPath`, or a parent of ours), because that is never empty while
/// we look. Fails as [`of_process`] does.
pub fn own_cgroup_of_container(pid: i32, paths: &Paths) -> io::Result<Option<PathBuf>> {
    let Some(hierarchy) = Hierarchy::choose(paths)? else { return Ok(None) };
    let theirs = hierarchy.of_process(&pid.to_string(), paths)?;
    let ours = hierarchy.of_process("self", paths)?;
    let (Some(theirs), Some(ours)) = (theirs, ours) else { return Ok(None) };
    Ok((!ours.starts_with(&theirs)).then_some(theirs))
}

/// The cgroup in which a runtime will put a container with this `linux.cgroupsPath`: an absolute
/// path for the cgroupfs driver, `slice:prefix:name` for systemd's (runc, docs/systemd.md). `None`
/// for a relative or missing path, whose cgroup only the runtime knows, and for a cgroup that we
/// are in ourselves. Fails as [`of_process`] does.
pub fn expected(cgroups_path: &str, paths: &Paths) -> io::Result<Option<PathBuf>> {
    let Some(hierarchy) = Hierarchy::choose(paths)? else { return Ok(None) };
    let Some(theirs) = place(cgroups_path, &hierarchy.root) else { return Ok(None) };
    let ours = hierarchy.of_process("self", paths)?;
    let shared = ours.is_some_and(|ours| ours.starts_with(&theirs));
    Ok((!shared).then_some(theirs))
}

fn place(cgroups_path: &str, root: &Path) -> Option<PathBuf> {
    if cgroups_path.split('/').any(|part| part == "..") {
        return None;
    }
    if cgroups_path.starts_with('/') {
        return Some(below(root, cgroups_path));
    }
    let mut parts = cgroups_path.split(':');
    let (slice, prefix, name) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || name.is_empty() {
        return None;
    }
    let unit = if name.ends_with(".slice") {
        name.to_owned()
    } else if prefix.is_empty() {
        format!("{name}.scope")
    } else {
        format!("{prefix}-{name}.scope")
    };
    let slice = if slice.is_empty() { "system.slice" } else { slice };
    Some(root.join(expand_slice(slice)?).join(unit))
}

/// systemd nests slices by their dashes: `a-b.slice` is `a.slice/a-b.slice` (systemd.slice(5)).
fn expand_slice(slice: &str) -> Option<PathBuf> {
    let stem = slice.strip_suffix(".slice")?;
    let mut path = PathBuf::new();
    let mut name = String::new();
    for part in stem.split('-').filter(|_| stem != "-") {
        if part.is_empty() {
            return None;
        }
        if !name.is_empty() {
            name.push('-');
        }
        name.push_str(part);
        path.push(format!("{name}.slice"));
    }
    Some(path)
}

/// Whether no process is left in the cgroup or below it. A missing cgroup is empty; an unreadable
/// one is not.
pub fn is_empty(dir: &Path) -> bool {
    match fs::read_to_string(dir.join("cgroup.events")) {
        Ok(events) => return events.lines().any(|line| line == "populated 0"),
        Err(error) if error.kind() != ErrorKind::NotFound => return is_gone(&error),
        Err(_) => {}
    }
    is_subtree_empty(dir)
}

/// Whether the file's object is gone: a cgroup's file then fails with `ENODEV`, a process's with
/// `ESRCH`.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == ErrorKind::NotFound
        || matches!(error.raw_os_error(), Some(libc::ENODEV | libc::ESRCH))
}

fn is_subtree_empty(dir: &Path) -> bool {
    match fs::read_to_string(dir.join("cgroup.procs")) {
        Ok(procs) if !procs.trim().is_empty() => return false,
        Err(error) if !is_gone(&error) => return false,
        _ => {}
    }
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) => return is_gone(&error),
    };
    entries.flatten().all(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => is_subtree_empty(&entry.path()),
        Ok(_) => true,
        Err(error) => is_gone(&error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fake(unified: bool) -> (tempfile::TempDir, Paths) {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths {
            sys: dir.path().join("sys"),
            proc: dir.path().join("proc"),
            ..Paths::default()
        };
        fs::create_dir_all(paths.sys.join("fs/cgroup/devices")).unwrap();
        if unified {
            fs::write(paths.sys.join("fs/cgroup/cgroup.controllers"), "").unwrap();
        }
        fs::create_dir_all(paths.proc.join("self")).unwrap();
        fs::create_dir_all(paths.proc.join("7")).unwrap();
        (dir, paths)
    }

    #[test]
    fn the_right_line_is_read() {
        let text = "12:cpu,cpuacct:/a\n4:devices:/docker/x\n1:name=systemd:/s\n0::/u\n";
        assert_eq!(path_in(text, "devices"), Some("/docker/x"));
        assert_eq!(path_in(text, "cpuacct"), Some("/a"));
        assert_eq!(path_in(text, "systemd"), Some("/s"));
        assert_eq!(path_in(text, ""), Some("/u"));
    }

    #[test]
    fn a_cgroup_shared_with_the_caller_does_not_count() {
        let (_dir, paths) = fake(true);
        let root = paths.sys.join("fs/cgroup");
        let me = std::process::id().to_string();
        fs::write(paths.proc.join("self/cgroup"), "0::/user/session\n").unwrap();
        for dir in ["user/session/c1", "docker/x"] {
            fs::create_dir_all(root.join(dir)).unwrap();
        }
        for dir in ["user/session/c1", "user/session", "user", "docker/x"] {
            fs::write(root.join(dir).join("cgroup.procs"), format!("1\n7\n{me}\n")).unwrap();
        }
        for (theirs, own) in [
            ("/user/session", false),
            ("/user", false),
            ("/user/session/c1", true),
            ("/docker/x", true),
        ] {
            fs::write(paths.proc.join("7/cgroup"), format!("0::{theirs}\n")).unwrap();
            let found = own_cgroup_of_container(7, &paths).unwrap();
            assert_eq!(found.is_some(), own, "{theirs}");
        }
    }

    #[test]
    fn a_cgroup_must_list_its_process() {
        let (_dir, paths) = fake(false);
        let root = paths.sys.join("fs/cgroup/devices");
        fs::write(paths.proc.join("7/cgroup"), "4:devices:/docker/outer/docker/inner\n").unwrap();
        fs::write(paths.proc.join("self/mountinfo"), "").unwrap();
        assert_eq!(of_process("7", &paths).unwrap(), None);
        // The view from within a container: the hierarchy begins at its own cgroup.
        let line = format!("30 20 0:26 /docker/outer {} rw - cgroup cgroup rw\n", root.display());
        fs::write(paths.proc.join("self/mountinfo"), line).unwrap();
        fs::create_dir_all(root.join("docker/inner")).unwrap();
        fs::write(root.join("docker/inner/cgroup.procs"), "7\n").unwrap();
        assert_eq!(of_process("7", &paths).unwrap(), Some(root.join("docker/inner")));
    }

    #[test]
    fn the_place_of_a_container_is_known_beforehand() {
        let (_dir, paths) = fake(false);
        let root = paths.sys.join("fs/cgroup/devices");
        let expected = |path: &str| super::expected(path, &paths).unwrap();
        assert_eq!(expected("/docker/abc"), Some(root.join("docker/abc")));
        assert_eq!(
            expected("machine-a.slice:libpod:abc"),
            Some(root.join("machine.slice/machine-a.slice/libpod-abc.scope"))
        );
        assert_eq!(expected("relative"), None);
        assert_eq!(expected("/a/../../b"), None);
        let me = std::process::id().to_string();
        fs::write(paths.proc.join("self/cgroup"), "4:devices:/a/b\n").unwrap();
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(root.join("a/b/cgroup.procs"), me).unwrap();
        assert_eq!(expected("/a"), None, "we are in it");
    }

    /// A look that fails is not the same as nothing there: taken for that, it would choose another
    /// hierarchy for one process than for the other.
    #[test]
    fn a_failed_look_is_an_error_and_not_absence() {
        let (dir, paths) = fake(false);
        let root = paths.sys.join("fs/cgroup");
        let circle = |path: PathBuf| std::os::unix::fs::symlink(&path, &path).unwrap();
        let text = "4:devices:/a\n3:memory:/b\n";
        for process in ["self", "7"] {
            fs::write(paths.proc.join(process).join("cgroup"), text).unwrap();
        }
        fs::create_dir_all(root.join("memory/b")).unwrap();
        fs::remove_dir(root.join("devices")).unwrap();
        circle(root.join("devices"));
        let fails = |paths: &Paths| {
            [
                of_process("7", paths).is_err(),
                own_cgroup_of_container(7, paths).is_err(),
                super::expected("/a", paths).is_err(),
            ]
        };
        assert_eq!(fails(&paths), [true; 3]);
        fs::remove_file(root.join("devices")).unwrap();
        fs::create_dir_all(root.join("devices/a/cgroup.procs")).unwrap();
        assert_eq!(fails(&paths), [true; 3], "a list that cannot be read");
        drop(dir);
    }

    #[test]
    fn emptiness_looks_below() {
        let dir = tempfile::tempdir().unwrap();
        let child = dir.path().join("a/b");
        fs::create_dir_all(&child).unwrap();
        fs::write(dir.path().join("cgroup.procs"), "").unwrap();
        fs::write(child.join("cgroup.procs"), "").unwrap();
        assert!(is_empty(dir.path()));
        fs::write(child.join("cgroup.procs"), "12\n").unwrap();
        assert!(!is_empty(dir.path()));
        assert!(is_empty(&dir.path().join("missing")));
        fs::write(dir.path().join("cgroup.events"), "populated 0\nfrozen 0\n").unwrap();
        assert!(is_empty(dir.path()));
        fs::write(dir.path().join("cgroup.events"), "populated 1\nfrozen 0\n").unwrap();
        assert!(!is_empty(dir.path()));
    }
}
