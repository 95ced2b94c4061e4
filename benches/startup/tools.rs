//! Small static programs that stand in for a low-level runtime, made by the C compiler that also
//! links Rust's programs. Nothing smaller can be started, so what a row costs beyond them is ours.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Ends at once: a low-level runtime that does nothing.
const NOOP: &str = "int main(void) { return 0; }\n";

/// Becomes the program in its first argument: the least that any shim can do.
const ONWARD: &str = "#include <unistd.h>
int main(int argc, char **argv) { (void)argc; execv(argv[1], argv + 1); return 127; }\n";

/// Waits until its stdin ends and becomes the program in its first argument: many of these on one
/// pipe start at one moment.
const GATE: &str = "#include <unistd.h>
int main(int argc, char **argv) {
    char byte; (void)argc;
    while (read(0, &byte, 1) > 0);
    execv(argv[1], argv + 1); return 127;
}\n";

/// A low-level runtime that says when it was reached and then stays, so that its lease lives.
const ARRIVE: &str = "#include <stdio.h>
#include <time.h>
#include <unistd.h>
int main(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    printf(\"%lld\\n\", (long long)now.tv_sec * 1000000000 + now.tv_nsec);
    fflush(stdout);
    close(1);
    for (;;) pause();
}\n";

/// Starts its arguments and prints the largest resident set (KiB) and the minor faults. A process
/// begins with its parent's resident set as its largest, so the parent must be as small as this.
const FOOTPRINT: &str = "#include <spawn.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
extern char **environ;
int main(int argc, char **argv) {
    pid_t pid; int status; struct rusage used; (void)argc;
    if (posix_spawn(&pid, argv[1], 0, 0, argv + 1, environ)) return 127;
    if (wait4(pid, &status, 0, &used) < 0) return 126;
    printf(\"%ld %ld\\n\", used.ru_maxrss, used.ru_minflt);
    return status != 0;
}\n";

pub struct Tools {
    pub noop: PathBuf,
    pub onward: PathBuf,
    pub gate: PathBuf,
    pub arrive: PathBuf,
    pub footprint: PathBuf,
}

impl Tools {
    pub fn build(dir: &Path) -> Self {
        let build = |name: &str, source: &str| {
            let (text, program) = (dir.join(format!("{name}.c")), dir.join(name));
            fs::write(&text, source).unwrap();
            let mut cc = Command::new("cc");
            cc.args(["-O2", "-static", "-s", "-o"]).arg(&program).arg(&text);
            let status = cc.status();
            assert!(status.is_ok_and(|status| status.success()), "cc cannot build {name}");
            program
        };
        Self {
            noop: build("noop", NOOP),
            onward: build("onward", ONWARD),
            gate: build("gate", GATE),
            arrive: build("arrive", ARRIVE),
            footprint: build("footprint", FOOTPRINT),
        }
    }
}
