//! Who holds a device, judged in the hard cases: processes left in the cgroup, a runtime that told
//! nobody, a record that cannot be read, an inventory that changed, a process that is stopped.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test"
)]

mod support;

use gpulease::door::model::lease::LeaseState;
use nix::sys::signal::{Signal, kill as signal};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, SystemTime};
use support::{Host, eventually, needs_root, ok, stderr};

const ALL: &[(&str, &str)] = &[("gpulease/count", "all")];

fn record_path(host: &Host, container: &str) -> PathBuf {
    let files = fs::read_dir(host.run_dir().join("leases")).unwrap().flatten();
    let mut paths = files.map(|entry| entry.path());
    paths.find(|path| path.file_name().unwrap().to_str().unwrap().starts_with(container)).unwrap()
}

fn edit_record(host: &Host, container: &str, edit: impl FnOnce(&mut Value)) {
    let path = record_path(host, container);
    let mut record: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    edit(&mut record);
    fs::write(&path, record.to_string()).unwrap();
}

fn make_old(path: &std::path::Path) {
    let old = SystemTime::now() - Duration::from_secs(3600);
    fs::File::options().write(true).open(path).unwrap().set_modified(old).unwrap();
}

fn assert_held(host: &Host, why: &str) {
    let text = stderr(&host.start("next", ALL));
    assert!(text.contains("no-capacity"), "{why}: {text}");
}

/// A container whose runtime died in its create: the lease is pending, and its owner is gone.
fn died_in_create(host: &Host) {
    host.bundle("web", ALL);
    host.create_command("web").env("STUB_FAIL", "create").output().unwrap();
    assert_eq!(host.lease("web").unwrap().state, LeaseState::Pending);
}

/// A process that began after what was recorded before.
struct Later(Child);

impl Later {
    fn new() -> Self {
        Self(std::process::Command::new("sleep").arg("600").spawn().unwrap())
    }
}

