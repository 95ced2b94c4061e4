//! Everything that is none of our business reaches the low-level runtime as it came. The runtime
//! here writes down all that a program can see of how it was called; the same call without the
//! shim says what that should be.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod support;

use serde_json::Value;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use support::{HOOK, Host, SHIM, STUB, needs_root, ok, stderr};

/// Writes down arguments, environment, directory, descriptors, signals and stdin, and ends with
/// the status that it finds in a file.
const RECORDER: &str = r#"#!/bin/sh
r=$(dirname "$0")/record
rm -rf --one-file-system "$r"
mkdir "$r"
echo $$ >"$r/pid"
pwd -P >"$r/cwd"
[ $# = 0 ] || printf '%s\0' "$@" >"$r/args"
# Not the shell's idea of the environment, which has no names that it could not hold.
cat /proc/$$/environ >"$r/env"
grep PPid /proc/$$/status >"$r/parent"
# Of a child: a shell blocks signals itself while it starts one.
grep -E '^Sig(Blk|Ign)' /proc/self/status >"$r/signals"
for fd in 3 4 5 6 7 8 9; do
    [ ! -e /proc/$$/fd/$fd ] || [ "$(readlink /proc/$$/fd/$fd)" = "$(readlink -f "$0")" ] ||
        echo "$fd $(readlink /proc/$$/fd/$fd)"
done >"$r/fds"
cat >"$r/stdin"
echo "recorder's own words"
echo "recorder complains" >&2
status=$(cat "$(dirname "$0")/status")
[ "$status" != kill ] || kill -9 $$
exit "$status"
"#;

/// What was recorded, without what differs from one process to the next.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    args: Vec<OsString>,
    env: Vec<OsString>,
    cwd: String,
    parent: String,
    signals: String,
    fds: String,
    stdin: Vec<u8>,
}

struct Recorder {
    host: Host,
    program: PathBuf,
}

impl Recorder {
    fn new() -> Self {
        let host = Host::new("mixed4");
        let program = host.path("recorder");
        fs::write(&program, RECORDER).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        host.configure(&program, "");
        let recorder = Self { host, program };
        recorder.status("0");
        recorder
    }

    fn status(&self, status: &str) {
        fs::write(self.host.path("status"), status).unwrap();
    }

    fn seen(&self) -> Seen {
        let read = |name: &str| fs::read(self.host.path("record").join(name)).unwrap_or_default();
        let list = |name: &str| -> Vec<OsString> {
            let bytes = read(name);
            let mut words: Vec<_> = bytes.split(|b| *b == 0).collect();
            assert_eq!(words.pop(), Some(&b""[..]), "the last word ends too");
            words.into_iter().map(|word| OsString::from_vec(word.to_vec())).collect()
        };
        let text = |name: &str| String::from_utf8(read(name)).unwrap();
        Seen {
            args: list("args"),
            env: list("env"),
            cwd: text("cwd"),
            parent: text("parent"),
            signals: text("signals"),
            fds: text("fds"),
            stdin: read("stdin"),
        }
    }

    fn pid(&self) -> u32 {
        fs::read_to_string(self.host.path("record/pid")).unwrap().trim().parse().unwrap()
    }

