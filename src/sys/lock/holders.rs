//! Finds the holders of a lock, for the message of a process that did not get it.
//!
//! The kernel lists each lock with the process that took it (`/proc/locks`, proc(5)). If the lock
//! was passed on, as by a shell's `exec 9<FILE; flock 9`, that process has ended. In such cases the
//! open files of all processes are searched, too (`/proc/<pid>/fdinfo`).

use crate::model::id::{ContainerId, short_id};
use crate::model::text::shown;
use crate::paths::Paths;
use crate::sys::identity::namespace_inode;
use crate::sys::namespaces::Here;
use crate::sys::{cgroup, char_drivers, kernel_file, proc_stat, programs};
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// How many holders are named; the others are counted.
const NAMED: usize = 3;

/// How long open files are searched. The caller has waited for the lock already.
const SEARCH: Duration = Duration::from_millis(300);

/// A process that holds a lock.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LockHolder {
    pub pid: i32,
    /// The name of its program.
    pub program: String,
    /// Whether the program is one of gpulease's.
    pub is_ours: bool,
    /// The container of the process, if it is in one.
    pub container: Option<String>,
    /// The lock is shared, so others can hold it too, but gpulease takes it exclusively.
    pub is_shared: bool,
}

impl LockHolder {
    /// The container or process that a user can end.
    fn place(&self) -> String {
        match &self.container {
            Some(container) => format!("container {}", shown(container)),
            None => format!("process {}", self.pid),
        }
    }
}

impl fmt::Display for LockHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} ({})", self.pid, shown(&self.program))?;
        if let Some(container) = &self.container {
            write!(f, " of container {}", shown(container))?;
        }
        if self.is_shared { f.write_str(", shared") } else { Ok(()) }
    }
}

/// The holders of a lock, as far as they can be seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LockHolders {
    /// The holders, by their pids.
    pub list: Vec<LockHolder>,
    /// Whether some processes cannot be seen, because this is not the host's pid namespace.
    pub is_nested: bool,
}

impl LockHolders {
    /// Finds the holders of a lock on the file at `path`.
    pub fn of(path: &Path, paths: &Paths) -> Self {
        let is_nested = !Here::look(paths).is_in_initial_pid_namespace();
        let Some((file, taken)) = taken(path, paths) else {
            return Self { list: Vec::new(), is_nested };
        };
        let is_there = |pid: &i32| is_alive(*pid, paths);
        let all = if taken.is_empty() || !taken.keys().all(is_there) {
            let open = file.opened_by(paths);
            taken.into_iter().filter(|(pid, _)| is_there(pid)).chain(open).collect()
        } else {
            taken
        };
        let list = all.into_iter().map(|(pid, is_shared)| describe(pid, is_shared, paths));
        Self { list: list.collect(), is_nested }
    }

    /// Finds the holders of a lock that may be free. If it is free, no open files are searched.
    pub fn of_shared(path: &Path, paths: &Paths) -> Self {
        match taken(path, paths) {
            Some((_, taken)) if !taken.is_empty() => Self::of(path, paths),
            _ => Self::default(),
        }
    }

    /// A hint about holders that are not programs of gpulease, if there are any.
    pub fn way_out(&self) -> Option<String> {
        let all: Vec<String> = self.foreign().take(NAMED).map(LockHolder::place).collect();
        let who = all.join(" and ");
        (!all.is_empty()).then(|| {
            format!(
                "end {who}: only programs of gpulease may lock this file, and no container with a \
                 request starts meanwhile"
            )
        })
    }

    /// The holders that are not programs of gpulease.
    pub fn foreign(&self) -> impl Iterator<Item = &LockHolder> {
        self.list.iter().filter(|holder| !holder.is_ours)
    }
}

impl fmt::Display for LockHolders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.list.is_empty() {
            return f.write_str(match self.is_nested {
                true => "a process that is not seen from this pid namespace",
                false => "an unknown process",
            });
        }
        for (position, holder) in self.list.iter().take(NAMED).enumerate() {
            let between = if position == 0 { "" } else { " and " };
            write!(f, "{between}{holder}")?;
        }
        match self.list.len().checked_sub(NAMED) {
            Some(rest) if rest > 0 => write!(f, " and {rest} more"),
            _ => Ok(()),
        }
    }
}

