//! Programs and daemons that are killed at any step: the next attach or reap repairs the node.

use crate::node::{Node, cgroup_roots, kill};
use crate::support::{eventually, needs_root, ok};
use serde_json::json;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command};
use std::time::Duration;

/// Every point of a first attach, in their order.
const STARTING: &[&str] = &[
    "mps.locked",
    "mps.journalled",
    "mps.dirs-made",
    "mps.cgroups",
    "mps.spawned",
    "mps.recorded",
    "mps.ready",
    "mps.limited",
];

const ENDING: &[&str] =
    &["mps.reap.locked", "mps.stop.begun", "mps.stop.quit", "mps.stop.restored"];

#[test]
fn an_attach_that_is_killed_is_repaired_by_the_next() {
    needs_root!();
    for point in STARTING {
        let node = Node::new();
        let lease = node.lease("a", 250, 1024);
        node.attach_killed_at(&lease, point);
        let attached = node.attached(&lease);
        assert_eq!(attached["adopted"], false, "{point}");
        assert_eq!(node.processes(), [node.daemon_pid()], "{point}");
        assert_eq!(node.limits(), ("25.0".to_owned(), "1G".to_owned()), "{point}");
        node.release(&lease);
        node.reap();
        assert_eq!(node.left(), Vec::<String>::new(), "{point}");
    }
}

#[test]
fn an_attach_that_is_killed_is_repaired_by_a_reap() {
    needs_root!();
    for point in STARTING {
        let node = Node::new();
        let lease = node.lease("a", 250, 1024);
        node.attach_killed_at(&lease, point);
        node.release(&lease);
        node.reap();
        assert_eq!(node.left(), Vec::<String>::new(), "{point}");
    }
}

#[test]
fn the_next_reap_finishes_a_killed_one() {
    needs_root!();
    for point in ENDING {
        for attaches in [false, true] {
            let node = Node::new();
            let lease = node.lease("a", 250, 1024);
            node.attached(&lease);
            node.release(&lease);
            let mut reap = node.command(&["mps", "reap", "--now"]);
            let status = reap.env("GPULEASE_FAILPOINT", format!("{point}=kill")).status().unwrap();
            assert!(!status.success(), "{point}");
            if attaches {
                let lease = node.lease("b", 300, 2048);
                node.attached(&lease);
                assert_eq!(node.processes(), [node.daemon_pid()], "{point}");
                assert_eq!(node.limits(), ("30.0".to_owned(), "2G".to_owned()), "{point}");
                node.release(&lease);
            }
            node.reap();
            assert_eq!(node.left(), Vec::<String>::new(), "{point}");
        }
    }
}

#[test]
fn a_daemon_killed_between_leases_is_restarted() {
    needs_root!();
    let node = Node::new();
    let first = node.lease("a", 250, 1024);
    node.attached(&first);
    let killed = node.daemon_pid();
    kill(killed);
    eventually(|| node.processes().is_empty());
    assert_eq!(node.rows()[0]["state"], "dead");
    let pipe = node.place().join("pipe");
    assert!(pipe.join("nvidia-cuda-mps-control.pid").exists(), "nothing stale: nothing is tested");
    let second = node.lease("b", 500, 2048);
    node.attached(&second);
    assert_ne!(node.daemon_pid(), killed);
    assert_eq!(node.limits(), ("50.0".to_owned(), "2G".to_owned()));
    // A dead daemon without leases is cleaned away.
    kill(node.daemon_pid());
    node.release(&first);
    node.release(&second);
    node.reap();
}

#[test]
fn a_daemon_that_does_not_answer_makes_room() {
    needs_root!();
    let node = Node::with("start_timeout = \"3s\"\nstop_grace = \"0s\"");
    let lease = node.lease("a", 250, 1024);
    node.attached(&lease);
    let stopped = node.daemon_pid();
    let signal =
        |name: &str| ok(Command::new("kill").args([name, &stopped.to_string()]).output().unwrap());
    signal("-STOP");
    assert_eq!(node.rows()[0]["why"], "it runs and does not answer");
    node.attached(&lease);
    assert_ne!(node.daemon_pid(), stopped);
    assert_eq!(node.processes(), [node.daemon_pid()]);
    // A reap ends one, too.
    let stopped = node.daemon_pid();
    ok(Command::new("kill").args(["-STOP", &stopped.to_string()]).output().unwrap());
    node.release(&lease);
    node.reap();
}

#[test]
fn what_was_before_the_last_boot_is_nothing() {
    needs_root!();
    let node = Node::new();
    let lease = node.lease("a", 250, 1024);
    node.attached(&lease);
    let pid = node.daemon_pid();
    kill(pid);
    let mut journal = node.journal();
    journal["boot_id"] = json!("0b5cb03a-0000-0000-0000-000000000000");
    journal["process"]["boot_id"] = json!("0b5cb03a-0000-0000-0000-000000000000");
    // A process of this boot has that pid now.
    journal["process"]["pid"] = json!(std::process::id());
    journal["prior_compute_mode"] = json!("PROHIBITED");
    journal["kept"] = json!(true);
    fs::write(node.place().join("journal.json"), journal.to_string()).unwrap();
    assert_eq!(node.rows()[0]["state"], "stale");
    node.attached(&lease);
    let journal = node.journal();
    assert_eq!((&journal["prior_compute_mode"], &journal["kept"]), (&json!(null), &json!(false)));
    node.release(&lease);
    node.reap();
}

