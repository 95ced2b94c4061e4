//! Starting a program and taking its time: wall by the clock, CPU by `wait4`, which counts the
//! program itself, whatever it became by `execve`, and the children that it waited for.

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::time::Instant;

/// What one start took, in microseconds.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    pub wall: f64,
    pub cpu: f64,
}

/// A command line that can be started again and again.
#[derive(Clone)]
pub struct Call {
    words: Vec<CString>,
    stdin: CString,
}

/// As an engine would have it, and the same for every row.
const ENVIRONMENT: &[&std::ffi::CStr] = &[
    c"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    c"XDG_RUNTIME_DIR=/run/user/0",
    c"LANG=C.UTF-8",
    c"GOMAXPROCS=2",
];

impl Call {
    pub fn new<S: AsRef<OsStr>>(words: impl IntoIterator<Item = S>) -> Self {
        let word = |word: S| CString::new(word.as_ref().as_bytes()).unwrap();
        Self { words: words.into_iter().map(word).collect(), stdin: c"/dev/null".into() }
    }

    pub fn stdin(self, file: &Path) -> Self {
        Self { stdin: CString::new(file.as_os_str().as_bytes()).unwrap(), ..self }
    }

    pub fn words(&self) -> impl Iterator<Item = &OsStr> {
        self.words.iter().map(|word| OsStr::from_bytes(word.as_bytes()))
    }

    /// Starts the program, waits for it and stops the bench if it fails: a row that fails fast
    /// would look good.
    pub fn run(&self) -> Sample {
        let pointers = |list: Vec<&std::ffi::CStr>| -> Vec<*mut libc::c_char> {
            list.iter().map(|c| c.as_ptr().cast_mut()).chain([ptr::null_mut()]).collect()
        };
        let argv = pointers(self.words.iter().map(CString::as_c_str).collect());
        let envp = pointers(ENVIRONMENT.to_vec());
        let mut pid = 0;
        let mut status = 0;
        // SAFETY: `argv` and `envp` are arrays of C strings that outlive the call and end with a
        // null pointer; `actions` is initialised before it is used and destroyed after; `usage`
        // is plain data that the kernel fills in.
        let (begin, end, usage) = unsafe {
            let mut actions = std::mem::zeroed();
            assert_eq!(libc::posix_spawn_file_actions_init(&raw mut actions), 0);
            let stdin = self.stdin.as_ptr();
            libc::posix_spawn_file_actions_addopen(&raw mut actions, 0, stdin, libc::O_RDONLY, 0);
            let null = c"/dev/null".as_ptr();
            libc::posix_spawn_file_actions_addopen(&raw mut actions, 1, null, libc::O_WRONLY, 0);
            let begin = Instant::now();
            let started = libc::posix_spawn(
                &raw mut pid,
                argv[0],
                &raw const actions,
                ptr::null(),
                argv.as_ptr(),
                envp.as_ptr(),
            );
            assert_eq!(started, 0, "cannot start {:?}", self.words);
            let mut usage: libc::rusage = std::mem::zeroed();
            assert_eq!(libc::wait4(pid, &raw mut status, 0, &raw mut usage), pid);
            let end = Instant::now();
            libc::posix_spawn_file_actions_destroy(&raw mut actions);
            (begin, end, usage)
        };
        assert_eq!(status, 0, "{:?} failed", self.words);
        let wall = (end - begin).as_secs_f64() * 1e6;
        Sample { wall, cpu: microseconds(usage.ru_utime) + microseconds(usage.ru_stime) }
    }
}

fn microseconds(time: libc::timeval) -> f64 {
    time.tv_sec as f64 * 1e6 + time.tv_usec as f64
}

/// One row: how to set up, what to start, what to clean up. Only the start is timed.
pub struct Case<'a> {
    pub name: &'static str,
    pub call: Call,
    pub before: Box<dyn Fn() + 'a>,
    /// The row that this one is compared with, by its place.
    pub baseline: Option<usize>,
    /// On the CPU time beyond the baseline's, in microseconds.
    pub budget: Option<f64>,
}

impl<'a> Case<'a> {
    pub fn new(name: &'static str, call: Call) -> Self {
        Self { name, call, before: Box::new(|| ()), baseline: None, budget: None }
    }

    pub fn before(self, before: impl Fn() + 'a) -> Self {
        Self { before: Box::new(before), ..self }
    }

    pub fn over(self, baseline: usize) -> Self {
        Self { baseline: Some(baseline), ..self }
    }

    pub fn budget(self, microseconds: f64) -> Self {
        Self { budget: Some(microseconds), ..self }
    }
}

/// Measures all cases in each round, each round beginning with another one. The first rounds only
/// fill caches.
pub fn interleave(cases: &[Case<'_>], rounds: usize) -> Vec<Vec<Sample>> {
    let warm_up = (rounds / 20).max(1);
    let mut samples = vec![Vec::with_capacity(rounds); cases.len()];
    for round in 0..warm_up + rounds {
        for step in 0..cases.len() {
            let at = (round + step) % cases.len();
            (cases[at].before)();
            let sample = cases[at].call.run();
            if round >= warm_up {
                samples[at].push(sample);
            }
        }
    }
    samples
}

/// A number from the environment.
pub fn rounds(variable: &str, default: usize) -> usize {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable} must be a number")),
        Err(_) => default,
    }
}
