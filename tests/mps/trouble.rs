//! Obstacles and damage.

use crate::node::{Node, control, kill};
use crate::support::{eventually, needs_root, ok, stderr};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;
use std::time::Duration;

#[test]
fn an_unreadable_journal_blocks_nothing() {
    needs_root!();
    for garbage in ["", "{", "[]", "{\"v\":99}", "\u{0}\u{1b}[31m"] {
        let node = Node::new();
        let lease = node.lease("a", 250, 1024);
        node.attached(&lease);
        let pid = node.daemon_pid();
        fs::write(node.place().join("journal.json"), garbage).unwrap();
        let row = &node.rows()[0];
        assert_eq!((&row["state"], row["pid"].as_i64()), (&"running".into(), Some(pid.into())));
        assert!(row["why"].as_str().unwrap().contains("journal cannot be read"), "{row}");
        // The daemon runs, and is found by its pipe directory.
        node.attached(&lease);
        assert_eq!((node.daemon_pid(), node.processes()), (pid, vec![pid]));
        kill(pid);
        fs::write(node.place().join("journal.json"), garbage).unwrap();
        eventually(|| node.processes().is_empty());
        node.attached(&lease);
        fs::write(node.place().join("journal.json"), garbage).unwrap();
        node.release(&lease);
        node.reap();
    }
}

#[test]
fn a_link_in_the_place_of_a_directory_is_not_followed() {
    needs_root!();
    let node = Node::new();
    let lease = node.lease("a", 250, 1024);
    node.attached(&lease);
    let victim = node.path("victim");
    fs::create_dir(&victim).unwrap();
    fs::write(victim.join("file"), "").unwrap();
    let pipe = node.place().join("pipe");
    // A mount point cannot be renamed, but what was mounted on it can be taken away.
    ok(Command::new("umount").args(["-l"]).arg(&pipe).output().unwrap());
    fs::rename(&pipe, node.path("moved")).unwrap();
    symlink(&victim, &pipe).unwrap();
    assert!(node.refused(&lease).contains("not seen from here"));
    kill(node.daemon_pid());
    eventually(|| node.processes().is_empty());
    node.attached(&lease);
    assert!(!fs::symlink_metadata(&pipe).unwrap().is_symlink());
    node.release(&lease);
    node.reap();
    assert_eq!(fs::read_dir(&victim).unwrap().count(), 1);
    // The whole directory.
    symlink(&victim, node.place()).unwrap();
    let lease = node.lease("a", 250, 1024);
    assert!(node.refused(&lease).contains("root's alone"));
    assert_eq!(fs::read_dir(&victim).unwrap().count(), 1);
    node.release(&lease);
    node.reap();
}

#[test]
fn a_daemon_whose_mounts_are_not_seen_is_not_used() {
    needs_root!();
    let node = Node::new();
    let lease = node.lease("a", 250, 1024);
    node.attached(&lease);
    let command = node.attach_command(&lease);
    let words: Vec<_> = command.get_args().map(|word| word.to_str().unwrap().to_owned()).collect();
    for what in ["shm", "pipe"] {
        let elsewhere = Command::new("unshare")
            .args(["-m", "sh", "-c", "umount -l \"$0\" && exec \"$@\""])
            .arg(node.place().join(what))
            .arg(command.get_program())
            .args(&words)
            .output()
            .unwrap();
        let text = stderr(&elsewhere);
        assert_eq!(elsewhere.status.code(), Some(5), "{what}: {text}");
        assert!(text.contains("not seen from here") && text.contains("mount namespace"), "{text}");
    }
    node.attached(&lease);
    node.release(&lease);
    node.reap();
}

#[test]
fn a_full_disk_leaves_no_daemon() {
    needs_root!();
    let node = Node::new();
    let run = node.run();
    let mount = |size: &str| {
        let options = format!("{size},mode=755");
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &options, "none"]).arg(&run);
        ok(command.output().unwrap());
    };
    mount("size=64k");
    node.store().prepare(&node.paths()).unwrap();
    let lease = node.lease("a", 250, 1024);
    let mut fill = vec![b'x'; 64 << 10];
    while fs::write(run.join("fill"), &fill).is_err() {
        fill.truncate(fill.len() - 4096);
    }
    let text = node.refused(&lease);
    assert!(text.contains("No space left"), "{text}");
    node.processes().is_empty().then_some(()).unwrap();
    fs::remove_file(run.join("fill")).unwrap();
    node.attached(&lease);
    node.release(&lease);
    node.reap();
    let left = node.left();
    assert_eq!(left, [run.display().to_string()], "only what the test has mounted");
    ok(Command::new("umount").arg(&run).output().unwrap());
}

