//! The inputs, and what must not come of them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "tests"
)]

use crate::argv::{Grammar, line, spec_of};
use crate::model::{DIALECTS, Meaning};
use crate::mutate::{Dice, spec};
use crate::support::{Host, needs_root, ok};
use gpulease::door::injection::{
    Document, HookEntry, HookStage, HostNode, Injection, READ_WRITE, ResolvedNode, apply, facts,
    revert, strip_granted, strip_our_hooks,
};
use gpulease::door::request::{Input, Policy, parse};
use gpulease::door::runtime::args;
use std::ffi::OsString;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How many inputs there are, and how many tests share them.
const INPUTS: u64 = 1000;
const SHARDS: u64 = 4;
/// One in so many is a command line.
const LINES: u64 = 5;

fn inputs() -> u64 {
    std::env::var("GPULEASE_FUZZ").ok().map_or(INPUTS, |text| text.parse().unwrap())
}

fn seeds(dir: &str) -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(dir);
    let mut paths: Vec<PathBuf> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn specs() -> Vec<Vec<u8>> {
    seeds("specs").iter().map(|path| fs::read(path).unwrap()).collect()
}

fn lines() -> Vec<Vec<String>> {
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect();
    let texts = seeds("argv").into_iter().map(|path| fs::read_to_string(path).unwrap());
    texts.flat_map(|text| text.lines().map(words).collect::<Vec<_>>()).collect()
}

/// A node whose first GPU is held, and runtimes that take everything.
struct Range {
    host: Host,
}

impl Range {
    fn new() -> Self {
        let host = Host::new("h100x8");
        ok(host.start("holder", &[("gpulease/devices", "0")]));
        for name in ["runc", "crun"] {
            fs::copy("/bin/true", host.path(name)).unwrap();
        }
        for (name, annotations) in [("asks", &[("gpulease/count", "1")][..]), ("plain", &[])] {
            host.bundle(name, annotations);
        }
        Self { host }
    }

    /// With this runtime below, and no lease but the holder's.
    fn reset(&self, grammar: Grammar) {
        let name = match grammar {
            Grammar::Runc => "runc",
            Grammar::Crun => "crun",
        };
        self.host.configure(&self.host.path(name), "");
        for dir in ["leases", "bundles", "corrupt"] {
            for entry in fs::read_dir(self.host.run_dir().join(dir)).into_iter().flatten() {
                let path = entry.unwrap().path();
                if !path.to_string_lossy().contains("/holder@") {
                    fs::remove_file(path).unwrap();
                }
            }
        }
    }

