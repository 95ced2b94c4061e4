//! Starts a daemon that inherits nothing from its caller: not its session, cgroups, mounts, open
//! files, limits, signals or end.

use super::PathError;
use super::error::check;
use super::exec::{alone, close_at_exec};
use super::mount::c_path;
use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

/// The daemon to be started.
#[derive(Debug)]
pub struct Daemon<'a> {
    /// The program. The caller has checked its owner.
    pub program: &'a Path,
    pub args: &'a [&'a str],
    /// Its variables, besides a PATH.
    pub variables: &'a [(&'a str, &'a OsStr)],
    /// The directory that it sees as `/dev/shm`.
    pub shm: &'a Path,
    /// The file for its stdout and stderr, which is emptied first.
    pub log: &'a Path,
    /// The cgroups that it enters, one of each hierarchy. A cgroup that cannot be entered is
    /// skipped.
    pub cgroups: &'a [PathBuf],
}

/// Everything that the child needs between fork and exec, where it must not allocate.
struct ChildSetup {
    shm: CString,
    log: CString,
    procs: Vec<CString>,
    limits: Vec<(Resource, libc::rlimit)>,
}

/// The type of a resource for `setrlimit`, which differs between C libraries.
#[cfg(target_env = "gnu")]
type Resource = libc::__rlimit_resource_t;
#[cfg(not(target_env = "gnu"))]
type Resource = libc::c_int;

/// The limits that a caller may have set for itself: an engine may open more files than others, and
/// its shims have the limits of their containers.
const LIMITED: [Resource; 8] = [
    libc::RLIMIT_AS,
    libc::RLIMIT_CPU,
    libc::RLIMIT_DATA,
    libc::RLIMIT_FSIZE,
    libc::RLIMIT_MEMLOCK,
    libc::RLIMIT_NOFILE,
    libc::RLIMIT_NPROC,
    libc::RLIMIT_STACK,
];

/// systemd's limit for a service's open files, if pid 1's cannot be read.
const FILES: libc::rlimit = libc::rlimit { rlim_cur: 1024, rlim_max: 524_288 };

/// Starts the daemon in a session and a mount namespace of its own, and in its cgroups before its
/// first instruction. It is a child of this process until that ends. The error names the program;
/// only the system's error tells which step failed.
pub fn spawn(daemon: &Daemon<'_>) -> Result<Child, PathError> {
    let failed = |source| PathError::new("start", daemon.program)(source);
    let prepared = prepare(daemon).map_err(|error| failed(io::Error::other(error)))?;
    let mut command = alone(daemon.program);
    command.args(daemon.args).envs(daemon.variables.iter().copied());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    // SAFETY: the closure only makes system calls that are async-signal-safe, and allocates
    // nothing.
    unsafe {
        command.pre_exec(move || detach(&prepared));
    }
    command.spawn().map_err(failed)
}

fn prepare(daemon: &Daemon<'_>) -> Result<ChildSetup, std::ffi::NulError> {
    let procs = daemon.cgroups.iter().map(|dir| c_path(&dir.join("cgroup.procs")));
    let procs = procs.collect::<Result<_, _>>()?;
    let (shm, log) = (c_path(daemon.shm)?, c_path(daemon.log)?);
    Ok(ChildSetup { shm, log, procs, limits: limits() })
}

/// The limits of pid 1, which the host gives to daemons, and no core dumps.
fn limits() -> Vec<(Resource, libc::rlimit)> {
    let of_init = LIMITED.iter().filter_map(|resource| {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: a system call that writes to a place of ours.
        let done = unsafe { libc::prlimit(1, *resource, std::ptr::null(), &raw mut limit) };
        match done {
            0 => Some((*resource, limit)),
            _ => (*resource == libc::RLIMIT_NOFILE).then_some((*resource, FILES)),
        }
    });
    of_init.chain([(libc::RLIMIT_CORE, libc::rlimit { rlim_cur: 0, rlim_max: 0 })]).collect()
}

fn detach(prepared: &ChildSetup) -> io::Result<()> {
    // SAFETY: plain system calls; the strings end with NUL and outlive them. An ignored signal would
    // stay ignored, and so would a blocked one: SIGKILL and SIGSTOP cannot be set, and fail.
    unsafe {
        for signal in 1..=libc::SIGRTMAX() {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
        libc::umask(0o022);
        check(libc::setsid())?;
        check(libc::prctl(libc::PR_SET_PDEATHSIG, 0))?;
        for (resource, limit) in &prepared.limits {
            set_limit(*resource, *limit);
        }
        close_at_exec();
    }
    // A shim may have its container's OOM score. A score that cannot be changed is no reason to
    // fail.
    let _ = write_zero(c"/proc/self/oom_score_adj");
    for procs in &prepared.procs {
        let _ = write_zero(procs);
    }
    own_shm(&prepared.shm)?;
    log_to(&prepared.log)
}

/// Sets a limit, or up to the hard limit if that may not be raised (`CAP_SYS_RESOURCE`).
fn set_limit(resource: Resource, limit: libc::rlimit) {
    // SAFETY: plain system calls with a structure of ours.
    unsafe {
        let mut own = limit;
        if libc::setrlimit(resource, &raw const limit) == 0
            || libc::getrlimit(resource, &raw mut own) != 0
        {
            return;
        }
        own.rlim_max = own.rlim_max.min(limit.rlim_max);
        own.rlim_cur = limit.rlim_cur.min(own.rlim_max);
        libc::setrlimit(resource, &raw const own);
    }
}

/// Makes a mount namespace with its own `/dev/shm`. Later unmounts on the host take effect here too
/// if the host's mounts are shared; otherwise such mounts stay until the daemon ends.
fn own_shm(shm: &CStr) -> io::Result<()> {
    let (none, place) = (std::ptr::null(), c"/dev/shm".as_ptr());
    // SAFETY: plain system calls; the strings end with NUL and outlive them.
    unsafe {
        check(libc::unshare(libc::CLONE_NEWNS))?;
        let flags = libc::MS_REC | libc::MS_SLAVE;
        check(libc::mount(none, c"/".as_ptr(), none, flags, std::ptr::null()))?;
        check(libc::mount(shm.as_ptr(), place, none, libc::MS_BIND, std::ptr::null()))
    }
}

/// Opens the log for appending, so that it can be emptied while the daemon writes.
fn log_to(log: &CStr) -> io::Result<()> {
    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC | libc::O_APPEND | libc::O_NOFOLLOW;
    // SAFETY: plain system calls; the string ends with NUL and outlives them. The descriptor is only
    // known here, and is closed unless it is the one that was to be.
    unsafe {
        let file = libc::open(log.as_ptr(), flags | libc::O_CLOEXEC, 0o600);
        check(file)?;
        check(libc::dup2(file, libc::STDOUT_FILENO))?;
        check(libc::dup2(file, libc::STDERR_FILENO))
    }
}

fn write_zero(path: &CStr) -> io::Result<()> {
    // SAFETY: plain system calls on a descriptor that is only known here; the strings outlive them.
    unsafe {
        let file = libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        check(file)?;
        let written = libc::write(file, c"0".as_ptr().cast(), 1);
        libc::close(file);
        if written == 1 { Ok(()) } else { Err(io::Error::from(io::ErrorKind::WriteZero)) }
    }
}