    /// Calls `program` as engines call a runtime: own directory, an odd environment, an extra
    /// descriptor, something on stdin. Gives the output and the child's pid.
    fn call(&self, program: &Path, args: &[&OsStr]) -> (Output, u32) {
        let extra = fs::File::create(self.host.path("extra")).unwrap();
        let fd = extra.as_raw_fd();
        let mut command = Command::new(program);
        command
            .args(args)
            .env_clear()
            .env("PATH", "/nowhere:/usr/bin:/bin")
            .env("EMPTY", "")
            .env("NOTIFY_SOCKET", "/run/x=y")
            .env("not a name", "kept")
            .env("BYTES", OsStr::from_bytes(b"\xff\xfe"))
            .env("XDG_RUNTIME_DIR", self.host.path("xdg"))
            .current_dir(self.host.path("bundles"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        // SAFETY: dup2 and signal are async-signal-safe.
        #[allow(unsafe_code, reason = "a descriptor above 2 cannot be passed on otherwise")]
        unsafe {
            command.pre_exec(move || {
                if libc::dup2(fd, 5) < 0 {
                    return Err(std::io::Error::last_os_error());
                }
                libc::signal(libc::SIGPIPE, libc::SIG_DFL);
                libc::signal(libc::SIGHUP, libc::SIG_IGN);
                Ok(())
            });
        }
        let mut child = command.spawn().unwrap();
        let pid = child.id();
        // A runtime that reads no stdin is none of our errors.
        let _ = child.stdin.take().unwrap().write_all(b"{\"memory\":{\"limit\":1}}\0\xff");
        (child.wait_with_output().unwrap(), pid)
    }

    /// The same call with and without the shim, in front of which stand `ours`.
    #[track_caller]
    fn compare_with(&self, ours: &[&OsStr], args: &[&OsStr]) {
        let (plain, _) = self.call(&self.program, args);
        let expected = self.seen();
        let words: Vec<&OsStr> = ours.iter().chain(args).copied().collect();
        let (shim, pid) = self.call(Path::new(SHIM), &words);
        assert_eq!(self.seen(), expected, "{args:?}");
        assert_eq!(expected.args, args, "the recorder is right");
        assert_eq!(self.pid(), pid, "{args:?}: the shim became the runtime");
        assert_eq!(shim.status, plain.status, "{args:?}");
        assert_eq!(shim.stdout, plain.stdout, "{args:?}");
        assert_eq!(shim.stderr, plain.stderr, "{args:?}");
    }

    #[track_caller]
    fn compare(&self, args: &[&str]) {
        let config = self.host.config();
        let args: Vec<&OsStr> = args.iter().map(OsStr::new).collect();
        self.compare_with(&[OsStr::new("--gpulease-config"), config.as_os_str()], &args);
    }
}

/// What containerd, Docker, Podman, CRI-O, buildah and people say to a runtime.
const CALLS: &[&str] = &[
    // containerd and Docker
    "G start C",
    "G kill C 9",
    "G kill --all C 9",
    "G --systemd-cgroup pause C",
    "G resume C",
    "G ps --format json C",
    "G update --resources - C",
    "G update --resources=- C",
    "G checkpoint --image-path /i --work-path /w --leave-running C",
    "G exec --process /tmp/runc-process1 --console-socket /s --detach --pid-file /f C",
    "G exec --process /tmp/runc-process1 --detach --pid-file /f C",
    "G delete C",
    "G delete --force C",
    "G create --bundle /nowhere --pid-file /nowhere/init.pid --no-pivot --preserve-fds 2 C",
    "G restore --image-path /i --work-path /w --detach --no-subreaper --bundle /nowhere C",
    "features",
    // Podman and CRI-O
    "--log-format=json --log /tmp/oci-log delete --force C",
    "--cgroup-manager=disabled --systemd-cgroup create --bundle B --pid-file P C",
    "--root=/run/r kill C 15",
    "--root /run/r --systemd-cgroup state C",
    "update --resources=/tmp/r.json C",
    // buildah, people, and what does not exist
    "state C",
    "events --stats C",
    "events --interval 1s C",
    "list",
    "list -f json --quiet",
    "spec --rootless",
    "run C",
    "run --bundle /nowhere C",
    "exec -t -e A=B -u 1:2 C sh -c --gpulease-config /x",
    "exec C --version",
    "kill C -- -1",
    "--debug --rootless=auto --criu /usr/bin/criu state C",
    "--help",
    "-h",
    "help create",
    "start --help",
    "frobnicate --gpulease C --version -v",
    "--unknown-flag state C",
    "--unknown-flag value state C",
    "state",
    "state ../../etc/passwd",
    "state ..",
    "delete -f /",
    "create",
    "delete",
    "exec",
    "-- state C",
    "",
];

fn words(line: &str) -> Vec<&str> {
    const GLOBALS: &[&str] =
        &["--root", "/run/containerd/runc/moby", "--log", "/tmp/l.json", "--log-format", "json"];
    let mut words: Vec<&str> = line.split_whitespace().collect();
    if words.first() == Some(&"G") {
        words.splice(..1, GLOBALS.iter().copied());
    }
    words
}

#[test]
fn every_call_arrives_as_it_was_made() {
    needs_root!();
    let recorder = Recorder::new();
    for line in CALLS {
        recorder.compare(&words(line));
    }
    assert!(!recorder.host.run_dir().exists(), "nobody asked for anything");
    let seen = recorder.seen();
    assert!(seen.fds.contains("5 ") && seen.fds.contains("extra"), "{seen:?}");
    assert!(seen.stdin.ends_with(b"\0\xff"));
    assert!(seen.env.contains(&OsString::from("not a name=kept")), "{seen:?}");
}

#[test]
fn words_that_are_no_text_arrive_too() {
    needs_root!();
    let recorder = Recorder::new();
    let odd = OsStr::from_bytes(b"c\xff\xfe\n");
    let config = recorder.host.config();
    let joined = format!("--gpulease-config={}", config.display());
    for args in [
        &["state".as_ref(), odd][..],
        &["exec".as_ref(), odd, "".as_ref(), " ".as_ref(), odd],
        &["--root".as_ref(), odd, "kill".as_ref(), "c".as_ref(), "".as_ref()],
        &[odd, odd],
        &["delete".as_ref(), "--force".as_ref(), odd],
    ] {
        recorder.compare_with(&["--gpulease-config".as_ref(), config.as_os_str()], args);
        recorder.compare_with(&[joined.as_ref()], args);
    }
    // Ours anywhere before the verb, and the verb's own words never.
    let (_, _) = recorder.call(
        Path::new(SHIM),
        &["--debug".as_ref(), joined.as_ref(), "exec".as_ref(), "c".as_ref(), joined.as_ref()],
    );
    assert_eq!(recorder.seen().args, ["--debug", "exec", "c", joined.as_str()]);
}

#[test]
fn exit_statuses_and_signals_come_back() {
    needs_root!();
    let recorder = Recorder::new();
    for status in ["0", "1", "3", "125", "255", "kill"] {
        recorder.status(status);
        for line in
            ["state C", "run --bundle /nowhere C", "exec C sh", "delete --force C", "frobnicate"]
        {
            recorder.compare(&words(line));
        }
    }
}

#[test]
fn a_pipe_that_nobody_reads_kills_as_it_always_did() {
    needs_root!();
    let host = Host::new("mixed4");
    let program = host.path("talker");
    fs::write(&program, "#!/bin/sh\nsleep 0.2\nexec yes\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    host.configure(&program, "");
    let mut child = host.shim().arg("state").arg("c").stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGPIPE));
}

/// A container with a lease: its delete cannot be handed over by execve, yet nobody may notice.
#[test]
fn the_delete_of_a_leased_container_looks_the_same() {
    needs_root!();
    let recorder = Recorder::new();
    let host = &recorder.host;
    for (status, code) in [("0", Some(0)), ("1", Some(1)), ("42", Some(42)), ("kill", Some(137))] {
        host.configure(Path::new(STUB), "");
        ok(host.start("web", &[("gpulease/count", "1")]));
        host.kill("web");
        host.configure(&recorder.program, "");
        recorder.status(status);
        let root = host.root();
        let args = ["--root", root.to_str().unwrap(), "delete", "--force", "web"];
        let args: Vec<&OsStr> = args.iter().map(OsStr::new).collect();
        let (plain, _) = recorder.call(&recorder.program, &args);
        let expected = recorder.seen();
        let config = host.config();
        let words = [&["--gpulease-config".as_ref(), config.as_os_str()][..], &args].concat();
        let (shim, pid) = recorder.call(Path::new(SHIM), &words);
        let mut seen = recorder.seen();
        // Only here is there a process in between.
        assert_eq!(seen.parent, format!("PPid:\t{pid}\n"));
        seen.parent.clone_from(&expected.parent);
        assert_eq!(seen, expected);
        assert_ne!(recorder.pid(), pid);
        assert_eq!((&shim.stdout, &shim.stderr), (&plain.stdout, &plain.stderr));
        assert_eq!(shim.status.code(), code);
        assert!(host.leases().is_empty());
        fs::remove_dir_all(host.root().join("web")).unwrap();
    }
}

#[test]
fn version_is_the_runtimes_and_then_ours() {
    needs_root!();
    let recorder = Recorder::new();
    let text = |output: &Output| String::from_utf8(output.stdout.clone()).unwrap();
    for option in ["--version", "-v"] {
        let output = recorder.host.shim().arg(option).output().unwrap();
        let text = text(&output);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "recorder's own words");
        assert_eq!(lines.len(), 2, "{text}");
        // Docker takes the last line with these words for the runtime's.
        assert!(lines[1].starts_with("gpulease-runtime: "), "{text}");
        assert!(!lines[1].contains("version") && !lines[1].contains("commit:"), "{text}");
        assert!(output.status.success());
        assert_eq!(stderr(&output), "recorder complains\n");
    }
    recorder.status("4");
    assert!(!recorder.host.shim().arg("--version").status().unwrap().success());
    for runtime in ["/usr/sbin/runc", "/usr/bin/crun"] {
        let plain = Command::new(runtime)
            .arg("--root")
            .arg(recorder.host.root())
            .arg("--version")
            .output()
            .unwrap();
        recorder.host.configure(Path::new(runtime), "");
        let ours = recorder.host.shim().arg("--version").output().unwrap();
        let (plain, ours) = (text(&plain), text(&ours));
        assert!(plain.contains("version") && ours.starts_with(&plain), "{ours}");
        assert_eq!(ours.lines().count(), plain.lines().count() + 1);
    }
}