/// A process that says that it is a server of the node's daemon.
fn server(node: &Node) -> Child {
    let program = node.path("nvidia-cuda-mps-server");
    fs::copy("/bin/sleep", &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(&program);
    command.arg("60").env("CUDA_MPS_PIPE_DIRECTORY", node.place().join("pipe"));
    command.spawn().unwrap()
}

#[test]
fn orphaned_servers_block_a_new_daemon() {
    needs_root!();
    let node = Node::new();
    let lease = node.lease("a", 250, 1024);
    node.attached(&lease);
    let mut orphan = server(&node);
    let cgroups: Vec<_> =
        cgroup_roots().iter().map(|r| r.join(&node.uuid)).filter(|dir| dir.exists()).collect();
    assert!(!cgroups.is_empty(), "no cgroup can be made here");
    kill(node.daemon_pid());
    eventually(|| node.processes().len() == 1);
    // It is not in the daemon's cgroup: any process can say that it was a server.
    node.attached(&lease);
    kill(node.daemon_pid());
    eventually(|| node.processes().len() == 1);
    fs::write(cgroups[0].join("cgroup.procs"), orphan.id().to_string()).unwrap();
    let text = node.refused(&lease);
    assert!(
        text.contains(&format!("process {}", orphan.id())) && text.contains("--force"),
        "{text}"
    );
    assert_eq!(node.rows()[0]["servers"][0], orphan.id());
    ok(node.cli(&["mps", "stop", &node.uuid, "--force"]));
    assert!(!orphan.wait().unwrap().success());
    node.assert_nothing_left();
    node.release(&lease);
}

/// Any user of the host can start a process with any name.
#[test]
fn a_process_with_a_daemons_name_does_not_count() {
    needs_root!();
    let node = Node::new();
    let pretend = |script: &str| {
        let mut command = Command::new("bash");
        command.args(["-c", script]).env("CUDA_MPS_PIPE_DIRECTORY", node.place().join("pipe"));
        command.env("CUDA_VISIBLE_DEVICES", &node.uuid).spawn().unwrap()
    };
    let mut forged = vec![
        pretend("exec -a nvidia-cuda-mps-server sleep 60"),
        pretend("exec -a nvidia-cuda-mps-control tail -f /dev/null"),
    ];
    // One by the program itself, before the first start: then there is no cgroup to be in.
    forged.push(server(&node));
    let lease = node.lease("a", 250, 1024);
    assert_eq!(node.attached(&lease)["adopted"], false);
    let row = &node.rows()[0];
    assert_eq!((&row["state"], &row["servers"]), (&json!("running"), &json!([])));
    assert_eq!(row["pid"].as_i64(), Some(node.daemon_pid().into()));
    node.release(&lease);
    ok(node.cli(&["mps", "reap", "--now"]));
    assert!(!node.place().exists());
    for mut child in forged {
        assert!(child.try_wait().unwrap().is_none(), "it was not killed");
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

/// Where no cgroup can be made, or the daemon cannot be moved there.
#[test]
fn servers_are_known_by_the_mount_namespace_too() {
    needs_root!();
    let node = Node::new();
    let lease = node.lease("a", 250, 1024);
    node.attached(&lease);
    let pid = node.daemon_pid();
    drop(server(&node).kill());
    // As the daemon starts one, but outside of its cgroup.
    let mut orphan = Command::new("nsenter")
        .args(["-m", "-t", &pid.to_string()])
        .arg(node.path("nvidia-cuda-mps-server"))
        .arg("60")
        .spawn()
        .unwrap();
    let orphan_pid = i32::try_from(orphan.id()).unwrap();
    let exe = format!("/proc/{orphan_pid}/exe");
    eventually(|| fs::read_link(&exe).is_ok_and(|exe| exe.ends_with("nvidia-cuda-mps-server")));
    kill(pid);
    eventually(|| node.processes().is_empty());
    let text = node.refused(&lease);
    assert!(text.contains(&format!("process {orphan_pid}")), "{text}");
    ok(node.cli(&["mps", "stop", &node.uuid, "--force"]));
    assert!(!orphan.wait().unwrap().success());
    node.assert_nothing_left();
    node.release(&lease);
}

#[test]
fn random_kills_leave_nothing() {
    needs_root!();
    let node = Node::new();
    // The same sequence each time: which step a delay hits depends on the machine anyway.
    let mut seed = 0x2545_f491_u32;
    let mut random = |below: u32| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        u64::from((seed >> 8) % below)
    };
    for _ in 0..20 {
        let lease = node.lease("a", 250, 1024);
        let mut attach = node.attach_command(&lease).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(random(120)));
        attach.kill().unwrap();
        attach.wait().unwrap();
        if random(2) == 0 {
            node.release(&lease);
            let mut reap = node.command(&["mps", "reap", "--now"]).spawn().unwrap();
            std::thread::sleep(Duration::from_millis(random(60)));
            reap.kill().unwrap();
            reap.wait().unwrap();
        } else {
            node.attached(&lease);
            // The control client of a killed attach may end a little later.
            eventually(|| node.processes() == [node.daemon_pid()]);
            if random(2) == 0 {
                kill(node.daemon_pid());
            }
            node.release(&lease);
        }
        eventually(|| node.processes().len() <= 1);
    }
    node.reap();
}
