//! Runs a program that may crash, hang or write without end.

use super::exec::{Sigchld, alone, close_at_exec, die_with, ends_within, pid_of};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use thiserror::Error;

/// The most bytes of stderr that are kept.
const STDERR_MAX: usize = 4096;

/// How long a killed program may take to end. A program that waits for a device in the kernel
/// (state D) does not end until the device answers, and is then left to itself.
const DYING: Duration = Duration::from_millis(200);

/// The output of a program.
#[derive(Debug)]
pub struct ProgramOutput {
    pub status: ExitStatus,
    /// Its whole stdout.
    pub stdout: Vec<u8>,
    /// The beginning of its stderr.
    pub stderr: String,
}

/// Why a program gave no answer.
#[derive(Debug, Error)]
pub enum AskError {
    /// The program could not be started or waited for.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The program took too long and was killed.
    #[error("it did not answer within {0:?}")]
    Late(Duration),
    /// The program wrote too much and was killed.
    #[error("its answer is longer than {0} bytes")]
    TooLong(usize),
}

/// Runs `program` with no environment but a PATH, and reads at most `max` bytes of its stdout.
/// After the deadline the program and all that it started are killed, and not waited for. It dies
/// with this thread, leaves no core dump, and has none of our files open. A bad exit status is not
/// an error: [`ProgramOutput::status`] has it.
pub fn run_with_deadline(
    program: &Path,
    args: &[&OsStr],
    deadline: Duration,
    max: usize,
) -> Result<ProgramOutput, AskError> {
    let mut command = alone(program);
    command.args(args);
    asked(command, deadline, max, |_| {})
}

/// The most bytes for a program's stdin. They fit into an empty pipe, so that a program that does
/// not read never blocks us (pipe(7)).
const TOLD_MAX: usize = 4096;

/// Runs a program without arguments as [`run_with_deadline`] does, with `words` on its stdin and
/// with these variables besides its PATH. Fails also if there are too many words.
pub fn tell_with_deadline(
    program: &Path,
    variables: &[(&str, &OsStr)],
    words: &str,
    deadline: Duration,
    max: usize,
) -> Result<ProgramOutput, AskError> {
    use std::io::Write;
    if words.len() > TOLD_MAX {
        return Err(AskError::TooLong(TOLD_MAX));
    }
    let mut command = alone(program);
    command.envs(variables.iter().copied()).stdin(Stdio::piped());
    asked(command, deadline, max, |child| {
        // A program that has ended reads nothing. Its exit status tells why.
        drop(child.stdin.take().map(|mut pipe| pipe.write_all(words.as_bytes())));
    })
}

fn asked(
    mut command: Command,
    deadline: Duration,
    max: usize,
    tell: impl FnOnce(&mut Child),
) -> Result<ProgramOutput, AskError> {
    let _kept = Sigchld::kept();
    let start = Instant::now();
    let parent = nix::unistd::getpid();
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    // SAFETY: the closure only makes system calls that are async-signal-safe, and allocates
    // nothing.
    unsafe {
        command.pre_exec(move || {
            let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            libc::setrlimit(libc::RLIMIT_CORE, &raw const none);
            die_with(parent)?;
            close_at_exec();
            Ok(())
        });
    }
    let mut child = command.spawn()?;
    tell(&mut child);
    let pid = pid_of(&child)?;
    let mut pipes = Pipes {
        stdout: child.stdout.take(),
        stderr: child.stderr.take(),
        out_bytes: Vec::new(),
        err_bytes: Vec::new(),
    };
    let heard = pipes.listen(start, deadline, max).and_then(|()| {
        let left = deadline.saturating_sub(start.elapsed());
        if ends_within(pid, left)? { Ok(()) } else { Err(AskError::Late(deadline)) }
    });
    // The group has the program and all that it left behind. It keeps its number, because the
    // program is not reaped yet.
    let _ = killpg(pid, Signal::SIGKILL);
    let is_gone = ends_within(pid, DYING)?;
    let status = if is_gone { Some(child.wait()?) } else { None };
    heard?;
    let status = status.ok_or(AskError::Late(deadline))?;
    let stderr = String::from_utf8_lossy(&pipes.err_bytes).into_owned();
    Ok(ProgramOutput { status, stdout: pipes.out_bytes, stderr })
}

