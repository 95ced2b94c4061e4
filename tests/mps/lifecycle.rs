//! A daemon's life from the first lease to the last.

use crate::node::{Node, cgroup_roots};
use crate::support::{eventually, needs_root, ok, stderr};
use gpulease::door::model::lease::MpsSeat;
use gpulease::door::model::quantity::Bytes;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

#[test]
fn the_daemon_lives_from_first_to_last_lease() {
    needs_root!();
    let node = Node::new();
    let first = node.lease("a", 250, 4096);
    let attached = node.attached(&first);
    assert_eq!(attached["pipe"], node.place().join("pipe").to_str().unwrap());
    assert_eq!(attached["shm"], node.place().join("shm").to_str().unwrap());
    assert_eq!(attached["adopted"], false);
    assert_eq!(node.limits(), ("25.0".to_owned(), "4G".to_owned()));
    let pid = node.daemon_pid();
    // The second lease has the same daemon, and the limit is the larger share.
    let second = node.lease("b", 505, 1000);
    assert_eq!(node.attached(&second), attached);
    assert_eq!(node.daemon_pid(), pid);
    assert_eq!(node.limits(), ("50.0".to_owned(), "4G".to_owned()));
    // With a lease the daemon stays, and its limit is that share.
    node.release(&second);
    node.reap();
    assert_eq!(node.processes(), [pid]);
    assert_eq!(node.limits(), ("25.0".to_owned(), "4G".to_owned()));
    node.release(&first);
    node.reap();
    node.assert_nothing_left();
    // And again.
    let third = node.lease("c", 100, 512);
    node.attached(&third);
    assert_eq!(node.limits(), ("10.0".to_owned(), "512M".to_owned()));
    node.release(&third);
    node.reap();
}

/// The daemon answers with whole GiB, rounded down, from 1024 MiB on.
#[test]
fn shares_of_any_size_are_set_and_read_back() {
    needs_root!();
    let node = Node::new();
    for (mib, told) in [
        (1, "1M"),
        (1023, "1023M"),
        (1024, "1G"),
        (1025, "1G"),
        (1536, "1G"),
        (22691, "22G"),
        (40552, "39G"),
    ] {
        let lease = node.lease("a", 250, mib);
        node.attached(&lease);
        assert_eq!(node.limits().1, told, "{mib} MiB");
        let log = fs::read_to_string(node.place().join("log/control.log")).unwrap();
        let set = log.lines().rev().find(|line| line.contains("Cmd:set_default_device_pinned"));
        assert!(set.unwrap().ends_with(&format!("limit 0 {mib}M")), "{set:?}");
    }
    // Less than a MiB is one: an amount of 0 would be no limit at all.
    let mut lease = node.lease("a", 5, 1);
    lease.devices[0].memory_bytes = Some(Bytes(1 << 19));
    node.put(&lease);
    node.attached(&lease);
    assert_eq!(node.limits(), ("1.0".to_owned(), "1M".to_owned()));
    // Without a share of memory there is none.
    lease.devices[0].memory_bytes = None;
    node.put(&lease);
    node.attached(&lease);
    assert_eq!(node.limits().1, "");
    node.release(&lease);
    node.reap();
}

#[test]
fn a_forced_release_keeps_a_daemon_in_use() {
    needs_root!();
    let node = Node::new();
    let lease = node.lease("a", 500, 1024);
    node.attached(&lease);
    let release = |args: &[&str]| ok(node.cli(&[&["release", "a"], args].concat()));
    release(&["--force"]);
    assert_eq!(node.processes(), [node.daemon_pid()], "its container still computes by it");
    // The same of a container that is gone.
    let mut dead = node.lease("a", 500, 1024);
    node.attached(&dead);
    "of another boot".clone_into(&mut dead.owner.boot_id);
    node.put(&dead);
    release(&[]);
    eventually(|| node.left().is_empty());
}