// ---- which runtime ----

/// Who was called: the stub keeps a record.
fn stub_was_called(host: &Host, command: &mut Command) -> bool {
    let record = host.path("record.jsonl");
    let _ = fs::remove_file(&record);
    command.env("STUB_RECORD", &record).output().unwrap();
    let text = fs::read_to_string(record).unwrap_or_default();
    text.lines().count() == 1
        && serde_json::from_str::<Value>(text.trim()).is_ok_and(|call| call["args"].is_array())
}

#[test]
fn a_broken_configuration_keeps_the_last_runtime() {
    needs_root!();
    // The file cannot say where the state is, so this is about the default place; a private one.
    let host = Host::new("mixed4");
    let good = fs::read_to_string(host.config()).unwrap();
    let good = good.replace(&host.run_dir().display().to_string(), "/run/gpulease");
    fs::write(host.path("etc/good.toml"), &good).unwrap();
    fs::write(host.path("etc/config.toml"), "runtime = [[[\n").unwrap();
    fs::write(host.path("etc/typed.toml"), "runtime = 7\n").unwrap();
    host.bundle("web", &[("gpulease/count", "1")]);
    let script = r#"
        set -e
        mount -t tmpfs none /run
        call() { "$SHIM" --gpulease-config "$DIR/etc/$1.toml" --root "$DIR/root" $2; }
        export STUB_RECORD="$DIR/before"
        call config "state c" >/dev/null 2>&1 || true
        export STUB_RECORD="$DIR/ignore"
        call good "create --bundle $DIR/bundles/web --pid-file $DIR/bundles/web/pid web"
        export STUB_RECORD="$DIR/after"
        call config "state c"
        call typed "kill c 9"
        call config "create --bundle /nowhere d" || true
        call good "delete --force web"
        cat /run/gpulease/runtime
    "#;
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", script])
        .env("SHIM", SHIM)
        .env("DIR", host.path(""))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let output = ok(output);
    assert!(said.trim_end().ends_with(STUB), "{said} {}", stderr(&output));
    assert!(!host.path("before").exists(), "without a last choice it is runc or crun");
    let after = fs::read_to_string(host.path("after")).unwrap();
    let verbs: Vec<bool> = ["state", "kill", "create", "delete"]
        .iter()
        .map(|verb| after.lines().any(|line| line.contains(&format!("\"{verb}\""))))
        .collect();
    assert_eq!(verbs, [true; 4], "{after}");
}

