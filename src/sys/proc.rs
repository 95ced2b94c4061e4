//! Whether a recorded process still lives.

use super::PathError;
use super::identity;
use super::namespaces::{Here, RecordedNamespace};
use super::proc_stat::{STAT_BYTES, has_ended, read_stat, start_time, state};
use crate::model::lease::Owner;
use crate::paths::Paths;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// The state of a recorded process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// It runs, or its state is unknown. Its lease may not be released.
    Alive,
    /// It has certainly ended.
    Gone,
}

/// Describes a running process so that it can be recognised later. Fails if the process has ended,
/// or if procfs cannot be read.
pub fn describe(pid: i32, paths: &Paths) -> Result<Owner, PathError> {
    let path = paths.proc.join(pid.to_string()).join("stat");
    let mut buffer = [0; STAT_BYTES];
    let stat = read_stat(&path, &mut buffer).map_err(PathError::new("read", &path))?;
    let start_time = start_time(stat).ok_or_else(|| {
        PathError::new("parse", &path)(io::Error::new(
            io::ErrorKind::InvalidData,
            "not a stat line",
        ))
    })?;
    Ok(Owner {
        pid,
        start_time,
        boot_id: identity::boot_id(paths)?,
        pid_namespace: identity::pid_namespace(paths)?,
    })
}

/// Judges a recorded process. If its state is unknown, it counts as alive: in another pid
/// namespace, unless the host sees that this is empty, with an unreadable stat (`hidepid`), or if
/// the kernel refuses.
pub fn life(owner: &Owner, paths: &Paths) -> Life {
    life_here(owner, &Here::look(paths), paths)
}

/// Judges as [`life`] does, for many processes, and looks only once at what is the same for all of
/// them.
pub fn life_here(owner: &Owner, here: &Here, paths: &Paths) -> Life {
    let Some(boot_id) = &here.boot_id else { return Life::Alive };
    if *boot_id != owner.boot_id {
        return Life::Gone;
    }
    match here.namespace_of(owner, paths) {
        RecordedNamespace::Ours => {}
        RecordedNamespace::Empty => return Life::Gone,
        RecordedNamespace::Populated
        | RecordedNamespace::NotFromHere
        | RecordedNamespace::Unclear(_) => return Life::Alive,
    }
    let path = paths.proc.join(owner.pid.to_string()).join("stat");
    let mut buffer = [0; STAT_BYTES];
    // The most common case, and the cheapest to see: it is the recorded process, and not a zombie.
    if let Ok(stat) = read_stat(&path, &mut buffer)
        && start_time(stat) == Some(owner.start_time)
        && state(stat).is_some_and(|state| !matches!(state, 'Z' | 'X'))
    {
        return Life::Alive;
    }
    // The pidfd is opened before the start time is read. If the start time then matches, the pidfd
    // refers to the recorded process, even if the pid is reused afterwards.
    let pidfd = match pidfd_open(owner.pid) {
        Ok(pidfd) => pidfd,
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Life::Gone,
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => return by_stat(owner, paths),
        Err(_) => return Life::Alive,
    };
    // An unreadable stat means that the process was reaped since the pidfd was opened, or is
    // hidden. The pidfd tells which.
    if let Ok(stat) = read_stat(&path, &mut buffer) {
        match start_time(stat) {
            Some(start) if start != owner.start_time => return Life::Gone,
            Some(_) => {}
            None => return Life::Alive,
        }
    }
    if has_exited(&pidfd, Duration::ZERO) { Life::Gone } else { Life::Alive }
}

/// Judges by the stat line alone (Linux before 5.3). A zombie has ended, unless it still has
/// threads.
fn by_stat(owner: &Owner, paths: &Paths) -> Life {
    let dir = paths.proc.join(owner.pid.to_string());
    let mut buffer = [0; STAT_BYTES];
    let stat = match read_stat(&dir.join("stat"), &mut buffer) {
        Ok(stat) => stat,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Life::Gone,
        Err(_) => return Life::Alive,
    };
    match start_time(stat) {
        Some(start) if start != owner.start_time => Life::Gone,
        Some(_) if has_ended(stat, &dir) => Life::Gone,
        _ => Life::Alive,
    }
}

/// Waits up to `patience` for the process to end, and returns its state then.
pub fn life_after(owner: &Owner, patience: Duration, paths: &Paths) -> Life {
    if life(owner, paths) == Life::Gone {
        return Life::Gone;
    }
    if let Ok(pidfd) = pidfd_open(owner.pid) {
        has_exited(&pidfd, patience);
    }
    life(owner, paths)
}