/// All directories that a container can write to are on file systems of the daemon's own.
#[test]
fn a_full_pipe_directory_blocks_no_lease() {
    needs_root!();
    let node = Node::new();
    let run = node.run();
    let mut mount = Command::new("mount");
    ok(mount.args(["-t", "tmpfs", "-o", "size=8m,mode=755", "none"]).arg(&run).output().unwrap());
    node.store().prepare(&node.paths()).unwrap();
    let first = node.lease("a", 250, 1024);
    node.attached(&first);
    let (pid, pipe) = (node.daemon_pid(), node.place().join("pipe"));
    let fill = || {
        // In the same mount namespace, as an ordinary user.
        let script = "cd \"$0\" && for f in *; do [ -f $f ] || continue
                      yes | head -c 100000000 >$f; done; touch x; df . | tail -1";
        let mut command = Command::new("setpriv");
        command.args(["--reuid=12345", "--regid=12345", "--clear-groups", "sh", "-c", script]);
        let output = command.arg(&pipe).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains("100%"), "it is full: {text} {}", stderr(&output));
        assert!(!pipe.join("x").exists());
    };
    fill();
    // Neither leases nor the daemon miss anything.
    let second = node.lease("b", 505, 2000);
    node.attached(&second);
    assert_eq!((node.daemon_pid(), node.limits()), (pid, ("50.0".to_owned(), "1G".to_owned())));
    kill(pid);
    eventually(|| node.processes().is_empty());
    node.attached(&second);
    assert_ne!(node.daemon_pid(), pid);
    fill();
    node.release(&first);
    node.release(&second);
    node.reap();
    assert_eq!(node.left(), [run.display().to_string()], "only what the test has mounted");
    ok(Command::new("umount").arg(&run).output().unwrap());
}

#[test]
fn a_program_that_is_none_leaves_nothing() {
    needs_root!();
    let node = Node::new();
    let lease = node.lease("a", 250, 1024);
    let script = node.path("nvidia-cuda-mps-control");
    let configure = |text: &str| {
        fs::write(&script, text).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        node.configure(&format!(
            "control = {script:?}\nstart_timeout = \"1s\"\nstop_grace = \"0s\""
        ));
    };
    // Programs that end at once, never answer, or answer with another limit.
    configure("#!/bin/sh\necho 'out of luck' >&2\nexit 3\n");
    let text = node.refused(&lease);
    assert!(text.contains("has ended") && text.contains("out of luck"), "{text}");
    node.assert_nothing_left();
    configure("#!/bin/sh\nexec sleep 60\n");
    assert!(node.refused(&lease).contains("does not answer"));
    node.assert_nothing_left();
    configure(
        "#!/bin/sh\nif [ \"$1\" = -f ]; then\n: >\"$CUDA_MPS_PIPE_DIRECTORY/control\"; exec sleep 60\n\
         fi\necho 99.0\n",
    );
    let text = node.refused(&lease);
    assert!(text.contains("the MPS daemon says 99.0"), "{text}");
    node.assert_nothing_left();
    // A program that others can write is not run at all.
    fs::set_permissions(&script, fs::Permissions::from_mode(0o777)).unwrap();
    assert!(node.refused(&lease).contains("not safe to use"));
    node.assert_nothing_left();
    node.configure(&format!("control = {:?}", node.path("none")));
    assert!(node.refused(&lease).contains("there is no program"));
    node.release(&lease);
    assert!(control().exists());
}

