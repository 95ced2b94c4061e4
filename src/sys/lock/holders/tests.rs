use super::super::{LockError, acquire, probe};
use super::*;
use std::fs::File as StdFile;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

#[test]
fn a_lock_of_others_is_not_taken_for_this_one() {
    let file = File { device: libc::makedev(0, 0x1a), inode: 12 };
    let lines = "\
1: FLOCK  ADVISORY  WRITE 101 00:1a:12 0 EOF
1: -> FLOCK  ADVISORY  WRITE 102 00:1a:12 0 EOF
2: FLOCK  ADVISORY  READ 103 00:1b:12 0 EOF
3: FLOCK  ADVISORY  READ 104 00:1a:112 0 EOF
4: POSIX  ADVISORY  WRITE 105 00:1a:12 0 EOF
5: FLOCK  ADVISORY  READ 106 00:1a:12 0 EOF
garbage
";
    let taken = file.taken_by(lines.lines());
    assert_eq!(taken.into_iter().collect::<Vec<_>>(), [(101, false), (106, true)]);
}

#[test]
fn all_who_share_the_lock_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let (path, paths) = (dir.path().join("lock"), Paths::default());
    drop(acquire(&path, Duration::ZERO, &paths).unwrap());
    let own = StdFile::open(&path).unwrap();
    own.lock_shared().unwrap();
    // The process that took it there has ended.
    let script = "exec 9<\"$0\"; flock -s 9; echo held; exec sleep 60";
    let mut child =
        Command::new("sh").args(["-c", script]).arg(&path).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let error = acquire(&path, Duration::from_millis(20), &paths).unwrap_err();
    // A shared lock goes with others.
    let probed = probe(&path, Duration::ZERO, &paths);
    let child_pid = i32::try_from(child.id()).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let LockError::Timeout { holders, .. } = &error else { panic!("{error}") };
    let own_pid = i32::try_from(std::process::id()).unwrap();
    let mut pids: Vec<i32> = holders.list.iter().map(|holder| holder.pid).collect();
    pids.sort_unstable();
    let mut expected = [own_pid, child_pid];
    expected.sort_unstable();
    assert_eq!(pids, expected, "{error}");
    assert!(holders.list.iter().all(|holder| holder.is_shared && !holder.is_ours));
    assert!(holders.list.iter().all(|holder| holder.container.is_none()));
    assert_eq!(holders.foreign().count(), 2);
    assert!(error.to_string().contains(&format!("process {child_pid} (sleep), shared")));
    assert!(probed.unwrap());
}

#[test]
fn a_holder_who_is_not_seen_is_said_to_be_so() {
    let none = |is_nested| LockHolders { list: Vec::new(), is_nested }.to_string();
    assert_eq!(none(false), "an unknown process");
    assert!(none(true).contains("not seen from this pid namespace"));
    let holder = |pid: i32, container: Option<&str>| LockHolder {
        pid,
        program: "a\u{202e}b".into(),
        is_ours: false,
        container: container.map(str::to_owned),
        is_shared: false,
    };
    let list = vec![holder(1, Some("web")), holder(2, None), holder(3, None), holder(4, None)];
    assert_eq!(
        LockHolders { list, is_nested: false }.to_string(),
        "process 1 (a\\u{202e}b) of container web and process 2 (a\\u{202e}b) and process 3 \
         (a\\u{202e}b) and 1 more"
    );
}

#[test]
fn the_container_is_told_by_the_cgroup() {
    let dir = tempfile::tempdir().unwrap();
    let paths =
        Paths { proc: dir.path().join("proc"), sys: dir.path().join("sys"), ..Paths::default() };
    let id = "3339fa72026165b3c928bbccd7867abdfae8074131c093711e06a1a0c6792da2";
    let place = |process: &str, mounts: u64, cgroup: &str| {
        let dir = paths.proc.join(process);
        fs::create_dir_all(dir.join("ns")).unwrap();
        let _ = fs::remove_file(dir.join("ns/mnt"));
        std::os::unix::fs::symlink(format!("mnt:[{mounts}]"), dir.join("ns/mnt")).unwrap();
        fs::write(dir.join("cgroup"), format!("0::{cgroup}\n")).unwrap();
        let cgroup = paths.sys.join("fs/cgroup").join(cgroup.trim_start_matches('/'));
        fs::create_dir_all(&cgroup).unwrap();
        let own = std::process::id().to_string();
        let pid = if process == "self" { &own } else { process };
        fs::write(cgroup.join("cgroup.procs"), format!("{pid}\n")).unwrap();
    };
    fs::create_dir_all(paths.sys.join("fs/cgroup")).unwrap();
    fs::write(paths.sys.join("fs/cgroup/cgroup.controllers"), "").unwrap();
    fs::create_dir_all(paths.proc.join("self")).unwrap();
    fs::write(paths.proc.join("self/mountinfo"), "").unwrap();
    place("self", 1, "/user/session");
    for (mounts, cgroup, container) in [
        (2, format!("/docker/{id}"), Some("3339fa720261")),
        (2, format!("/system.slice/docker-{id}.scope"), Some("3339fa720261")),
        (2, format!("/machine.slice/libpod-{id}.scope/container"), Some("3339fa720261")),
        (2, format!("/kubepods/pod0/cri-containerd-{id}.scope"), Some("3339fa720261")),
        (2, "/batch/web".to_owned(), Some("web")),
        (1, format!("/docker/{id}"), None),
        (1, "/batch/web".to_owned(), None),
    ] {
        place("7", mounts, &cgroup);
        assert_eq!(container_of(7, &paths).as_deref(), container, "{mounts} {cgroup}");
    }
}
