//! Whether processes are left in another pid namespace. A pid that was recorded there means nothing
//! here. But once the namespace has no process, no recorded process of it is alive: the end of its
//! first process ends all others, also those of namespaces below it, and no process can enter it
//! afterwards (pid_namespaces(7)). Only the initial pid namespace can see this.

use super::cgroup_of_others::Cgroups;
use super::identity::{boot_id, namespace_inode, pid_namespace};
use super::{kernel_file, proc_stat};
use crate::model::lease::Owner;
use crate::paths::Paths;
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

/// The inodes of the initial namespaces: `PROC_PID_INIT_INO` and `PROC_CGROUP_INIT_INO`
/// (`include/linux/proc_ns.h`).
const INITIAL_PID: u64 = 0xEFFF_FFFC;
const INITIAL_CGROUP: u64 = 0xEFFF_FFFB;

/// The state of the pid namespace in which a process was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordedNamespace {
    /// It is our own.
    Ours,
    /// No process is left in it, nor in any below it.
    Empty,
    /// It has processes. Only a process in it could tell which of them is the recorded one.
    Populated,
    /// It is not ours, and only the host sees its processes.
    NotFromHere,
    /// This is the host, but something hides the processes.
    Unclear(String),
}

/// The boot and the pid namespace of this process. A recorded pid is valid only if both agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Here {
    /// See [`boot_id`]; `None` if procfs does not tell.
    pub boot_id: Option<String>,
    /// See [`pid_namespace`]; `None` if procfs does not tell.
    pub pid_namespace: Option<u64>,
    /// The processes in other pid namespaces, once they are needed.
    pub(super) census: OnceCell<Result<Census, String>>,
    /// The cgroups that other processes may have seen with other paths.
    pub(crate) cgroups: Cgroups,
}

impl Here {
    /// Looks once, to judge many processes.
    pub fn look(paths: &Paths) -> Self {
        Self {
            boot_id: boot_id(paths).ok(),
            pid_namespace: pid_namespace(paths).ok(),
            census: OnceCell::new(),
            cgroups: Cgroups::default(),
        }
    }

    /// Whether this is the host's pid namespace, from which all processes can be seen.
    pub fn is_in_initial_pid_namespace(&self) -> bool {
        self.pid_namespace == Some(INITIAL_PID)
    }

    /// The state of the namespace in which `owner` was recorded. All processes are listed once for
    /// any number of owners, and only if one was recorded in another namespace.
    pub fn namespace_of(&self, owner: &Owner, paths: &Paths) -> RecordedNamespace {
        self.namespace(owner.pid_namespace, owner.start_time, paths)
    }

    /// The state of a namespace that has existed since `by`, a start time as in [`Owner`]. The
    /// kernel reuses the number of a removed namespace for a new one, whose processes are all
    /// younger.
    pub fn namespace(&self, inode: u64, by: u64, paths: &Paths) -> RecordedNamespace {
        if self.pid_namespace == Some(inode) {
            return RecordedNamespace::Ours;
        }
        if !self.is_in_initial_pid_namespace() || !sees_all_cgroups(paths) {
            return RecordedNamespace::NotFromHere;
        }
        match self.census.get_or_init(|| Census::take(paths)) {
            Err(why) => RecordedNamespace::Unclear(why.clone()),
            Ok(census) => census.namespace(inode, by, paths),
        }
    }
}

/// The processes of the host, by their pid namespaces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Census {
    /// The oldest process of each namespace: its start time and its pid. The first process of a
    /// namespace lives as long as any other.
    oldest: BTreeMap<u64, (u64, i32)>,
    /// The oldest of the processes in another namespace that do not tell which.
    hidden: Option<(u64, i32)>,
}