#[test]
fn only_the_start_that_recorded_a_lease_attaches_it() {
    needs_root!();
    let node = Node::new();
    let lease = node.lease("a", 250, 1024);
    let key = lease.key().unwrap().file_stem();
    let attach =
        |key: &str, nonce: &str| node.cli(&["mps", "attach", "--key", key, "--nonce", nonce]);
    let later = attach(&key, &"0".repeat(32));
    assert!(stderr(&later).contains("stale-hook"), "{}", stderr(&later));
    let strange = attach("../../etc/passwd", lease.nonce.as_str());
    assert!(stderr(&strange).contains("bad-request"), "{}", stderr(&strange));
    let mut seatless = lease.clone();
    seatless.mps = None;
    node.put(&seatless);
    assert!(node.refused(&lease).contains("no place at an MPS daemon"));
    node.release(&lease);
    assert!(stderr(&attach(&key, lease.nonce.as_str())).contains("stale-hook"));
    node.assert_nothing_left();
}

#[test]
fn an_unreadable_record_counts_as_a_client() {
    needs_root!();
    let node = Node::new();
    let lease = node.lease("a", 250, 1024);
    node.attached(&lease);
    let pid = node.daemon_pid();
    let other = node.lease("other", 300, 1024);
    let record =
        node.run().join("leases").join(format!("{}.json", other.key().unwrap().file_stem()));
    assert!(record.exists());
    fs::write(&record, "{").unwrap();
    // The unreadable lease may be pinned.
    let larger = node.lease("b", 505, 1024);
    let text = node.refused(&larger);
    assert!(text.contains("may serve container other, whose lease record"), "{text}");
    assert_eq!(node.limits().0, "25.0");
    assert_eq!(node.cli(&["mps", "start", "0"]).status.code(), Some(5));
    node.release(&lease);
    node.release(&larger);
    node.reap();
    let stop = node.cli(&["mps", "stop", "0"]);
    let text = stderr(&stop);
    assert!(text.contains("may be used by container other"), "{text}");
    assert_eq!((stop.status.code(), node.processes()), (Some(7), vec![pid]));
    ok(node.cli(&["mps", "stop", "0", "--force"]));
    node.assert_nothing_left();
    // A lease with a daemon of its own shares it with no other lease.
    let mut own = node.lease("own", 250, 1024);
    own.mps.as_mut().unwrap().daemon = own.id.to_string();
    node.put(&own);
    node.attached(&own);
    node.release(&own);
    fs::remove_file(&record).unwrap();
    node.reap();
}

/// While a record is replaced by one of another name, neither is there for a moment.
#[test]
fn decisions_about_leases_wait_for_their_lock() {
    needs_root!();
    let node = Node::new();
    let lease = node.lease("a", 250, 1024);
    let (paths, store) = (node.paths(), node.store());
    let waits = |command: &mut Command| {
        let ledger = store.lock(Duration::from_secs(10), &paths).unwrap();
        let mut child = command.stdout(std::process::Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(500));
        assert!(child.try_wait().unwrap().is_none(), "it has not waited: {command:?}");
        drop(ledger);
        assert!(child.wait().unwrap().success(), "{command:?}");
    };
    waits(&mut node.attach_command(&lease));
    waits(&mut node.command(&["mps", "start", "0"]));
    waits(&mut node.command(&["mps", "reap", "--now"]));
    waits(&mut node.command(&["mps", "stop", "0", "--force"]));
    node.release(&lease);
}

#[test]
fn a_too_long_run_dir_is_refused_in_words() {
    needs_root!();
    let node = Node::new();
    let long = node.path(&"x".repeat(60));
    fs::create_dir(&long).unwrap();
    let text = fs::read_to_string(node.path("c.toml")).unwrap();
    let text = text.replace(node.run().to_str().unwrap(), long.to_str().unwrap());
    fs::write(node.path("c.toml"), text).unwrap();
    let store = gpulease::door::store::Store::at(&long);
    store.prepare(&node.paths()).unwrap();
    let lease = node.lease("a", 250, 1024);
    let paths = node.paths();
    store.lock(std::time::Duration::from_secs(5), &paths).unwrap().put(&lease).unwrap();
    let text = node.refused(&lease);
    assert!(text.contains("less than 108") && text.contains("run_dir"), "{text}");
    assert!(fs::read_dir(long.join("mps")).unwrap().count() <= 1);
}