    /// Whether the shim let the runtime have it. It neither hangs nor panics.
    #[track_caller]
    fn passes(&self, command: &mut Command) -> bool {
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let stderr = self.host.path("stderr");
        command.stderr(fs::File::create(&stderr).unwrap());
        let mut child = command.spawn().unwrap();
        let end = Instant::now() + Duration::from_secs(60);
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > end {
                child.kill().unwrap();
                child.wait().unwrap();
                panic!("it hangs");
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        let stderr = fs::read_to_string(&stderr).unwrap();
        assert!(status.signal().is_none() && !stderr.contains("panicked"), "{status}: {stderr}");
        assert!(status.success() || stderr.starts_with("gpulease: "), "{status}: {stderr}");
        status.success()
    }

    /// The GPUs of the lease that there is beside the holder's, if there is one.
    fn leased(&self) -> Option<Vec<i64>> {
        let leases = self.host.leases();
        let lease = leases.into_iter().find(|lease| lease.container_id.as_str() != "holder")?;
        Some(lease.devices.iter().map(|device| i64::from(device.index)).collect())
    }

    fn spec(&self, text: &[u8]) {
        let bundle = self.host.path("bundles/web");
        let _ = fs::remove_dir_all(&bundle);
        fs::create_dir(&bundle).unwrap();
        fs::write(bundle.join("config.json"), text).unwrap();
        if !self.passes(&mut self.host.create_command("web")) {
            return;
        }
        let leased = self.leased();
        let after = fs::read(bundle.join("config.json")).unwrap();
        for dialect in DIALECTS {
            let asks = Meaning::of(text, dialect).is_some_and(|meaning| meaning.asks);
            assert!(
                !asks || leased.is_some(),
                "a request without a lease, as {dialect:?} reads it"
            );
            let opens = Meaning::of(&after, dialect).unwrap_or_default().opens;
            let leased = leased.as_deref().unwrap_or_default();
            let open: Vec<&i64> = opens.iter().filter(|gpu| !leased.contains(gpu)).collect();
            assert!(open.is_empty(), "GPUs {open:?} are open without a lease to {dialect:?}");
        }
    }

    fn line(&self, words: &[String], grammar: Grammar, cwd: &Path) {
        let mut shim = self.host.shim();
        let mut command = Command::new(shim.get_program());
        command.args(shim.get_args().take(2)).args(words).current_dir(cwd);
        shim = command;
        if !self.passes(&mut shim) {
            return;
        }
        let asks = self.host.path("bundles/asks/config.json");
        let made = spec_of(words, grammar, cwd).and_then(|path| path.canonicalize().ok());
        let is_leased = self.leased().is_some();
        assert!(made != Some(asks) || is_leased, "a container that asks, without a lease");
    }
}

/// What the pure parts make of a spec: no panic, and an edit that is taken back leaves what was.
fn reads(text: &[u8]) {
    let found = facts(text);
    if let Ok(facts) = &found {
        let policy = Policy { accept_env: vec!["GPULEASE_*".into()], ..Policy::default() };
        let container_name = facts.container_name.as_deref();
        let input = Input { annotations: &facts.annotations, env: &facts.env, container_name };
        let _ = parse(&input, &policy);
        let _ = facts.our_nonces();
    }
    let Ok(mut document) = Document::parse(text) else { return };
    let again = Document::parse(&document.to_bytes()).expect("what we write we can read");
    assert_eq!(again.tree(), document.tree());
    let before = document.clone();
    match apply(&mut document, &injection()) {
        Ok(undo) => {
            revert(&mut document, &undo);
            assert_eq!(document.to_bytes(), before.to_bytes(), "an edit that was taken back");
        }
        Err(_) => assert_eq!(document.to_bytes(), before.to_bytes(), "an edit that was refused"),
    }
    strip_our_hooks(&mut document);
    assert!(!strip_granted(&mut document), "twice");
}

fn injection() -> Injection {
    let node = ResolvedNode {
        path: "/dev/nvidia0".into(),
        major: 1219,
        minor: 0,
        file_mode: 0o666,
        uid: Some(0),
        gid: Some(0),
        access: READ_WRITE.into(),
    };
    let hook = |stage: HookStage| HookEntry {
        stage,
        path: "/x/gpulease-hook".into(),
        args: vec!["gpulease-hook".into()],
        env: Vec::new(),
        timeout: Some(5),
    };
    Injection {
        nodes: vec![node],
        gids: vec![44],
        env: [("NVIDIA_VISIBLE_DEVICES".to_owned(), Some("all".to_owned()))].into(),
        annotations: [("gpulease.granted/lease".to_owned(), "l-1".to_owned())].into(),
        hooks: HookStage::ALL.map(hook).to_vec(),
        hidden_nodes: vec![HostNode { path: "/dev/nvidia1".into(), numbers: Some((1219, 1)) }],
        ..Injection::default()
    }
}

fn text_of(why: &(dyn std::any::Any + Send)) -> String {
    let text = why.downcast_ref::<String>().cloned();
    text.or_else(|| why.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}

/// Tries one share of the inputs.
fn try_share(shard: u64) {
    let range = Range::new();
    let (specs, lines) = (specs(), lines());
    let only: Option<u64> =
        std::env::var("GPULEASE_FUZZ_ONLY").ok().map(|number| number.parse().unwrap());
    let mut violations = Vec::new();
    for number in (shard..inputs()).step_by(usize::try_from(SHARDS).unwrap()) {
        if only.is_some_and(|only| only != number) {
            continue;
        }
        let mut dice = Dice::new(number);
        let grammar = *dice.pick(&[Grammar::Runc, Grammar::Crun]);
        let bundles = range.host.path("bundles");
        range.reset(grammar);
        let (shown, tried) = if number % LINES == 0 {
            let words = line(&mut dice, &lines, &bundles);
            let cwd = bundles.join(dice.pick(&["asks", "plain"]));
            let os = || words.iter().map(OsString::from).collect::<Vec<_>>();
            let tried = catch_unwind(AssertUnwindSafe(|| {
                let _ = args::parse(os());
                range.line(&words, grammar, &cwd);
            }));
            (format!("{grammar:?} in {}: {words:?}", cwd.display()), tried)
        } else {
            let text = spec(&mut dice, &specs);
            let tried = catch_unwind(AssertUnwindSafe(|| {
                reads(&text);
                range.spec(&text);
            }));
            (String::from_utf8_lossy(&text).chars().take(4000).collect(), tried)
        };
        if let Err(why) = tried {
            violations.push(format!("{number}: {}\n{shown}", text_of(why.as_ref())));
        }
    }
    eprintln!("share {shard} of {} inputs: {} violations", inputs(), violations.len());
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

#[test]
fn first_share_of_inputs() {
    needs_root!();
    try_share(0);
}

#[test]
fn second_share_of_inputs() {
    needs_root!();
    try_share(1);
}

#[test]
fn third_share_of_inputs() {
    needs_root!();
    try_share(2);
}

#[test]
fn fourth_share_of_inputs() {
    needs_root!();
    try_share(3);
}
