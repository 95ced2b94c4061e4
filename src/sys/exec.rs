//! Executes the low-level runtime, in place of this process or as a child.

use super::error::check;
pub use caps::Capability;

use crate::model::variables;
use nix::unistd::Pid;
use std::convert::Infallible;
use std::ffi::{CString, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Starts a program that is not waited for and outlives this process and its session. It inherits
/// nothing but a PATH, has no open file, and its parent is init (or a subreaper). Fails if it could
/// not be started.
pub fn start_detached(program: &Path, args: &[OsString]) -> io::Result<()> {
    let _kept = Sigchld::kept();
    let mut command = alone(program);
    command.args(args).stdout(Stdio::null()).stderr(Stdio::null());
    // SAFETY: the closure only makes system calls that are async-signal-safe, and allocates
    // nothing. Its own child is what becomes the program; std's pipe, which tells whether that
    // went well, is left open in it until then.
    unsafe {
        command.pre_exec(|| {
            check(libc::setsid())?;
            close_at_exec();
            match libc::fork() {
                0 => Ok(()),
                -1 => Err(io::Error::last_os_error()),
                _ => libc::_exit(0),
            }
        });
    }
    command.spawn()?.wait().map(drop)
}

/// Makes the next `execve` close every descriptor but the standard ones. Otherwise a pipe that an
/// engine waits for would stay open.
///
/// # Safety Only for a process that is about to execute a program.
pub(super) unsafe fn close_at_exec() {
    // SAFETY: system calls on numbers; a descriptor that is not open is an error of no consequence.
    unsafe {
        let flag = libc::CLOSE_RANGE_CLOEXEC;
        if libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, flag) == 0 {
            return;
        }
        // Before Linux 5.11.
        for descriptor in 3..1024 {
            libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC);
        }
    }
}

/// Replaces this process by `program`, with the same environment and pid, so that the engine's
/// parent-death signal, console socket and inherited descriptors stay valid. Signals get the
/// dispositions that the program would have had without us. Returns only if the program could not
/// be executed.
pub fn become_program(program: &Path, args: &[OsString]) -> io::Result<Infallible> {
    let path = c_string(program.as_os_str().as_bytes().to_vec())?;
    let mut words = vec![path.clone()];
    for arg in args {
        words.push(c_string(arg.clone().into_vec())?);
    }
    let mut environment = Vec::new();
    for (key, value) in std::env::vars_os() {
        let mut entry = key.into_vec();
        entry.push(b'=');
        entry.extend(value.into_vec());
        environment.push(c_string(entry)?);
    }
    reset_sigpipe();
    let error = nix::unistd::execve(&path, &words, &environment).err();
    Err(error.map_or_else(|| io::Error::other("execve returned"), io::Error::from))
}

/// Runs `program` as a child that the kernel kills if this process is killed, and waits for it.
/// Fails if it could not be started or waited for.
pub fn run_child(program: &Path, args: &[OsString]) -> io::Result<ExitStatus> {
    let _kept = Sigchld::kept();
    let parent = nix::unistd::getpid();
    let mut command = Command::new(program);
    command.args(args);
    // SAFETY: the closure only makes system calls that are async-signal-safe, and allocates
    // nothing.
    unsafe {
        command.pre_exec(move || die_with(parent));
    }
    command.status()
}

/// Makes the kernel kill this process when its parent dies. Only makes system calls.
pub(super) fn die_with(parent: Pid) -> io::Result<()> {
    // SAFETY: takes two numbers.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) })?;
    // The parent may have died before the line above took effect.
    if nix::unistd::getppid() == parent {
        return Ok(());
    }
    Err(io::Error::from_raw_os_error(libc::ESRCH))
}

/// Restores SIGPIPE. Rust starts every program with SIGPIPE ignored, and an ignored signal stays
/// ignored through `execve`, down into the container.
fn reset_sigpipe() {
    // SAFETY: restores the default disposition; no handler of ours is involved.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
    }
}

/// Restores SIGCHLD while this lives, and sets it back afterwards. An engine may ignore SIGCHLD;
/// then the kernel keeps no exit status to wait for.
pub(super) struct Sigchld(libc::sighandler_t);