/// The most bytes of an answer.
const ANSWER_MAX: usize = 1 << 20;

/// The stdout of a program that ended successfully. It runs as in [`run_with_deadline`]. Fails if
/// it cannot be started, does not end in time, writes too much, or fails.
pub fn ask_bounded(
    program: &Path,
    args: &[impl AsRef<OsStr>],
    deadline: Duration,
) -> io::Result<String> {
    let asked = ask(program, args, deadline)?;
    if !asked.status.success() {
        return Err(io::Error::other(format!("it failed: {}", asked.status)));
    }
    Ok(String::from_utf8_lossy(&asked.stdout).into_owned())
}

/// How a program ended that was run for its effect.
#[derive(Debug)]
pub struct Finished {
    pub success: bool,
    /// Its stderr, up to a few KiB.
    pub stderr: String,
}

/// Runs a program for its effect, as in [`run_with_deadline`]. Fails if it cannot be started, or
/// does not end in time.
pub fn run_bounded(
    program: &Path,
    args: &[impl AsRef<OsStr>],
    deadline: Duration,
) -> io::Result<Finished> {
    let asked = ask(program, args, deadline)?;
    Ok(Finished { success: asked.status.success(), stderr: asked.stderr })
}

fn ask(
    program: &Path,
    args: &[impl AsRef<OsStr>],
    deadline: Duration,
) -> io::Result<ProgramOutput> {
    let words: Vec<&OsStr> = args.iter().map(AsRef::as_ref).collect();
    run_with_deadline(program, &words, deadline, ANSWER_MAX).map_err(|error| match error {
        AskError::Io(error) => error,
        late @ AskError::Late(_) => io::Error::new(io::ErrorKind::TimedOut, late),
        other @ AskError::TooLong(_) => io::Error::other(other),
    })
}

/// Both outputs, each until its end.
struct Pipes<A, B> {
    stdout: Option<A>,
    stderr: Option<B>,
    out_bytes: Vec<u8>,
    err_bytes: Vec<u8>,
}

impl<A: Read + AsFd, B: Read + AsFd> Pipes<A, B> {
    fn listen(&mut self, start: Instant, deadline: Duration, max: usize) -> Result<(), AskError> {
        let mut buffer = [0; 8192];
        loop {
            let (has_out, has_err) = self.ready(deadline.saturating_sub(start.elapsed()))?;
            if has_out && let Some(pipe) = &mut self.stdout {
                match pipe.read(&mut buffer)? {
                    0 => self.stdout = None,
                    count => self.out_bytes.extend(buffer.iter().take(count)),
                }
            }
            if has_err && let Some(pipe) = &mut self.stderr {
                match pipe.read(&mut buffer)? {
                    0 => self.stderr = None,
                    count => {
                        let room = STDERR_MAX.saturating_sub(self.err_bytes.len());
                        self.err_bytes.extend(buffer.iter().take(count.min(room)));
                    }
                }
            }
            if self.out_bytes.len() > max {
                return Err(AskError::TooLong(max));
            }
            if self.stdout.is_none() && self.stderr.is_none() {
                return Ok(());
            }
            if start.elapsed() >= deadline {
                return Err(AskError::Late(deadline));
            }
        }
    }