#[test]
fn a_daemon_has_nothing_of_its_starter() {
    needs_root!();
    let node = Node::new();
    let lease = node.lease("a", 500, 1024);
    node.attached(&lease);
    let mode = |name: &str| fs::metadata(node.place().join(name)).unwrap().permissions().mode();
    assert_eq!(mode("") & 0o7777, 0o755);
    assert_eq!(mode("pipe") & 0o7777, 0o755);
    assert_eq!(mode("log") & 0o7777, 0o700);
    assert_eq!(mode("shm") & 0o7777, 0o1777);
    assert_eq!(mode("journal.json") & 0o7777, 0o600);
    let pid = node.daemon_pid();
    let proc = |name: &str| format!("/proc/{pid}/{name}");
    // Its own session, and nothing of ours open.
    let stat = fs::read_to_string(proc("stat")).unwrap();
    let session = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(3).unwrap().to_owned();
    assert_eq!(session, pid.to_string());
    let open = |fd: u32| fs::read_link(proc(&format!("fd/{fd}"))).unwrap();
    assert_eq!(open(0), Path::new("/dev/null"));
    let log = node.place().join("log/control.log");
    assert_eq!((open(1), open(2)), (log.clone(), log));
    // Its own /dev/shm, which is the one that clients are given.
    let id = |path: String| fs::metadata(path).map(|m| (m.dev(), m.ino())).unwrap();
    let shm = id(node.place().join("shm").display().to_string());
    assert_eq!(id(proc("root/dev/shm")), shm);
    assert_ne!(id("/dev/shm".to_owned()), shm);
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let shm = node.place().join("shm").display().to_string();
    let line = mounts.lines().find(|line| line.contains(&shm)).unwrap();
    assert!(line.contains("nosuid,nodev,noexec"), "{line}");
    // Its own cgroup, wherever there is a hierarchy that counts.
    let roots =
        cgroup_roots().into_iter().filter(|r| r.parent().unwrap().join("cgroup.procs").exists());
    for root in roots {
        let procs = fs::read_to_string(root.join(&node.uuid).join("cgroup.procs")).unwrap();
        assert_eq!(procs.trim(), pid.to_string(), "{}", root.display());
    }
    let environ = fs::read_to_string(proc("environ")).unwrap();
    let names: Vec<&str> = environ.split('\0').filter_map(|pair| pair.split('=').next()).collect();
    let mut names: Vec<&str> = names.into_iter().filter(|name| !name.is_empty()).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        ["CUDA_MPS_LOG_DIRECTORY", "CUDA_MPS_PIPE_DIRECTORY", "CUDA_VISIBLE_DEVICES", "PATH"]
    );
    assert!(environ.contains(&format!("CUDA_VISIBLE_DEVICES={}", node.uuid)));
    assert_eq!(fs::read_to_string(proc("oom_score_adj")).unwrap().trim(), "0");
    node.release(&lease);
    node.reap();
}

