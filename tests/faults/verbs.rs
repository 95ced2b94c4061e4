//! What each verb is tried on, and what must be true afterwards.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on must say so"
)]

use crate::checks::{
    Web, assert_all_free, assert_as_before_or_whole, assert_held, assert_no_temporary_file,
    assert_one_grant, assert_told, create, host, lives_on,
};
use crate::podman::{ALL, Container, Podman};
use crate::strace::{Case, Ended, Fault, by_way_of, run};
use crate::support::{HOOK, Host, kill};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

/// A program and what it is called for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// The shim's `create`, which finds the lease of a container that is dead.
    Create,
    /// The same as the first of a boot: there is no lease directory and no inventory.
    FirstCreate,
    /// The hook `create-runtime`.
    Bind,
    /// The shim's `delete`, of a container whose poststop hook was not run.
    Delete,
    /// The hook `poststop`, of a container of Podman's: it takes the grant out of the bundle.
    Poststop,
    /// Podman's hook.
    Precreate,
}

/// The call at which there was to be a fault was not made this time.
pub const NOT_MADE: &str = "the call was not made";

/// One host on which a verb is tried again and again.
pub struct Scene {
    host: Host,
    verb: Verb,
    /// The record of a container that is dead: its name and its text.
    dead: Option<(PathBuf, Vec<u8>)>,
}

impl Scene {
    pub fn new(verb: Verb) -> Self {
        let scene = Self { host: host(), verb, dead: None };
        match verb {
            Verb::Bind => scene.wrap_hook("create-runtime"),
            Verb::Poststop => scene.wrap_hook("poststop"),
            _ => {}
        }
        scene.with_dead_record()
    }

    /// Called by a runtime, a hook has no environment that could say what to do: a script of its
    /// name looks into a file.
    fn wrap_hook(&self, stage: &str) {
        let (hook, words) = (self.host.path("gpulease-hook"), self.host.path("words"));
        let script = format!(
            "#!/bin/sh\n[ $1 != {stage} ] || exec $(cat {words:?}) {HOOK} \"$@\"\nexec {HOOK} \"$@\"\n"
        );
        fs::write(&hook, script).unwrap();
        fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(&words, "").unwrap();
        let config = fs::read_to_string(self.host.config()).unwrap();
        fs::write(self.host.config(), config.replace(HOOK, hook.to_str().unwrap())).unwrap();
    }