impl Drop for Later {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A cgroup, faked by its one file.
fn cgroup(host: &Host, procs: &str) -> PathBuf {
    let dir = host.path("cgroup");
    fs::create_dir_all(dir.join("below")).unwrap();
    fs::write(dir.join("cgroup.procs"), "").unwrap();
    fs::write(dir.join("below/cgroup.procs"), procs).unwrap();
    dir
}

#[test]
fn a_process_left_in_the_cgroup_holds_the_device() {
    needs_root!();
    let host = Host::new("h100x8");
    ok(host.start("web", ALL));
    let dir = cgroup(&host, "4711\n");
    edit_record(&host, "web", |record| record["cgroup"] = json!(dir));
    host.kill("web");
    assert_held(&host, "init is gone, its child is not");
    ok(host.delete("web"));
    assert_held(&host, "not even a delete gives it away");
    cgroup(&host, "");
    ok(host.start("next", ALL));
}

#[test]
fn a_pending_lease_is_held_by_its_cgroup_too() {
    needs_root!();
    let host = Host::new("h100x8");
    host.bundle("web", ALL);
    host.create_command("web").env("STUB_FAIL", "create").output().unwrap();
    let dir = cgroup(&host, "4711\n");
    edit_record(&host, "web", |record| record["cgroup"] = json!(dir));
    assert_held(&host, "the runtime is gone, what it had begun is not");
    cgroup(&host, "");
    ok(host.start("next", ALL));
}

/// The engine's pid file may lie in a directory where users write.
#[test]
fn pid_files_of_others_are_not_believed() {
    needs_root!();
    let host = Host::new("h100x8");
    let path = host.path("bundles/web/pid");
    let later = Later::new();
    let pid = later.0.id().to_string();
    let pipe = || nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let endless = || fs::File::create(&path).unwrap().set_len(3 << 30).unwrap();
    let link = || {
        fs::write(host.path("elsewhere"), &pid).unwrap();
        std::os::unix::fs::symlink(host.path("elsewhere"), &path).unwrap();
    };
    let users = || {
        fs::write(&path, &pid).unwrap();
        std::os::unix::fs::chown(&path, Some(12345), None).unwrap();
    };
    let elsewhere = || {
        fs::write(&path, &pid).unwrap();
        let dir = cgroup(&host, "");
        edit_record(&host, "web", |record| record["cgroup"] = json!(dir));
    };
    let cases: [(&str, &dyn Fn()); 5] = [
        ("a pipe", &pipe),
        ("3 GB", &endless),
        ("a link", &link),
        ("a user's own", &users),
        ("a process outside of the container's cgroup", &elsewhere),
    ];
    for (what, put) in cases {
        died_in_create(&host);
        edit_record(&host, "web", |record| record["owner"]["start_time"] = json!(1));
        put();
        host.bundle("next", ALL);
        let create = host.create_command("next");
        let mut soon = std::process::Command::new("timeout");
        let text = soon.arg("20").arg(create.get_program()).args(create.get_args()).output();
        assert!(text.as_ref().unwrap().status.success(), "{what}: {}", stderr(&text.unwrap()));
        host.kill("next");
        ok(host.delete("next"));
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn a_pipe_as_a_runtimes_state_is_not_waited_for() {
    needs_root!();
    let host = Host::new("h100x8");
    died_in_create(&host);
    let state = host.root().join("web");
    fs::create_dir_all(&state).unwrap();
    let path = state.join("state.json");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert_held(&host, "what cannot be read may be alive");
    fs::remove_file(&path).unwrap();
    ok(host.start("next", ALL));
}

#[test]
fn the_pid_file_is_believed_only_about_this_start() {
    needs_root!();
    let host = Host::new("h100x8");
    host.bundle("web", ALL);
    let silent = |host: &Host| {
        let mut command = host.create_command("web");
        ok(command.env("STUB_NO_HOOKS", "1").env("STUB_NO_STATE", "1").output().unwrap());
    };
    silent(&host);
    assert_eq!(host.lease("web").unwrap().state, LeaseState::Pending);
    assert_held(&host, "only the pid file knows of the container");
    assert_eq!(host.lease("web").unwrap().state, LeaseState::Bound);
    host.kill("web");
    // A pid file of an earlier start, whose pid belongs to somebody older now: to us.
    silent(&host);
    host.kill("web");
    let pid_file = host.path("bundles/web/pid");
    let pid = fs::read_to_string(&pid_file).unwrap();
    fs::write(&pid_file, std::process::id().to_string()).unwrap();
    ok(host.start("next", ALL));
    fs::write(&pid_file, pid).unwrap();
}

#[test]
fn a_container_of_the_same_id_is_no_holder() {
    needs_root!();
    let host = Host::new("h100x8");
    ok(host.start("web", &[]));
    // Longer than a tick of the clock by which processes are told apart.
    std::thread::sleep(Duration::from_millis(50));
    // A second one of its id, which the runtime refuses: the state that lies there is the first's.
    host.bundle("again", ALL);
    let bundle = host.path("bundles/again");
    let mut create = host.shim();
    create.args(["create", "--bundle"]).arg(&bundle).arg("web").env("STUB_FAIL", "create");
    assert!(!create.output().unwrap().status.success());
    assert_eq!(host.lease("web").unwrap().state, LeaseState::Pending);
    ok(host.start("next", ALL));
    assert!(host.lease("web").is_none());
}

/// The variables of a new process, as `exec` lets the runtime see them.
fn env_of_exec(host: &Host, container: &str) -> Value {
    let file = host.path("process.json");
    fs::write(&file, r#"{"args":["sh"],"env":["A=b"]}"#).unwrap();
    let mut exec = host.shim();
    exec.args(["exec", "--process"]).arg(&file).arg(container);
    let said = ok(exec.output().unwrap());
    serde_json::from_slice::<Value>(&said.stdout).unwrap()["env"].clone()
}

#[test]
fn an_ended_lease_does_not_count_for_a_successor() {
    needs_root!();
    let host = Host::new("h100x8");
    ok(host.start("web", ALL));
    assert!(env_of_exec(&host, "web").to_string().contains("CUDA_VISIBLE_DEVICES"));
    host.kill("web");
    // Dead, and nobody has swept.
    assert_eq!(env_of_exec(&host, "web"), json!(["A=b"]));
    // Released, and in its grace; the id is another's now, which has asked for nothing.
    ok(host.delete("web"));
    assert_eq!(host.records().len(), 1);
    ok(host.start("web", &[]));
    assert_eq!(env_of_exec(&host, "web"), json!(["A=b"]));
}

#[test]
fn a_restart_has_its_grace_in_every_order_of_events() {
    needs_root!();
    let host = Host::new("h100x8");
    ok(host.start("web", &[("gpulease/devices", "0")]));
    host.kill("web");
    // Its engine has not said so yet, and somebody else asks.
    ok(host.start("other", &[("gpulease/count", "1")]));
    ok(host.delete("web"));
    ok(host.create("web"));
    assert_eq!(host.lease("web").unwrap().devices[0].index, 0);
    // Nobody is refused for it.
    host.kill("web");
    host.kill("other");
    ok(host.start("next", ALL));
}

#[test]
fn an_unreadable_record_is_judged_by_other_evidence() {
    needs_root!();
    let host = Host::new("h100x8");
    ok(host.start("web", ALL));
    let path = record_path(&host, "web");
    fs::write(&path, "{").unwrap();
    make_old(&path);
    assert_held(&host, "the runtime's state names a live process");
    // The state is there and says nothing: no proof of death.
    let state = host.root().join("web/state.json");
    let good = fs::read(&state).unwrap();
    fs::write(&state, "{").unwrap();
    assert_held(&host, "the runtime's state is unreadable");
    fs::write(&state, good).unwrap();
    // Init is dead, but not all that was in its cgroup.
    let dir = cgroup(&host, "4711\n");
    let bundles = fs::read_dir(host.run_dir().join("bundles")).unwrap().flatten();
    for entry in bundles {
        let mut record: Value = serde_json::from_slice(&fs::read(entry.path()).unwrap()).unwrap();
        record["cgroup"] = json!(dir);
        fs::write(entry.path(), record.to_string()).unwrap();
    }
    host.kill("web");
    assert_held(&host, "its cgroup is not empty");
    cgroup(&host, "");
    ok(host.start("next", ALL));
    assert_eq!(fs::read_dir(host.run_dir().join("corrupt")).unwrap().count(), 1);
}

#[test]
fn a_device_under_a_new_name_is_still_held() {
    needs_root!();
    let host = Host::new("mixed4");
    ok(host.start("web", &[("gpulease/devices", "0")]));
    let uuid = host.devices("web")[0].clone();
    let file = host.path("etc/devices.toml");
    let text = fs::read_to_string(&file).unwrap();
    let changed = text.replace(&uuid, "GPU-00000000-1111-2222-3333-444444444444");
    assert_ne!(text, changed);
    fs::write(&file, changed).unwrap();
    let refused = stderr(&host.start("thief", &[("gpulease/devices", "0")]));
    assert!(refused.contains("no-capacity") && refused.contains("web"), "{refused}");
    ok(host.start("other", &[("gpulease/devices", "1")]));
}

#[test]
fn a_cgroup_that_the_caller_is_in_is_not_waited_for() {
    needs_root!();
    let host = Host::new("h100x8");
    let bundle = host.bundle("web", ALL);
    let mut spec = host.spec("web");
    spec["linux"]["cgroupsPath"] = json!("/");
    fs::write(bundle.join("config.json"), spec.to_string()).unwrap();
    host.create_command("web").env("STUB_FAIL", "create").output().unwrap();
    ok(host.delete("web"));
    assert!(host.records().is_empty(), "{:?}", host.records());
    ok(host.start("next", ALL));
}

/// Runs the shim until it stops itself at this point.
fn stopped_at(host: &Host, point: &str, verb: &[&str]) -> Child {
    let mut command = if verb == ["create"] {
        host.create_command("web")
    } else {
        let mut command = host.shim();
        command.args(verb);
        command
    };
    let child = command
        .env("GPULEASE_FAILPOINT", format!("{point}=stop"))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stat = format!("/proc/{}/stat", child.id());
    eventually(|| fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") T ")));
    child
}

fn resume(child: &Child) {
    signal(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGCONT).unwrap();
}

#[test]
fn a_stopped_shim_keeps_what_it_recorded() {
    needs_root!();
    for point in ["create.edited", "bundles.before-put"] {
        let host = Host::new("h100x8");
        host.bundle("web", ALL);
        let shim = stopped_at(&host, point, &["create"]);
        assert_held(&host, "stopped is not dead");
        resume(&shim);
        ok(shim.wait_with_output().unwrap());
        assert_eq!(host.lease("web").unwrap().state, LeaseState::Bound);
        // And one that is killed where it stands gives everything back.
        host.kill("web");
        ok(host.delete("web"));
        let mut shim = stopped_at(&host, point, &["create"]);
        shim.kill().unwrap();
        shim.wait().unwrap();
        ok(host.start("next", ALL));
    }
}

#[test]
fn a_link_that_becomes_a_file_is_no_written_spec() {
    needs_root!();
    let host = Host::new("h100x8");
    let config = host.bundle("web", &[("gpulease.granted/devices", "forged")]).join("config.json");
    let elsewhere = host.path("elsewhere.json");
    fs::rename(&config, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &config).unwrap();
    let shim = stopped_at(&host, "create.before-edit", &["create"]);
    fs::remove_file(&config).unwrap();
    fs::copy(&elsewhere, &config).unwrap();
    resume(&shim);
    let output = shim.wait_with_output().unwrap();
    assert!(!output.status.success());
    assert!(stderr(&output).contains("bad-bundle: "), "{}", stderr(&output));
}

#[test]
fn a_late_delete_changes_nothing_of_its_successor() {
    needs_root!();
    let host = Host::new("h100x8");
    ok(host.start("web", ALL));
    let first = host.lease("web").unwrap();
    let delete = stopped_at(&host, "delete.after-runtime", &["delete", "--force", "web"]);
    // The container is gone; the same id starts again before the delete comes to its lease. The
    // second dies too, so that nothing but the nonce tells the two apart.
    ok(host.create("web"));
    host.kill("web");
    let second = host.lease("web").unwrap();
    assert_ne!(first.nonce, second.nonce);
    resume(&delete);
    ok(delete.wait_with_output().unwrap());
    assert_eq!(host.lease("web"), Some(second));
}

#[test]
fn a_late_delete_spares_a_pending_successor() {
    needs_root!();
    let host = Host::new("h100x8");
    ok(host.start("web", ALL));
    let delete = stopped_at(&host, "delete.after-runtime", &["delete", "--force", "web"]);
    host.create_command("web").env("STUB_FAIL", "create").output().unwrap();
    let second = host.lease("web").unwrap();
    assert_eq!(second.state, LeaseState::Pending);
    resume(&delete);
    ok(delete.wait_with_output().unwrap());
    assert_eq!(host.lease("web"), Some(second));
}

#[test]
fn every_spelling_of_the_root_gives_one_key() {
    needs_root!();
    let host = Host::new("h100x8");
    ok(host.start("web", ALL));
    let root = format!("/{}/.", host.root().display());
    let mut again = std::process::Command::new(support::SHIM);
    again.arg("--gpulease-config").arg(host.config()).args(["--root", &root, "create", "--bundle"]);
    let output = again.arg(host.path("bundles/web")).arg("web").output().unwrap();
    assert!(stderr(&output).contains("already-leased"), "{}", stderr(&output));
    assert_eq!(host.records().len(), 1);
}

#[test]
fn restarts_leave_one_record_of_the_bundle() {
    needs_root!();
    let host = Host::new("h100x8");
    host.bundle("web", ALL);
    let pristine = fs::read(host.path("bundles/web/config.json")).unwrap();
    for round in 0..6 {
        // Engines write the file anew at each start; by hand the edited one is used again.
        if round % 2 == 0 {
            fs::write(host.path("bundles/web/config.json"), &pristine).unwrap();
        }
        ok(host.create("web"));
        host.kill("web");
        ok(host.delete("web"));
    }
    assert_eq!(fs::read_dir(host.run_dir().join("bundles")).unwrap().count(), 1);
    fs::rename(host.path("bundles/web"), host.path("bundles/gone")).unwrap();
    ok(host.start("other", ALL));
    ok(host.delete("other"));
    let left: Vec<_> = fs::read_dir(host.run_dir().join("bundles")).unwrap().flatten().collect();
    let other = host.store().bundle(&host.path("bundles/other"));
    assert!(left.len() == 1 && other.is_some(), "{left:?}");
}

/// The clock may have been wrong when it was written.
#[test]
fn an_unreadable_record_of_the_future_grows_old() {
    needs_root!();
    let host = Host::new("h100x8");
    died_in_create(&host);
    let path = record_path(&host, "web");
    fs::write(&path, "{").unwrap();
    let later = SystemTime::now() + Duration::from_secs(7200);
    fs::File::options().write(true).open(&path).unwrap().set_modified(later).unwrap();
    assert_held(&host, "it may be of a container that is just being made");
    assert!(fs::metadata(&path).unwrap().modified().unwrap() < later, "it has an age now");
    make_old(&path);
    ok(host.start("next", ALL));
}