#[test]
fn a_daemon_inherits_neither_files_nor_limits() {
    needs_root!();
    let node = Node::new();
    let lease = node.lease("a", 500, 1024);
    let attach = node.attach_command(&lease);
    let script = "ulimit -S -n 2000 && ulimit -S -c unlimited && ulimit -S -f 100000 &&
                  exec 9</dev/zero 1234</dev/zero \"$0\" \"$@\"";
    let mut caller = std::process::Command::new("bash");
    caller.args(["-c", script]).arg(attach.get_program()).args(attach.get_args());
    ok(caller.output().unwrap());
    let pid = node.daemon_pid();
    let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    let open: Vec<_> = open.filter_map(|entry| fs::read_link(entry.path()).ok()).collect();
    assert!(open.len() >= 3 && !open.contains(&"/dev/zero".into()), "{open:?}");
    let limit = |pid: i32, name: &str| {
        let text = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        line.trim_start_matches(name).split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    for name in ["Max open files", "Max file size", "Max locked memory", "Max processes"] {
        let (own, init) = (limit(pid, name), limit(1, name));
        // Without the right to raise the hard limit, the soft limit is raised to it.
        assert!(own[0] == init[0] || own[0] == own[1], "{name}: {own:?} {init:?}");
    }
    let files = limit(pid, "Max open files");
    assert_ne!(files[0], "2000");
    let core = limit(pid, "Max core file size");
    assert_eq!(core[..2], ["0", "0"]);
    node.release(&lease);
    node.reap();
}

#[test]
fn two_that_race_for_the_first_start_have_one_daemon() {
    needs_root!();
    let node = Node::new();
    for round in 0..12 {
        let leases = [node.lease("a", 300, 1024), node.lease("b", 400, 2048)];
        let racing = leases.each_ref().map(|lease| {
            let mut command = node.attach_command(lease);
            command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
            command.spawn().unwrap()
        });
        for child in racing {
            ok(child.wait_with_output().unwrap());
        }
        assert_eq!(node.processes(), [node.daemon_pid()], "round {round}");
        assert_eq!(node.limits(), ("40.0".to_owned(), "2G".to_owned()), "round {round}");
        leases.iter().for_each(|lease| node.release(lease));
        // Two processes race to end the daemon.
        let racing = [0, 1].map(|_| node.command(&["mps", "reap", "--now"]).spawn().unwrap());
        for mut child in racing {
            assert!(child.wait().unwrap().success());
        }
        node.assert_nothing_left();
    }
}

#[test]
fn a_pinned_share_limits_all_clients() {
    needs_root!();
    let node = Node::new();
    let mut pinned = node.lease("a", 300, 1024);
    pinned.mps.as_mut().unwrap().pinned = true;
    node.put(&pinned);
    node.attached(&pinned);
    // The allocator grants no larger share beside a pinned one. A larger one does not count here.
    let other = node.lease("b", 400, 512);
    node.attached(&other);
    assert_eq!(node.limits(), ("30.0".to_owned(), "1G".to_owned()));
    node.reap();
    assert_eq!(node.limits().0, "30.0");
    node.release(&pinned);
    node.reap();
    assert_eq!(
        node.limits(),
        ("40.0".to_owned(), "512M".to_owned()),
        "without a pinned share the largest counts"
    );
    node.release(&other);
    node.reap();
}

#[test]
fn each_lease_can_have_a_daemon_of_its_own() {
    needs_root!();
    let node = Node::with("daemon = \"lease\"\nstart_timeout = \"5s\"\nstop_grace = \"0s\"");
    let leases = [("a", 250, 1024), ("b", 500, 512)].map(|(name, milli, mib)| {
        let mut lease = node.lease(name, milli, mib);
        lease.mps.as_mut().unwrap().daemon = lease.id.to_string();
        node.put(&lease);
        lease
    });
    let pipes = leases.each_ref().map(|lease| {
        let attached = node.attached(lease);
        std::path::PathBuf::from(attached["pipe"].as_str().unwrap())
    });
    let limits = pipes.each_ref().map(|pipe| {
        (
            node.says(pipe, "get_default_active_thread_percentage"),
            node.says(pipe, "get_default_device_pinned_mem_limit 0"),
        )
    });
    let text = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(limits, [text("25.0", "1G"), text("50.0", "512M")]);
    assert_eq!(node.processes().len(), 2);
    node.release(&leases[0]);
    node.reap();
    assert_eq!(node.processes().len(), 1);
    assert!(!pipes[0].exists() && pipes[1].exists());
    node.release(&leases[1]);
    let seen = node.left();
    let cgroups = cgroup_roots();
    let of_leases = |id: &str| cgroups.iter().any(|root| root.join(id).exists());
    node.reap();
    assert!(!leases.iter().any(|lease| of_leases(lease.id.as_str())), "{seen:?}");
}

#[test]
fn of_several_daemons_all_are_stopped_or_none() {
    needs_root!();
    let node = Node::with("daemon = \"lease\"\nstart_timeout = \"5s\"\nstop_grace = \"0s\"");
    let leases = ["a", "b"].map(|name| {
        let mut lease = node.lease(name, 250, 1024);
        lease.mps.as_mut().unwrap().daemon = lease.id.to_string();
        node.put(&lease);
        node.attached(&lease);
        lease
    });
    let mut by_name = leases.each_ref().map(|lease| lease);
    by_name.sort_by(|a, b| a.id.as_str().cmp(b.id.as_str()));
    // The first could be stopped, the second is in use.
    node.release(by_name[0]);
    for args in [&["mps", "stop", "--all"], &["mps", "stop", "0"]] {
        let refused = node.cli(args);
        assert_eq!(refused.status.code(), Some(7), "{}", stderr(&refused));
        assert_eq!(node.processes().len(), 2, "{args:?}");
    }
    // A fault that shows only later is reported with the daemons that were stopped before: here a
    // directory cannot be removed, because another directory is mounted in it.
    let run = |program: &str, args: &[&Path]| {
        ok(std::process::Command::new(program).args(args).output().unwrap());
    };
    let theirs = node.path("theirs");
    let inner = node.run().join("mps").join(by_name[1].id.as_str()).join("inner");
    for dir in [&theirs, &inner] {
        fs::create_dir(dir).unwrap();
    }
    fs::write(theirs.join("precious"), "").unwrap();
    run("mount", &[Path::new("--bind"), &theirs, &inner]);
    node.release(by_name[1]);
    let failed = node.cli(&["mps", "stop", "--all", "--json"]);
    assert_eq!(failed.status.code(), Some(5), "{}", stderr(&failed));
    let done = format!("; stopped before that: {}", by_name[0].id);
    let json: serde_json::Value = serde_json::from_slice(&failed.stdout).unwrap();
    assert!(json["error"]["message"].as_str().unwrap().ends_with(&done), "{json}");
    assert!(stderr(&failed).contains(&done), "{}", stderr(&failed));
    run("umount", &[&inner]);
    assert!(theirs.join("precious").exists());
    let output = ok(node.cli(&["mps", "stop", "--all", "--json"]));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["stopped"], serde_json::json!([by_name[1].id]));
    node.assert_nothing_left();
}