impl Sigchld {
    pub(super) fn kept() -> Self {
        // SAFETY: sets the default disposition; no handler of ours is involved.
        Self(unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) })
    }
}

impl Drop for Sigchld {
    fn drop(&mut self) {
        // SAFETY: restores what was there; a program that was just executed has no handlers.
        unsafe {
            libc::signal(libc::SIGCHLD, self.0);
        }
    }
}

fn c_string(bytes: Vec<u8>) -> io::Result<CString> {
    CString::new(bytes)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "NUL in an argument"))
}

/// Drops every capability but these, and closes all inherited descriptors but the standard ones. A
/// hook still is root, which owns all that it writes. `CAP_SYS_PTRACE` lets it see the container's
/// process if procfs is mounted with `hidepid` (proc(5)). With `CAP_DAC_READ_SEARCH` too it sees
/// the open files of other users' processes. Fails if the kernel refuses.
pub fn drop_privileges_but(kept: &[Capability]) -> io::Result<()> {
    use caps::{CapSet, CapsHashSet};
    // SAFETY: closes descriptors from 3 up; nothing in this process has opened any yet.
    unsafe {
        libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, 0u32);
    }
    let refused = |error: caps::errors::CapsError| io::Error::other(error.to_string());
    let held = caps::read(None, CapSet::Permitted).map_err(refused)?;
    let kept: CapsHashSet = held.into_iter().filter(|held| kept.contains(held)).collect();
    caps::clear(None, CapSet::Ambient).map_err(refused)?;
    caps::clear(None, CapSet::Inheritable).map_err(refused)?;
    caps::set(None, CapSet::Effective, &kept).map_err(refused)?;
    caps::set(None, CapSet::Permitted, &kept).map_err(refused)
}

/// A command that inherits nothing but a PATH.
pub(super) fn alone(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env(variables::PATH, variables::CHILD_PATH);
    command.current_dir("/").stdin(Stdio::null());
    command
}

/// Waits until the child ends, but not longer than `deadline`. It is not reaped.
pub(super) fn ends_within(pid: Pid, deadline: Duration) -> io::Result<bool> {
    use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    let start = Instant::now();
    loop {
        if waitid(Id::Pid(pid), flags)? != WaitStatus::StillAlive {
            return Ok(true);
        }
        if start.elapsed() >= deadline {
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

pub(super) fn pid_of(child: &Child) -> io::Result<Pid> {
    Ok(Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::{FromRawFd, OwnedFd};

    #[test]
    fn a_detached_program_inherits_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let said = dir.path().join("said");
        let file = std::fs::File::open("/dev/null").unwrap();
        // SAFETY: a new descriptor, which is inherited.
        let inherited =
            unsafe { OwnedFd::from_raw_fd(libc::dup(std::os::fd::AsRawFd::as_raw_fd(&file))) };
        let number = std::os::fd::AsRawFd::as_raw_fd(&inherited);
        let script = format!(
            "s=$(cut -d' ' -f4,6 /proc/$$/stat); f=no; [ -e /proc/$$/fd/{number} ] && f=yes; \
             echo $$ $s $f ${{HOME:-none}} > {0}.new; mv {0}.new {0}",
            said.display()
        );
        let args = ["-c".into(), script.into()];
        start_detached(Path::new("/bin/sh"), &args).unwrap();
        let start = Instant::now();
        while !said.exists() {
            assert!(start.elapsed() < Duration::from_secs(9), "it says nothing");
            std::thread::sleep(Duration::from_millis(5));
        }
        let text = std::fs::read_to_string(&said).unwrap();
        let words: Vec<&str> = text.split_whitespace().collect();
        let [pid, parent, session, open, home] = words.as_slice() else { panic!("{text}") };
        assert_ne!(*parent, std::process::id().to_string());
        assert!(session != pid, "it leads no session that could get a terminal");
        // SAFETY: a system call without arguments that could be wrong.
        assert_ne!(*session, unsafe { libc::getsid(0) }.to_string());
        assert_eq!((*open, *home), ("no", "none"));
        assert!(start_detached(Path::new("/nonexistent/program"), &[]).is_err());
    }
}