#[test]
fn a_mistake_elsewhere_in_the_file_leaves_its_runtime() {
    needs_root!();
    let host = Host::new("mixed4");
    for more in ["runtimes = 1", "[policy]\ninjected = \"maybe\"", "driver = \"warp\""] {
        host.configure(Path::new(STUB), more);
        assert!(stub_was_called(&host, host.shim().args(["state", "c"])), "{more}");
        assert!(stub_was_called(&host, host.shim().args(["delete", "c"])), "{more}");
    }
    // By the variable as well as by the option.
    let mut command = Command::new(SHIM);
    command.env("GPULEASE_CONFIG", host.config()).args(["--root", "/nowhere", "state", "c"]);
    assert!(stub_was_called(&host, &mut command));
}

#[test]
fn a_runtime_that_cannot_be_is_said_so() {
    needs_root!();
    let host = Host::new("mixed4");
    let link = host.path("runc");
    std::os::unix::fs::symlink(SHIM, &link).unwrap();
    let plain = host.path("plain");
    fs::write(&plain, "no program").unwrap();
    let absent = host.path("absent");
    for (runtime, word) in [
        (Path::new(SHIM), "itself"),
        (link.as_path(), "itself"),
        (absent.as_path(), "not a file"),
        (host.path("etc").as_path(), "not a file"),
        (plain.as_path(), "cannot"),
    ] {
        host.configure(runtime, "");
        for args in
            [&["state", "c"][..], &["run", "c"], &["delete", "c"], &["--version"], &["features"]]
        {
            let output = host.shim().args(args).output().unwrap();
            let text = stderr(&output);
            assert_eq!(output.status.code(), Some(1), "{args:?}: {text}");
            assert!(text.starts_with("gpulease: no-runtime: "), "{args:?}: {text}");
            assert!(text.contains(word) && text.contains(&*runtime.to_string_lossy()), "{text}");
            assert_eq!(text.trim_end().lines().count(), 1, "{text}");
            assert!(output.stdout.is_empty());
        }
    }
}

// ---- containers without a request look at nothing of ours ----