#[test]
fn a_restart_within_the_grace_finds_its_daemon() {
    needs_root!();
    let node = Node::with("start_timeout = \"5s\"\nstop_grace = \"1s\"");
    let lease = node.lease("a", 250, 1024);
    node.attached(&lease);
    let pid = node.daemon_pid();
    node.release(&lease);
    let start = Instant::now();
    let mut reaper = node.command(&["mps", "reap"]).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(200));
    let again = node.lease("a", 250, 1024);
    node.attached(&again);
    assert!(reaper.wait().unwrap().success());
    assert!(start.elapsed() >= Duration::from_secs(1));
    assert_eq!(node.processes(), [pid]);
    node.release(&again);
    ok(node.cli(&["mps", "reap"]));
    node.assert_nothing_left();
}

#[test]
fn a_lease_whose_holder_is_dead_keeps_no_daemon() {
    needs_root!();
    let node = Node::new();
    let mut lease = node.lease("a", 250, 1024);
    node.attached(&lease);
    lease.owner.start_time += 1;
    node.put(&lease);
    node.reap();
    node.assert_nothing_left();
    // A grace keeps the devices, and no daemon.
    let mut lease = node.lease("b", 250, 1024);
    node.attached(&lease);
    lease.state = gpulease::door::model::lease::LeaseState::Grace;
    lease.grace_until_ms = Some(u64::MAX);
    node.put(&lease);
    node.reap();
    node.assert_nothing_left();
}

/// systemd ends a unit with all that is in its cgroup: an engine's, or that of a script with `runc`.
#[test]
fn the_reaper_leaves_its_callers_cgroup() {
    needs_root!();
    let node = Node::with("start_timeout = \"5s\"\nstop_grace = \"1s\"");
    let roots =
        cgroup_roots().into_iter().filter(|r| r.parent().unwrap().join("cgroup.procs").exists());
    let waiting: Vec<_> = roots.map(|root| root.join(".reap")).collect();
    assert!(!waiting.is_empty(), "no hierarchy that counts");
    let lease = node.lease("a", 250, 1024);
    node.attached(&lease);
    node.release(&lease);
    let mut reaper = node.command(&["mps", "reap"]).spawn().unwrap();
    let pid = reaper.id().to_string();
    for dir in &waiting {
        let lists = || {
            let procs = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
            procs.lines().any(|line| line == pid)
        };
        eventually(lists);
    }
    assert!(reaper.wait().unwrap().success());
    node.assert_nothing_left();
    // Other reapers may wait there meanwhile.
    let is_gone = |dir: &std::path::PathBuf| {
        fs::read_to_string(dir.join("cgroup.procs")).map_or(true, |procs| !procs.is_empty())
    };
    eventually(|| waiting.iter().all(is_gone));
}

