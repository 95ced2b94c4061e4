//! Single calls over a low-level runtime that does nothing: what is left is the shim.

use super::Programs;
use super::driver::{Call, Case, interleave, rounds};
use super::host::{Bundle, Folders, Host, ID, NO_REQUEST, SHARE, WHOLE};
use super::table::Table;
use super::tools::Tools;
use gpulease::door::model::lease::{Lease, LeaseState};
use gpulease::door::store::BundleRecord;
use serde_json::json;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// On the CPU time beyond that of a plain exec of the low-level runtime, in microseconds.
const PASS_THROUGH: f64 = 600.0;
const WITH_LEASE: f64 = 1200.0;

/// The names of runc that a shim without a configuration looks for, in its order.
const RUNC: &[&str] = &["/usr/bin/runc", "/usr/sbin/runc", "/usr/local/bin/runc"];

fn line<const N: usize>(program: &Path, before: &[OsString], words: [&str; N]) -> Call {
    let words = words.into_iter().map(OsString::from);
    Call::new([program.as_os_str().to_owned()].into_iter().chain(before.to_vec()).chain(words))
}

/// `create`, as containerd calls it.
pub fn create(program: &Path, before: &[OsString], bundle: &Path, id: &str) -> Call {
    let path = |name: &str| bundle.join(name).display().to_string();
    let (log, pid_file) = (path("log.json"), path("pid"));
    let dir = bundle.display().to_string();
    line(
        program,
        before,
        [
            "--log",
            &log,
            "--log-format",
            "json",
            "create",
            "--bundle",
            &dir,
            "--pid-file",
            &pid_file,
            id,
        ],
    )
}

/// The global options of a call with this host's configuration.
pub fn options(host: &Host) -> Vec<OsString> {
    vec!["--gpulease-config".into(), host.config().into(), "--root".into(), host.root().into()]
}

/// A host with what its containers leave behind.
struct Scene {
    host: Host,
    bundle: Bundle,
    lease: Lease,
    edit: BundleRecord,
    hook: Call,
}

impl Scene {
    fn new(
        programs: &Programs,
        tools: &Tools,
        folders: &Folders,
        name: &str,
        leases: usize,
    ) -> Self {
        let dir = folders.tmpfs.join(name);
        let mut host = Host::new(dir.join("node"), &tools.noop, &programs.hook, "");
        let bundle = Bundle::new(dir.join("lease"), WHOLE);
        create(&programs.shim, &options(&host), &bundle.dir, ID).run();
        let lease = host.lease(ID);
        let edit = host.edit_of(&bundle);
        let state = dir.join("state.json");
        let pid = std::process::id();
        let text = json!({
            "ociVersion": "1.2.1", "id": ID, "status": "creating", "pid": pid, "bundle": bundle.dir,
        });
        fs::write(&state, text.to_string()).unwrap();
        let hook = hook_call(&bundle).stdin(&state);
        host.reset();
        host.fill(leases, Some(&edit));
        Self { host, bundle, lease, edit, hook }
    }

    fn reset(&self, bundle: &Bundle) {
        self.host.reset();
        bundle.restore();
    }

    /// The lease of a container that has ended.
    fn put_ended(&self, ended: &Lease) {
        self.host.put(ended);
        self.host.put_bundle(&self.edit);
    }
}

/// The command line of the `create-runtime` hook, from the edited bundle.
fn hook_call(bundle: &Bundle) -> Call {
    let config = bundle.edited();
    let hooks = config["hooks"]["createRuntime"].as_array().unwrap();
    let ours = hooks.iter().find(|hook| hook["path"].as_str().unwrap().ends_with("gpulease-hook"));
    let ours = ours.unwrap();
    let args = ours["args"].as_array().unwrap().iter().skip(1);
    Call::new([&ours["path"]].into_iter().chain(args).map(|word| word.as_str().unwrap()))
}

