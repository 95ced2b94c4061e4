use super::*;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A host whose processes are made up.
struct Proc {
    _dir: tempfile::TempDir,
    paths: Paths,
}

const OTHER: u64 = 4_026_532_700;

impl Proc {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths {
            proc: dir.path().join("proc"),
            sys: dir.path().join("sys"),
            ..Paths::default()
        };
        let proc = Self { _dir: dir, paths };
        proc.link("self", "pid", INITIAL_PID);
        proc.link("self", "cgroup", INITIAL_CGROUP);
        proc.link("self", "time", 1);
        proc.mounts("/", "rw");
        proc.write("self/status", "CapEff:\t0000000000000000\n");
        proc
    }

    fn write(&self, file: &str, text: &str) {
        let file = self.paths.proc.join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }

    fn link(&self, process: &str, kind: &str, inode: u64) {
        let dir = self.paths.proc.join(process).join("ns");
        fs::create_dir_all(&dir).unwrap();
        let _ = fs::remove_file(dir.join(kind));
        symlink(format!("{kind}:[{inode}]"), dir.join(kind)).unwrap();
    }

    fn mounts(&self, root: &str, proc_options: &str) {
        let (proc, sys) = (self.paths.proc.display(), self.paths.sys.display());
        self.write(
            "self/mountinfo",
            &format!(
                "30 20 0:26 {root} {sys}/fs/cgroup rw - cgroup2 cgroup rw\n\
                 31 20 0:27 / {proc} rw - proc proc {proc_options}\n"
            ),
        );
    }

    fn add(&self, pid: u32, namespace: u64, start_time: u64, state: char) {
        let zeros = "0 ".repeat(18);
        self.write(&format!("{pid}/stat"), &format!("{pid} (a b) {state} {zeros}{start_time} 0\n"));
        fs::create_dir_all(self.paths.proc.join(format!("{pid}/task/{pid}"))).unwrap();
        self.link(&pid.to_string(), "pid", namespace);
        self.link(&pid.to_string(), "time", 1);
    }

    /// The state of the namespace of a process that started at 500.
    fn seen(&self) -> RecordedNamespace {
        Here::look(&self.paths).namespace(OTHER, 500, &self.paths)
    }
}

#[test]
fn a_namespace_without_a_process_is_empty() {
    let proc = Proc::new();
    proc.add(1, INITIAL_PID, 1, 'S');
    assert_eq!(proc.seen(), RecordedNamespace::Empty);
    proc.add(70, OTHER, 400, 'S');
    assert_eq!(proc.seen(), RecordedNamespace::Populated);
    // Its first process has ended, and with it all others.
    proc.add(70, OTHER, 400, 'Z');
    assert_eq!(proc.seen(), RecordedNamespace::Empty);
    // This one's leader has ended, and its threads have not.
    fs::create_dir(proc.paths.proc.join("70/task/71")).unwrap();
    assert_eq!(proc.seen(), RecordedNamespace::Populated);
}

#[test]
fn a_number_that_was_given_anew_is_not_taken_for_it() {
    let proc = Proc::new();
    proc.add(80, OTHER, 501, 'S');
    assert_eq!(proc.seen(), RecordedNamespace::Empty);
    // By another clock it may be older.
    proc.link("80", "time", 2);
    assert_eq!(proc.seen(), RecordedNamespace::Populated);
    proc.link("80", "time", 1);
    proc.add(81, OTHER, 500, 'S');
    assert_eq!(proc.seen(), RecordedNamespace::Populated);
}

#[test]
fn only_who_sees_all_of_the_host_says_so() {
    let proc = Proc::new();
    assert_eq!(proc.seen(), RecordedNamespace::Empty);
    proc.mounts("/docker/outer", "rw");
    assert_eq!(proc.seen(), RecordedNamespace::NotFromHere, "a part of the hierarchy");
    proc.mounts("/", "rw");
    proc.link("self", "cgroup", 4_026_532_701);
    assert_eq!(proc.seen(), RecordedNamespace::NotFromHere, "another cgroup namespace");
    proc.link("self", "cgroup", INITIAL_CGROUP);
    proc.link("self", "pid", 4_026_532_702);
    assert_eq!(proc.seen(), RecordedNamespace::NotFromHere, "another pid namespace");
    proc.link("self", "pid", OTHER);
    assert_eq!(proc.seen(), RecordedNamespace::Ours);
}

#[test]
fn what_is_hidden_may_be_there() {
    let proc = Proc::new();
    for (options, is_clear) in [
        ("rw,hidepid=invisible", false),
        ("rw,hidepid=2", false),
        ("rw,hidepid=off", true),
        ("rw", true),
    ] {
        proc.mounts("/", options);
        assert_eq!(proc.seen() == RecordedNamespace::Empty, is_clear, "{options}");
    }
    proc.mounts("/", "rw,hidepid=2");
    proc.write("self/status", "CapEff:\t0000000000080000\n");
    assert_eq!(proc.seen(), RecordedNamespace::Empty, "CAP_SYS_PTRACE");
    // A process whose link cannot be read: its status tells whether it is on the host.
    proc.add(90, OTHER, 400, 'S');
    let link = proc.paths.proc.join("90/ns/pid");
    fs::remove_file(&link).unwrap();
    symlink("unreadable", &link).unwrap();
    assert!(matches!(proc.seen(), RecordedNamespace::Unclear(why) if why.contains("process 90")));
    proc.write("90/status", "NSpid:\t90\t1\n");
    assert!(matches!(proc.seen(), RecordedNamespace::Unclear(_)));
    proc.write("90/status", "NSpid:\t90\n");
    assert_eq!(proc.seen(), RecordedNamespace::Empty);
}

#[test]
fn the_kernels_own_links_are_read() {
    let paths = Paths::default();
    let here = Here::look(&paths);
    let ours = namespace_inode(Path::new("/proc/self/ns/pid")).unwrap();
    assert_eq!(here.namespace(ours, 0, &paths), RecordedNamespace::Ours);
    assert_eq!(fs::metadata("/proc/self/ns/pid").unwrap().ino(), ours);
    let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    let dir = PathBuf::from(format!("/proc/{}", child.id()));
    assert!(proc_stat::start_of_living(&dir).is_some_and(|start| start > 0));
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(proc_stat::start_of_living(&dir), None);
}