#[test]
fn a_reap_uses_the_lease_directory_of_the_lease() {
    needs_root!();
    let node = Node::new();
    let lease = node.lease("a", 250, 1024);
    node.attached(&lease);
    node.release(&lease);
    let config = fs::read_to_string(node.path("c.toml")).unwrap();
    let edited = config.replace("/r\"", "/elsewhere\"");
    assert_ne!(edited, config);
    fs::write(node.path("c.toml"), edited).unwrap();
    node.reap();
    assert_eq!(node.processes().len(), 1, "it is another directory's");
    let run = node.run();
    ok(node.cli(&["mps", "reap", "--now", "--run-dir", run.to_str().unwrap()]));
    node.assert_nothing_left();
}

#[test]
fn by_hand_a_daemon_is_kept_until_it_is_stopped() {
    needs_root!();
    let node = Node::new();
    assert!(stderr(&node.cli(&["mps", "start", "7"])).contains("there is no device `7`"));
    // On a node that has had no lease since it was booted.
    fs::remove_dir_all(node.run()).unwrap();
    ok(node.cli(&["mps", "start", "0"]));
    assert_eq!(node.limits().0, "100.0");
    node.reap();
    let rows = node.rows();
    assert_eq!(rows.len(), 1);
    assert_eq!((&rows[0]["state"], &rows[0]["kept"]), (&"running".into(), &true.into()));
    let lease = node.lease("a", 250, 1024);
    node.attached(&lease);
    assert_eq!(node.limits().0, "25.0");
    let rows = node.rows();
    assert_eq!(rows[0]["leases"][0], lease.id.as_str());
    assert_eq!(rows[0]["active_thread_percentage"], "25.0");
    assert_eq!(rows[0]["pinned_memory_limit"], "1G");
    let refused = node.cli(&["mps", "stop", "0"]);
    let text = stderr(&refused);
    assert_eq!(refused.status.code(), Some(7), "{text}");
    assert!(text.contains(lease.id.as_str()) && text.contains("--force"), "{text}");
    assert_eq!(node.processes(), [node.daemon_pid()]);
    // Starting it again changes nothing but that it is kept.
    ok(node.cli(&["mps", "start", &node.uuid]));
    assert_eq!(node.limits().0, "25.0");
    ok(node.cli(&["mps", "stop", "--all", "--force"]));
    node.assert_nothing_left();
    assert!(node.rows().is_empty());
    // A daemon that was stopped under a lease is started for the next one.
    node.attached(&lease);
    node.release(&lease);
    ok(node.cli(&["mps", "stop", &node.uuid]));
}

#[test]
fn status_shows_the_program_and_its_features() {
    needs_root!();
    let node = Node::new();
    let status = node.status();
    assert_eq!(status["control"]["program"], crate::node::control().to_str().unwrap());
    // The help of 550.163 has no options.
    assert_eq!(status["control"]["features"], serde_json::json!([]));
    let lease = node.lease("a", 250, 1024);
    node.attached(&lease);
    let text = String::from_utf8(ok(node.cli(&["mps", "status"])).stdout).unwrap();
    let line = text.lines().nth(1).unwrap();
    assert!(line.starts_with(&node.uuid[..8]) && !line.contains(&node.uuid), "{text}");
    let words: Vec<&str> = line.split_whitespace().collect();
    let pid = node.daemon_pid().to_string();
    assert_eq!(words[1..], ["0", &pid, "running", "1", "0", "0", "25.0%", "1Gi", "-"], "{text}");
    let wide = String::from_utf8(ok(node.cli(&["mps", "status", "--wide"])).stdout).unwrap();
    assert!(wide.lines().any(|line| line.contains(&node.uuid)), "{wide}");
    let refused = stderr(&node.cli(&["mps", "stop"]));
    assert!(refused.contains("<DEVICE|--all>"), "{refused}");
    let mut gone = lease.clone();
    gone.mps = Some(MpsSeat { daemon: "../x".into(), ..lease.mps.clone().unwrap() });
    node.put(&gone);
    assert!(node.refused(&lease).contains("strange name"));
    node.release(&lease);
    node.reap();
    eventually(|| node.processes().is_empty());
}