    /// Which outputs can be read, after waiting at most `left`.
    fn ready(&self, left: Duration) -> io::Result<(bool, bool)> {
        let stdout = self.stdout.as_ref().map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLIN));
        let stderr = self.stderr.as_ref().map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLIN));
        let (has_stdout, mut polled) = (stdout.is_some(), Vec::new());
        polled.extend(stdout);
        polled.extend(stderr);
        // Rounded up: with 0 the loop would spin for the last part of a millisecond.
        let left = left.saturating_add(Duration::from_millis(1));
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut polled, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let mut ready = polled.iter().map(|fd| fd.any().unwrap_or_default());
        let out = has_stdout && ready.next().unwrap_or_default();
        Ok((out, ready.next().unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(script: &str, deadline: u64, max: usize) -> Result<ProgramOutput, AskError> {
        let args = ["-c", script].map(OsStr::new);
        run_with_deadline(Path::new("/bin/sh"), &args, Duration::from_millis(deadline), max)
    }

    #[test]
    fn what_is_said_is_read_whole_and_no_more() {
        let asked = told("head -c 300000 /dev/zero | tr '\\0' x; echo why >&2", 9000, 1 << 20);
        let asked = asked.unwrap();
        assert!(asked.status.success());
        assert_eq!((asked.stdout.len(), asked.stderr.as_str()), (300_000, "why\n"));
        let error = told("yes", 9000, 1000).unwrap_err();
        assert!(matches!(error, AskError::TooLong(1000)), "{error}");
        // Of complaints without end only the beginning is kept.
        let asked = told("head -c 300000 /dev/zero >&2", 9000, 10).unwrap();
        assert_eq!(asked.stderr.len(), STDERR_MAX);
    }

    #[test]
    fn whoever_hangs_is_killed_with_what_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pid");
        let start = Instant::now();
        let script = format!("sleep 60 & echo $! > {}; wait", file.display());
        let error = told(&script, 300, 10).unwrap_err();
        assert_eq!(error.to_string(), "it did not answer within 300ms");
        assert!(start.elapsed() < Duration::from_secs(5));
        let pid = std::fs::read_to_string(&file).unwrap();
        let stat = format!("/proc/{}/stat", pid.trim());
        let lives = || std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(" Z "));
        while lives() {
            assert!(start.elapsed() < Duration::from_secs(5), "the child's child lives");
            std::thread::sleep(Duration::from_millis(10));
        }
        // One that closes its outputs and goes on is no better.
        let error = told("exec >&- 2>&-; sleep 60", 300, 10).unwrap_err();
        assert!(matches!(error, AskError::Late(_)), "{error}");
    }

    #[test]
    fn a_program_is_told_words_and_has_its_variables() {
        let cat = Path::new("/bin/cat");
        let patience = Duration::from_secs(9);
        let asked = tell_with_deadline(cat, &[], "all of it\n", patience, 100).unwrap();
        assert_eq!(asked.stdout, b"all of it\n");
        let variable = [("WHAT", OsStr::new("it"))];
        let asked =
            tell_with_deadline(Path::new("/bin/sh"), &variable, "echo $WHAT\n", patience, 100);
        assert_eq!(asked.unwrap().stdout, b"it\n");
        let long = "x".repeat(TOLD_MAX + 1);
        assert!(tell_with_deadline(cat, &[], &long, patience, 100).is_err());
    }

    #[test]
    fn how_it_ended_is_told_and_nothing_is_inherited() {
        use std::os::unix::process::ExitStatusExt;
        let asked = told("kill -SEGV $$", 9000, 10).unwrap();
        assert_eq!(asked.status.signal(), Some(libc::SIGSEGV));
        let asked = told("ulimit -c; env | grep -c CARGO; exit 3", 9000, 100).unwrap();
        assert_eq!(asked.status.code(), Some(3));
        assert_eq!(asked.stdout, b"0\n0\n");
        use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
        let file = std::fs::File::open("/dev/null").unwrap();
        // SAFETY: a new descriptor, which is inherited.
        let inherited = unsafe { OwnedFd::from_raw_fd(libc::dup(file.as_raw_fd())) };
        let look = format!("[ -e /proc/$$/fd/{} ] || echo closed", inherited.as_raw_fd());
        assert_eq!(told(&look, 9000, 100).unwrap().stdout, b"closed\n");
    }
}