impl Census {
    fn take(paths: &Paths) -> Result<Self, String> {
        if hides_processes(paths) {
            return Err(format!("`{}` hides processes from this one", paths.proc.display()));
        }
        let unread = |error: io::Error| format!("cannot list `{}`: {error}", paths.proc.display());
        let mut census = Self::default();
        for entry in fs::read_dir(&paths.proc).map_err(unread)? {
            let name = entry.map_err(unread)?.file_name();
            if let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) {
                census.add(pid, paths);
            }
        }
        Ok(census)
    }

    fn add(&mut self, pid: i32, paths: &Paths) {
        let dir = paths.proc.join(pid.to_string());
        let namespace = match namespace_inode(&dir.join("ns/pid")) {
            Ok(INITIAL_PID) => return,
            Ok(namespace) => Some(namespace),
            Err(error) if is_over(&error) => return,
            Err(_) if is_initial(&dir) => return,
            Err(_) => None,
        };
        let Some(start_time) = proc_stat::start_of_living(&dir) else { return };
        let this = (start_time, pid);
        match namespace {
            Some(namespace) => {
                let oldest = self.oldest.entry(namespace).or_insert(this);
                *oldest = this.min(*oldest);
            }
            None => self.hidden = Some(self.hidden.map_or(this, |oldest| this.min(oldest))),
        }
    }

    fn namespace(&self, inode: u64, by: u64, paths: &Paths) -> RecordedNamespace {
        if let Some((start_time, pid)) = self.oldest.get(&inode)
            && (*start_time <= by || !has_our_clock(*pid, paths))
        {
            return RecordedNamespace::Populated;
        }
        match self.hidden {
            Some((start_time, pid)) if start_time <= by => {
                RecordedNamespace::Unclear(format!("process {pid} does not tell its pid namespace"))
            }
            _ => RecordedNamespace::Empty,
        }
    }
}

/// Whether the process has ended since it was listed.
fn is_over(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
}

/// Whether the process is in the initial namespace, by its status, which all users may read. A
/// process has a pid in its own namespace and in each one above, and the initial one is above all.
fn is_initial(dir: &Path) -> bool {
    let status = kernel_file::read(&dir.join("status")).unwrap_or_default();
    let pids = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    pids.is_some_and(|pids| pids.split_whitespace().count() == 1)
}

/// Whether start times are comparable between a process and us (time_namespaces(7)).
fn has_our_clock(pid: i32, paths: &Paths) -> bool {
    let time = |process: &str| namespace_inode(&paths.proc.join(process).join("ns/time"));
    match (time("self"), time(&pid.to_string())) {
        (Ok(ours), Ok(theirs)) => ours == theirs,
        // Linux before 5.6 has no time namespaces.
        (Err(error), _) => error.kind() == io::ErrorKind::NotFound,
        _ => false,
    }
}

/// Whether this process sees the cgroups of the whole host, and not only those of a container: by
/// its cgroup namespace, and by the mounts.
fn sees_all_cgroups(paths: &Paths) -> bool {
    if namespace_inode(&paths.proc.join("self/ns/cgroup")).ok() != Some(INITIAL_CGROUP) {
        return false;
    }
    let mounts = fs::read_to_string(paths.proc.join("self/mountinfo")).unwrap_or_default();
    let top = paths.sys.join("fs/cgroup");
    let mut roots = mounts.lines().filter_map(|line| {
        let (fields, source) = line.split_once(" - ")?;
        let mut fields = fields.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        let is_ours = source.starts_with("cgroup") && Path::new(point).starts_with(&top);
        is_ours.then_some(root)
    });
    let first = roots.next();
    first == Some("/") && roots.all(|root| root == "/")
}

/// Whether procfs is mounted with `hidepid`, and hides processes from us.
fn hides_processes(paths: &Paths) -> bool {
    let mounts = fs::read_to_string(paths.proc.join("self/mountinfo")).unwrap_or_default();
    let options = mounts.lines().rev().find_map(|line| {
        let (fields, source) = line.split_once(" - ")?;
        let is_it = fields.split(' ').nth(4).is_some_and(|point| Path::new(point) == paths.proc);
        if is_it { source.split(' ').nth(2) } else { None }
    });
    let hidden = options.into_iter().flat_map(|options| options.split(',')).any(|option| {
        option.strip_prefix("hidepid=").is_some_and(|value| !matches!(value, "0" | "off"))
    });
    hidden && !may_trace(paths)
}

/// Whether we have `CAP_SYS_PTRACE` in effect.
fn may_trace(paths: &Paths) -> bool {
    const SYS_PTRACE: u32 = 19;
    let status = kernel_file::read(&paths.proc.join("self/status")).unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let mask = effective.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> SYS_PTRACE & 1 == 1)
}

#[cfg(test)]
mod tests;