    fn with_dead_record(mut self) -> Self {
        self.host.bundle("old", ALL);
        assert!(run(&mut create(&self.host, "old")).status.success());
        let pid = self.host.pid("old").unwrap();
        kill(pid);
        // Until it is waited for there are more calls to see that it is dead.
        for _ in 0..1000 {
            if !Path::new(&format!("/proc/{pid}")).exists() {
                break;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let dir = self.host.run_dir().join("leases");
        let record = fs::read_dir(dir).unwrap().next().unwrap().unwrap().path();
        let text = fs::read(&record).unwrap();
        self.dead = Some((record, text));
        self
    }

    pub fn log(&self) -> PathBuf {
        self.host.path("strace")
    }

    /// As if nothing had been here, but for the inventory.
    fn reset(&self) {
        let host = &self.host;
        for name in ["bundles", "overlay-containers"] {
            for entry in fs::read_dir(host.path(name)).into_iter().flatten().flatten() {
                let pid = fs::read_to_string(entry.path().join("pid")).ok();
                if let Some(pid) = pid.and_then(|pid| pid.trim().parse().ok()) {
                    kill(pid);
                }
            }
        }
        let run = host.run_dir();
        if self.verb == Verb::FirstCreate {
            let _ = fs::remove_dir_all(&run);
        }
        let within = ["leases", "bundles", "corrupt"].map(|name| run.join(name));
        let outer = ["bundles", "overlay-containers", "root", "tokens"].map(|name| host.path(name));
        for dir in within.iter().chain(&outer) {
            for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
                let path = entry.path();
                if entry.file_type().unwrap().is_dir() {
                    fs::remove_dir_all(path).unwrap();
                } else {
                    fs::remove_file(path).unwrap();
                }
            }
        }
        let _ = fs::remove_file(self.log());
        self.hook_by_way_of(&[]);
    }

    fn words(&self, case: Option<&Case>) -> Vec<String> {
        Case::words(case, &self.log())
    }

    /// The hook is called in this way from now on.
    fn hook_by_way_of(&self, words: &[String]) {
        fs::write(self.host.path("words"), words.join(" ")).unwrap();
    }

    fn web(&self) -> Web {
        Web { id: "web".into(), dir: self.host.path("bundles/web") }
    }

    fn delete(&self) -> Command {
        let mut delete = self.host.shim();
        delete.args(["delete", "--force", "web"]);
        delete
    }

    /// Tries the verb once, with this fault or none, and checks what has come of it.
    pub fn act(&self, case: Option<&Case>) {
        self.reset();
        match self.verb {
            Verb::Create | Verb::FirstCreate => self.create(case),
            Verb::Bind => self.bind(case),
            Verb::Delete => self.delete_one(case),
            Verb::Poststop => self.poststop(case),
            Verb::Precreate => self.precreate(case),
        }
    }

    fn after(&self, case: Option<&Case>, ended: &Ended) {
        if let Some(case) = case {
            assert!(case.is_reached(&self.log()), "{NOT_MADE}");
            // What could not be written cannot be read, and of a hook it is the runtime that tells.
            let silent = matches!(case.name.as_str(), "write" | "writev")
                || matches!(self.verb, Verb::Bind | Verb::Poststop);
            assert_told(ended, silent);
        } else {
            assert!(ended.status.success(), "{ended:?}");
        }
    }

    fn create(&self, case: Option<&Case>) {
        let host = &self.host;
        if let Some((path, text)) = self.dead.as_ref().filter(|_| self.verb == Verb::Create) {
            fs::write(path, text).unwrap();
        }
        host.bundle("web", ALL);
        let web = self.web();
        let before = web.spec();
        let ended = run(&mut by_way_of(&self.words(case), &create(host, "web")));
        self.after(case, &ended);
        let killed = ended.status.signal().is_some();
        if !ended.status.success() && !killed {
            // Refused: it is as if it had never been.
            assert_eq!(web.spec(), before, "config.json after a refusal");
            assert!(host.lease("web").is_none(), "a lease after a refusal");
            let bundles = fs::read_dir(host.run_dir().join("bundles"));
            assert_eq!(bundles.map_or(0, Iterator::count), 0, "what was to be undone");
            assert_no_temporary_file(&web.dir);
        }
        self.settle(&ended, &web, &before);
    }

    /// After a create, however it went.
    fn settle(&self, ended: &Ended, web: &Web, before: &[u8]) {
        let host = &self.host;
        assert_eq!(ended.status.success(), web.pid().is_some(), "success and life: {ended:?}");
        assert_as_before_or_whole(&web.spec(), before);
        if ended.status.success() {
            assert_held(host, web);
            let ended = run(&mut self.delete());
            assert!(ended.status.success() && web.pid().is_none(), "{ended:?}");
        }
        assert_all_free(host);
        // The bundle may be started again, and then has one grant's edits.
        if web.spec() != before && !ended.status.success() {
            let ended = run(&mut create(host, "web"));
            assert!(ended.status.success(), "the same again: {}", ended.stderr);
            assert_one_grant(&web.spec());
        }
    }

    fn bind(&self, case: Option<&Case>) {
        self.host.bundle("web", ALL);
        let web = self.web();
        let before = web.spec();
        self.hook_by_way_of(&self.words(case));
        let ended = run(&mut create(&self.host, "web"));
        self.hook_by_way_of(&[]);
        self.after(case, &ended);
        self.settle(&ended, &web, &before);
    }

    fn delete_one(&self, case: Option<&Case>) {
        let host = &self.host;
        host.bundle("web", ALL);
        let web = self.web();
        assert!(run(&mut create(host, "web")).status.success());
        let edited = web.spec();
        // Else the hook has already released when the shim comes to it.
        let mut delete = self.delete();
        delete.env("STUB_NO_HOOKS", "1");
        let ended = run(&mut by_way_of(&self.words(case), &delete));
        self.after(case, &ended);
        assert!(!ended.status.success() || web.pid().is_none(), "a container that was deleted");
        assert_eq!(web.spec(), edited);
        // A shim that does not wait for its runtime takes that with it, which may have sent a kill.
        if lives_on(&web) {
            assert_held(host, &web);
            // Engines delete twice.
            assert!(run(&mut self.delete()).status.success() && web.pid().is_none());
        }
        assert_all_free(host);
    }

    /// A container that Podman is about to make, or has made.
    fn podmans(&self) -> (Container, Web, Vec<u8>) {
        let container = Container::new(&self.host, ALL);
        let web = Web { id: container.id.clone(), dir: container.dir.clone() };
        let before = web.spec();
        (container, web, before)
    }

    fn start(&self, container: &Container) {
        let mut create = container.stub(&["create", "--bundle", ".", "--pid-file", "pid"]);
        let ended = run(create.env("STUB_TOKENS", self.host.path("tokens")));
        assert!(ended.status.success(), "{ended:?}");
    }

    fn end(&self, container: &Container, web: &Web) {
        let ended = run(&mut container.stub(&["delete", "--force"]));
        assert!(ended.status.success() && web.pid().is_none(), "{ended:?}");
    }

    fn poststop(&self, case: Option<&Case>) {
        let host = &self.host;
        let (container, web, before) = self.podmans();
        Podman::new().grant(host, &container);
        self.start(&container);
        let edited = web.spec();
        self.hook_by_way_of(&self.words(case));
        let ended = run(&mut container.stub(&["delete", "--force"]));
        self.hook_by_way_of(&[]);
        // The runtime says that a hook failed and deletes all the same.
        assert!(ended.status.success() && web.pid().is_none(), "{ended:?}");
        self.after(case, &ended);
        let spec: serde_json::Value = serde_json::from_slice(&web.spec()).expect("a whole spec");
        let as_before = spec == serde_json::from_slice::<serde_json::Value>(&before).unwrap();
        assert!(as_before || web.spec() == edited, "{spec:#}");
        assert!(as_before || case.is_some(), "the grant stays in the bundle");
        assert_all_free(host);
    }

    fn precreate(&self, case: Option<&Case>) {
        let host = &self.host;
        let (container, web, before) = self.podmans();
        let mut podman = Podman::new();
        let words = self.words(case).join(" ");
        let said = podman.call_with(host, &container, &words, ">out.json");
        let ended =
            Ended { status: ExitStatus::from_raw(wait_status(said.status)), stderr: said.stderr };
        self.after(case, &ended);
        assert_eq!(web.spec(), before);
        if ended.status.success() {
            assert_one_grant(&said.stdout);
            container.accept();
        } else if case.is_some_and(|case| case.fault == Fault::Kill) {
            if case.is_some_and(|case| case.nth % 2 == 0) {
                // The podman lives on, and has the same container again.
                podman.grant(host, &container);
            }
        } else {
            assert!(host.lease(&web.id).is_none(), "a lease after a refusal");
            let bundles = fs::read_dir(host.run_dir().join("bundles"));
            assert_eq!(bundles.map_or(0, Iterator::count), 0, "what was to be undone");
        }
        if web.spec() != before {
            self.start(&container);
            assert_held(host, &web);
            self.end(&container, &web);
        } else {
            drop(podman);
        }
        assert_all_free(host);
    }
}

/// As wait(2) has it, what a shell says of a child.
fn wait_status(shell: i32) -> i32 {
    if shell > 128 { shell - 128 } else { shell << 8 }
}
