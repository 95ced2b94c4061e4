//! One program under strace(1): which system calls it makes, and what it comes to if one of them
//! goes wrong. Its children and threads are traced with it, up to the `execve` of another program.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on must say so"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

const STRACE: &str = "/usr/bin/strace";

/// What happens at the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The program is killed before the call.
    Kill,
    /// The call is not made, and fails with this error.
    Error(&'static str),
    /// The call is not made, and says that it was: no kernel does that, but a check has to see it.
    Pretence,
}

/// A fault at one call: the `nth` of that name, counted in each thread by itself.
#[derive(Debug, Clone)]
pub struct Case {
    pub name: String,
    pub nth: usize,
    pub fault: Fault,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, nth, fault } = self;
        match fault {
            Fault::Kill => write!(f, "killed before {name} {nth}"),
            Fault::Error(error) => write!(f, "{error} of {name} {nth}"),
            Fault::Pretence => write!(f, "no {name} {nth}"),
        }
    }
}

impl Case {
    /// The words that a program is to be called by; what it does is written to `log`.
    pub fn words(case: Option<&Self>, log: &Path) -> Vec<String> {
        let mut words: Vec<String> =
            [STRACE, "-D", "-f", "-b", "execve", "-o"].map(str::to_owned).into();
        words.push(log.display().to_string());
        if let Some(Self { name, nth, fault }) = case {
            let fault = match fault {
                Fault::Kill => "signal=SIGKILL".to_owned(),
                Fault::Error(error) => format!("error={error}"),
                Fault::Pretence => "retval=0".to_owned(),
            };
            words.push(format!("--trace={name}"));
            words.push(format!("--inject={name}:{fault}:when={nth}"));
        }
        words
    }

    /// Whether it came to the fault. A call that was not made is no test.
    pub fn is_reached(&self, log: &Path) -> bool {
        // Of an error strace writes before the program goes on, of an end after it.
        let (mark, patience) = match self.fault {
            Fault::Kill => ("+++ killed by SIGKILL +++", 5000),
            Fault::Error(_) | Fault::Pretence => ("(INJECTED)", 100),
        };
        let end = Instant::now() + Duration::from_millis(patience);
        while Instant::now() < end {
            if fs::read_to_string(log).is_ok_and(|text| text.contains(mark)) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        false
    }
}

/// One call that a program makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    pub name: String,
    pub nth: usize,
    /// Some thread makes it between taking a lock and letting go of it.
    pub locked: bool,
    /// It lets go of an end of a pipe or of a lock. Linux does so even where it says that it failed
    /// (close(2)), and others wait for that; strace has it stay open.
    pub lets_go: bool,
}

impl Call {
    pub fn can(&self, fault: Fault) -> bool {
        // geteuid(2) never fails, getrandom(2) not in these ways once the system is up, and a close
        // that fails leaves the descriptor open under strace alone. Memory can only be short
        // (ENOMEM), which ends the process on the spot: that is a kill.
        let is_sure = matches!(self.name.as_str(), "geteuid" | "getrandom" | "close" | "mmap");
        fault == Fault::Kill || !(self.lets_go || is_sure)
    }
}

/// The calls in a log, each once.
pub fn calls(log: &str) -> Vec<Call> {
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut locks: BTreeMap<&str, &str> = BTreeMap::new();
    let mut pipes: BTreeSet<&str> = BTreeSet::new();
    let mut found: BTreeMap<(&str, usize), Call> = BTreeMap::new();
    let lines = log.lines().filter_map(|line| line.split_once(' '));
    // The first line is strace's own start of the program, at which it makes no fault.
    for (pid, text) in lines.skip(1) {
        let Some((name, rest)) = text.trim_start().split_once('(') else { continue };
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        // What the kernel goes on with after a signal is no call of the program's.
        if !name.bytes().all(is_name) || name == "restart_syscall" {
            continue;
        }
        let nth = *counts.entry((pid, name)).and_modify(|count| *count += 1).or_insert(1);
        let file = rest.split([',', ')', ' ']).next().unwrap_or_default();
        match name {
            "flock" => drop(locks.insert(pid, file)),
            "pipe2" | "socketpair" => {
                let ends = rest.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
                pipes.extend(ends.into_iter().flat_map(|(ends, _)| ends.split(", ")));
            }
            _ => {}
        }
        let new = Call { name: name.to_owned(), nth, locked: false, lets_go: false };
        let call = found.entry((name, nth)).or_insert(new);
        call.locked |= locks.contains_key(pid);
        if name == "close" {
            let unlocks = locks.get(pid) == Some(&file);
            call.lets_go |= unlocks || pipes.contains(file);
            locks.retain(|owner, _| !(unlocks && *owner == pid));
        }
    }
    found.into_values().collect()
}

/// Every call under the lock, and one of each name that is not among those.
pub fn sample(calls: &[Call]) -> Vec<Call> {
    let mut names: BTreeSet<&str> =
        calls.iter().filter(|call| call.locked).map(|call| call.name.as_str()).collect();
    let mut chosen = Vec::new();
    // The last of a name is about our own doing, the first about the start of any program.
    for call in calls.iter().rev() {
        if call.locked || names.insert(&call.name) {
            chosen.push(call.clone());
        }
    }
    chosen
}

/// How a program ended.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stderr: String,
}

/// Runs it to its end and that of all it started: they have its stderr. Longer than a minute is a
/// hang.
#[track_caller]
pub fn run(command: &mut Command) -> Ended {
    run_within(command, Duration::from_secs(60))
}

#[track_caller]
pub fn run_within(command: &mut Command, limit: Duration) -> Ended {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut pipe = child.stderr.take().unwrap();
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = pipe.read_to_end(&mut bytes);
        drop(sender.send(read.map(|_| bytes)));
    });
    let Ok(read) = receiver.recv_timeout(limit) else {
        child.kill().unwrap();
        child.wait().unwrap();
        panic!("it hangs");
    };
    let stderr = String::from_utf8_lossy(&read.unwrap()).into_owned();
    Ended { status: child.wait().unwrap(), stderr }
}

/// The same command, called by way of these words, with no environment but what it names: where
/// cargo says where libraries are, a program looks for them by a hundred calls.
pub fn by_way_of(words: &[String], command: &Command) -> Command {
    let mut traced = Command::new(&words[0]);
    traced.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    traced.args(&words[1..]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        traced.env(name, value.unwrap_or_default());
    }
    if let Some(dir) = command.get_current_dir() {
        traced.current_dir(dir);
    }
    traced
}