pub fn measure(
    programs: &Programs,
    tools: &Tools,
    folders: &Folders,
    may_mount: bool,
    table: &mut Table,
) {
    let empty = Scene::new(programs, tools, folders, "starts-0", 0);
    let full = Scene::new(programs, tools, folders, "starts-32", 32);
    let rounds = rounds("GPULEASE_BENCH_ROUNDS", 400);
    let unconfigured = may_mount.then(|| Covered::runc(&tools.noop)).flatten();

    let free = Bundle::new(folders.tmpfs.join("free"), NO_REQUEST);
    let shares = Bundle::new(folders.tmpfs.join("shares"), SHARE);
    let disk = Bundle::new(folders.disk.join("lease"), WHOLE);

    let shim = programs.shim.as_path();
    let plain = vec!["--root".into(), empty.host.root().into()];
    let with = options(&empty.host);
    let exec = 0;
    let mut cases = vec![
        Case::new("plain: static no-op", line(&tools.noop, &plain, ["state", ID])),
        Case::new(
            "plain: static, then no-op",
            line(&tools.onward, &[tools.noop.clone().into()], ["state", ID]),
        )
        .over(exec),
        Case::new("plain: /bin/true", Call::new(["/bin/true"])).over(exec),
        Case::new("shim state", line(shim, &with, ["state", ID])).over(exec).budget(PASS_THROUGH),
        Case::new("shim start", line(shim, &with, ["start", ID])).over(exec).budget(PASS_THROUGH),
        Case::new("shim kill", line(shim, &with, ["kill", ID, "9"]))
            .over(exec)
            .budget(PASS_THROUGH),
    ];
    if unconfigured.is_some() {
        let call = line(shim, &plain, ["state", ID]);
        let case = Case::new("shim state, no config file", call);
        cases.push(case.over(exec).budget(PASS_THROUGH));
    }
    let delete = line(shim, &with, ["delete", ID]);
    cases.push(Case::new("shim delete, no lease", delete).over(exec).before(|| empty.host.reset()));
    cases.push(
        Case::new("create, no request", create(shim, &with, &free.dir, ID))
            .over(exec)
            .before(|| free.restore()),
    );
    for (name, scene, bundle) in [
        ("create, whole GPU, 0 leases", &empty, &empty.bundle),
        ("create, whole GPU, 32 leases", &full, &full.bundle),
        ("create, 250m, 0 leases", &empty, &shares),
        ("create, 250m, 32 leases", &full, &shares),
        ("create, whole, 32, on disk", &full, &disk),
    ] {
        let call = create(shim, &options(&scene.host), &bundle.dir, ID);
        let case = Case::new(name, call).over(exec).budget(WITH_LEASE);
        cases.push(case.before(move || scene.reset(bundle)));
    }
    for (name, scene) in
        [("delete with a lease, 0 others", &empty), ("delete with a lease, 32 others", &full)]
    {
        let owner = scene.host.dead_owner();
        let ended = Lease { state: LeaseState::Bound, owner, ..scene.lease.clone() };
        let call = line(shim, &options(&scene.host), ["delete", "--force", ID]);
        cases.push(Case::new(name, call).over(exec).before(move || scene.put_ended(&ended)));
    }
    for (name, scene) in
        [("hook create-runtime, 0 leases", &empty), ("hook create-runtime, 32 leases", &full)]
    {
        cases.push(
            Case::new(name, scene.hook.clone()).over(exec).before(|| scene.host.put(&scene.lease)),
        );
    }
    let samples = interleave(&cases, rounds);
    table.group(&format!("{rounds} rounds over a no-op"), &cases, &samples);
    drop(unconfigured);
    footprints(tools, &full, &cases, table);
}

/// Memory of two calls, started by a program that is smaller than they are.
fn footprints(tools: &Tools, full: &Scene, cases: &[Case<'_>], table: &mut Table) {
    println!("\n{:<44}{:>12}{:>24}", "memory", "", "budget");
    let figures = |name: &str| -> (u64, u64) {
        let case = cases.iter().find(|case| case.name == name).unwrap();
        full.host.reset();
        (case.before)();
        let output = Command::new(&tools.footprint).args(case.call.words()).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let mut numbers = text.split_whitespace().map(|word| word.parse().unwrap());
        (numbers.next().unwrap(), numbers.next().unwrap())
    };
    let (_, floor) = figures("plain: static no-op");
    for name in ["shim state", "create, no request", "create, whole GPU, 32 leases"] {
        let (rss, faults) = figures(name);
        table.figure(&format!("{name}: max RSS"), rss, super::RSS_BUDGET_KIB, " KiB");
        println!("{:<44}{:>12}", format!("{name}: minor faults"), faults - floor);
    }
}

/// A file with another one mounted over it, in this process's own mount namespace. What a shim
/// without a configuration finds in place of runc does nothing then.
struct Covered(PathBuf);

impl Covered {
    fn runc(noop: &Path) -> Option<Self> {
        if Path::new(gpulease::door::config::DEFAULT_PATH).exists() {
            eprintln!("startup: this host has a configuration: NOT MEASURED: calls without one");
            return None;
        }
        let runc = RUNC.iter().map(Path::new).find(|path| path.is_file())?;
        let status = Command::new("mount").arg("--bind").arg(noop).arg(runc).status();
        status.is_ok_and(|status| status.success()).then(|| Self(runc.to_owned()))
    }
}

impl Drop for Covered {
    fn drop(&mut self) {
        let status = Command::new("umount").arg(&self.0).status();
        assert!(status.is_ok_and(|status| status.success()), "{} stays covered", self.0.display());
    }
}