/// The file, and the processes that took a lock on it, by the kernel's list.
fn taken(path: &Path, paths: &Paths) -> Option<(File, BTreeMap<i32, bool>)> {
    let metadata = fs::metadata(path).ok()?;
    let file = File { device: metadata.dev(), inode: metadata.ino() };
    let locks = fs::read_to_string(paths.proc.join("locks")).ok()?;
    let taken = file.taken_by(locks.lines());
    Some((file, taken))
}

/// A locked file, as the kernel's lists name it: `1: FLOCK ADVISORY WRITE 4711 fe:00:12 0 EOF`.
struct File {
    device: u64,
    inode: u64,
}

impl File {
    /// The processes in these lines, and whether each has a shared lock. A process that waits for a
    /// lock is listed with an arrow.
    fn taken_by<'a>(&self, lines: impl Iterator<Item = &'a str>) -> BTreeMap<i32, bool> {
        let found = lines.filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let [_, "FLOCK", _, kind, pid, place, ..] = fields.as_slice() else { return None };
            self.is(place).then_some((pid.parse().ok()?, *kind == "READ"))
        });
        found.collect()
    }

    /// Some file systems number their devices differently in stat(2), but not the tmpfs that the
    /// lock is on.
    fn is(&self, place: &str) -> bool {
        let (major, minor) = char_drivers::split(self.device);
        place == format!("{major:02x}:{minor:02x}:{}", self.inode)
    }

    /// The processes that hold a lock on the file through an open descriptor.
    fn opened_by(&self, paths: &Paths) -> BTreeMap<i32, bool> {
        let start = Instant::now();
        let mut found = BTreeMap::new();
        let processes = fs::read_dir(&paths.proc).into_iter().flatten().flatten();
        for process in processes.take_while(|_| start.elapsed() < SEARCH) {
            let Some(pid) = process.file_name().to_str().and_then(|pid| pid.parse().ok()) else {
                continue;
            };
            let files = fs::read_dir(process.path().join("fdinfo")).into_iter().flatten().flatten();
            for file in files {
                let info = kernel_file::read(&file.path()).unwrap_or_default();
                let locks = info.lines().filter_map(|line| line.strip_prefix("lock:"));
                if let Some(is_shared) = self.taken_by(locks).into_values().next() {
                    found.insert(pid, is_shared);
                }
            }
        }
        found
    }
}

fn is_alive(pid: i32, paths: &Paths) -> bool {
    pid > 0 && proc_stat::start_of_living(&paths.proc.join(pid.to_string())).is_some()
}

fn describe(pid: i32, is_shared: bool, paths: &Paths) -> LockHolder {
    let dir = paths.proc.join(pid.to_string());
    let name = kernel_file::read(&dir.join("comm")).unwrap_or_default().trim().to_owned();
    // A process can choose its name, but not the file that it executes.
    let exe = fs::read_link(dir.join("exe")).ok();
    let file = exe.as_deref().and_then(Path::file_name).map(|file| file.to_string_lossy());
    let file = file.as_deref().map(|file| file.strip_suffix(" (deleted)").unwrap_or(file));
    LockHolder {
        pid,
        is_ours: programs::is_of_gpulease(file.unwrap_or(&name)),
        program: name,
        container: container_of(pid, paths),
        is_shared,
    }
}

/// The container of a process, by its cgroup: engines name the cgroup after the id, and a low-level
/// runtime by itself names it as it was told. A process is in a container if its mount namespace is
/// another.
fn container_of(pid: i32, paths: &Paths) -> Option<String> {
    let mounts = |process: &str| namespace_inode(&paths.proc.join(process).join("ns/mnt")).ok();
    let process = pid.to_string();
    if mounts(&process) == mounts("self") {
        return None;
    }
    let text = kernel_file::read(&paths.proc.join(&process).join("cgroup")).ok()?;
    let ids = text
        .lines()
        .filter_map(|line| line.splitn(3, ':').nth(2))
        .flat_map(|path| path.rsplit('/').map(|part| part.strip_suffix(".scope").unwrap_or(part)));
    let mut random = ids.filter_map(|part| ContainerId::new(part.rsplit(['-', ':']).next()?).ok());
    if let Some(id) = random.find(ContainerId::is_random) {
        return Some(short_id(id.as_str()).to_owned());
    }
    let path = cgroup::of_process(&process, paths).ok()??;
    let own = cgroup::of_process("self", paths).ok()?;
    let name = path.file_name()?.to_str()?.to_owned();
    (own != Some(path)).then_some(name)
}

#[cfg(test)]
mod tests;