/// The system calls on files, and flock, that the shim itself makes until it is the runtime.
fn trace(host: &Host, args: &[&str]) -> Vec<String> {
    let file = host.path("trace");
    let status = Command::new("strace")
        .args(["-f", "-e", "trace=file,flock", "-o"])
        .arg(&file)
        .arg(SHIM)
        .arg("--gpulease-config")
        .arg(host.config())
        .arg("--root")
        .arg(host.root())
        .args(args)
        .current_dir(host.path("bundles"))
        // -f waits for the container too.
        .env("STUB_LIFE_MS", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "strace: {status}");
    let text = fs::read_to_string(&file).unwrap();
    let calls: Vec<String> = text.lines().map(str::to_owned).collect();
    let starts: Vec<usize> =
        (0..calls.len()).filter(|index| calls[*index].contains("execve(")).collect();
    assert!(calls[starts[1]].contains(STUB), "{calls:?}");
    calls[starts[0] + 1..starts[1]].to_vec()
}

#[test]
fn without_a_request_podmans_hook_hands_the_spec_on() {
    needs_root!();
    let host = Host::new("mixed4");
    let spec = host.bundle("plain", &[("com.example/gpulease", "1")]).join("config.json");
    let trace = host.path("trace");
    let output = Command::new("strace")
        .args(["-e", "trace=file,flock,capset", "-o"])
        .arg(&trace)
        .args([HOOK, "precreate", "--gpulease-config"])
        .arg(host.config())
        .stdin(fs::File::open(&spec).unwrap())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(output.stdout, fs::read(&spec).unwrap());
    let calls = fs::read_to_string(&trace).unwrap();
    let (_, calls) = calls.split_once('\n').unwrap();
    for word in [&*host.config().to_string_lossy(), "capset(", "flock(", "/stat", "runc"] {
        assert!(!calls.contains(word), "{word} in {calls}");
    }
}

#[test]
fn without_a_request_nothing_of_ours_is_looked_at() {
    needs_root!();
    let host = Host::new("mixed4");
    host.bundle("plain", &[("com.example/gpulease", "1")]);
    host.bundle("asks", &[("gpulease/count", "1")]);
    let looks = |calls: &[String]| -> Vec<String> {
        let ours = [host.run_dir(), host.path("etc/devices.toml"), "/run/gpulease".into()];
        let about = |call: &&String| {
            ours.iter().any(|path| call.contains(&*path.to_string_lossy()))
                || call.contains("flock(")
        };
        calls.iter().filter(about).cloned().collect()
    };
    let bundle = host.path("bundles/plain").display().to_string();
    for args in [
        &["create", "--bundle", &bundle, "plain"][..],
        &["run", "--bundle", &bundle, "plain2"],
        &["start", "plain"],
        &["state", "plain"],
        &["kill", "plain", "9"],
        &["list"],
    ] {
        let calls = trace(&host, args);
        assert_eq!(looks(&calls), Vec::<String>::new(), "{args:?}");
        // Of this host's files: the configuration, the bundle, and the runtime's state.
        let mine = host.path("").display().to_string();
        for call in calls.iter().filter(|call| call.contains(&mine)) {
            let known =
                ["/etc/config.toml\"", "/etc\"", "/bundles\"", "/config.json\"", "/root/plain"];
            assert!(known.iter().any(|path| call.contains(path)), "{args:?}: {call}");
            assert!(!call.contains("O_WRONLY") && !call.contains("O_RDWR"), "{call}");
        }
    }
    // The control: one that asks does look.
    let bundle = host.path("bundles/asks").display().to_string();
    let asks = trace_of_request(&host, &bundle);
    assert!(looks(&asks).iter().any(|call| call.contains("flock(")), "{asks:?}");
    for name in ["plain", "plain2", "asks"] {
        ok(host.shim().args(["delete", "--force", name]).output().unwrap());
    }
}

/// As [`trace`], but of a shim that runs other programs first: all calls count.
fn trace_of_request(host: &Host, bundle: &str) -> Vec<String> {
    ok(host.shim().args(["list"]).output().unwrap());
    let file = host.path("trace");
    let status = Command::new("strace")
        .args(["-e", "trace=file,flock", "-o"])
        .arg(&file)
        .arg(SHIM)
        .arg("--gpulease-config")
        .arg(host.config())
        .arg("--root")
        .arg(host.root())
        .args(["create", "--bundle", bundle, "--pid-file"])
        .arg(host.path("bundles/asks/pid"))
        .arg("asks")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    fs::read_to_string(&file).unwrap().lines().map(str::to_owned).collect()
}