/// Sends a signal to the recorded process, but not to another one with the same pid. A process that
/// has ended needs no signal. Fails if the kernel refuses.
pub fn signal(owner: &Owner, signal: nix::sys::signal::Signal, paths: &Paths) -> io::Result<()> {
    let gone = |error: &io::Error| error.raw_os_error() == Some(libc::ESRCH);
    let pidfd = match pidfd_open(owner.pid) {
        Ok(pidfd) => pidfd,
        Err(error) if gone(&error) => return Ok(()),
        Err(error) => return Err(error),
    };
    // This is judged after the pidfd was opened: if it is the recorded process, so is that of the
    // pidfd.
    if life(owner, paths) == Life::Gone {
        return Ok(());
    }
    // SAFETY: the call takes a descriptor that lives, a number, no information and no flags.
    let result = unsafe {
        let none = std::ptr::null::<libc::siginfo_t>();
        libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal as i32, none, 0)
    };
    if result == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    if gone(&error) { Ok(()) } else { Err(error) }
}

/// Waits until the process has exited. A pidfd becomes readable once the whole thread group has
/// exited (pidfd_open(2)), so a leader that called `pthread_exit` while its threads run has not.
fn has_exited(pidfd: &OwnedFd, patience: Duration) -> bool {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let mut fds = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
    let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::ZERO);
    matches!(poll(&mut fds, timeout), Ok(1))
}

fn pidfd_open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: the call takes two integers and returns a new descriptor or -1.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd =
        i32::try_from(result).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the kernel has just returned `fd`, and no other code knows it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    debug_assert!(fd.as_raw_fd() > 2);
    Ok(fd)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn stat_is_read_past_any_command_name() {
        let line = b"42 (a) b (c) S 1 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 777 9 9";
        assert_eq!(start_time(line), Some(777));
        assert_eq!(start_time(b"garbage"), None);
    }

    #[test]
    fn a_child_lives_dies_and_stays_dead_while_unreaped() {
        let paths = Paths::default();
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let owner = describe(pid, &paths).unwrap();
        assert_eq!(life(&owner, &paths), Life::Alive);
        assert_eq!(by_stat(&owner, &paths), Life::Alive);
        child.kill().unwrap();
        assert_eq!(life_after(&owner, Duration::from_secs(5), &paths), Life::Gone, "zombie");
        assert_eq!(by_stat(&owner, &paths), Life::Gone, "zombie");
        child.wait().unwrap();
        assert_eq!(life(&owner, &paths), Life::Gone, "reaped");
        assert_eq!(by_stat(&owner, &paths), Life::Gone, "reaped");
    }

    #[test]
    fn a_reused_pid_is_gone_an_unknown_one_alive() {
        let paths = Paths::default();
        let me = describe(i32::try_from(std::process::id()).unwrap(), &paths).unwrap();
        let reused = Owner { start_time: me.start_time + 1, ..me.clone() };
        assert_eq!(life(&reused, &paths), Life::Gone);
        let elsewhere = Owner { pid_namespace: 1, pid: 999_999_999, ..me.clone() };
        let container = Here { pid_namespace: Some(2), ..Here::look(&paths) };
        assert_eq!(life_here(&elsewhere, &container, &paths), Life::Alive);
        let last_boot = Owner { boot_id: "other".into(), ..me.clone() };
        assert_eq!(life(&last_boot, &paths), Life::Gone);
        assert_eq!(life(&me, &paths), Life::Alive);
    }

    #[test]
    fn a_leader_that_ended_before_its_threads_is_alive() {
        // A leader that called pthread_exit is a zombie whose thread group lives on; python's
        // and Rust's mains cannot do that, so it is done by the raw system call in a child.
        let paths = Paths::default();
        // SAFETY: the child only starts a thread, which sleeps, and ends its leader; it never
        // returns into the test harness.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0);
        if pid == 0 {
            std::thread::spawn(|| {
                std::thread::sleep(Duration::from_secs(30));
            });
            // SAFETY: `exit` (not `exit_group`) ends the calling thread alone.
            unsafe {
                libc::syscall(libc::SYS_exit, 0);
            }
        }
        let owner = describe(pid, &paths).unwrap();
        for _ in 0..500 {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            if stat.rsplit_once(')').unwrap().1.trim_start().starts_with('Z') {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(life(&owner, &paths), Life::Alive);
        assert_eq!(by_stat(&owner, &paths), Life::Alive);
        // SAFETY: signals our own child and reaps it.
        unsafe {
            libc::kill(pid, libc::SIGKILL);
            libc::waitpid(pid, std::ptr::null_mut(), 0);
        }
        assert_eq!(life(&owner, &paths), Life::Gone);
    }
}
