//! `--json`: each command answers in one shape, and with the keys of its golden file.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod support;

#[path = "json/cases.rs"]
mod cases;
#[path = "messages/help.rs"]
mod help;

use cases::{CASES, Case};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::LazyLock;
use support::{CLI, Host, golden, needs_root};

/// The commands that do something: those without commands below them.
static COMMANDS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let texts = help::help_texts().into_iter();
    let leaves = texts.filter(|(_, text)| !text.contains("\nCommands:\n"));
    leaves.filter_map(|(name, _)| Some(name.strip_prefix("gpulease ")?.to_owned())).collect()
});

/// Hides what the host has of drivers and CDI specs, runs the script that is the first argument, and
/// becomes the program that follows.
const NAMESPACE: &str = r#"
    for dir in /proc/driver /etc/cdi /var/run/cdi; do
        test ! -d "$dir" || mount -t tmpfs none "$dir"
    done
    eval "$1"
    shift
    exec "$@"
"#;

fn run(case: &Case, host: &Host) -> Output {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-ec", NAMESPACE, "sh"]);
    command.args([case.script, CLI, "--json", "--gpulease-config"]).arg(host.config());
    let dir = folder(host).display().to_string();
    command.args(case.args.iter().map(|arg| arg.replace("DIR", &dir)));
    command.stdin(std::process::Stdio::null()).output().unwrap()
}

fn folder(host: &Host) -> PathBuf {
    host.path("etc").parent().unwrap().to_owned()
}

#[test]
fn each_answer_is_the_golden_one() {
    needs_root!();
    for case in CASES {
        let host = Host::new(case.node);
        (case.prepare)(&host);
        let output = run(case, &host);
        let text = support::stderr(&output);
        assert_eq!(output.status.code(), Some(case.status), "{}: {text}", case.golden);
        let answer = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{}: {error}: {text}", case.golden));
        golden::check(case.golden, answer, &folder(&host));
    }
}

#[test]
fn each_answer_is_an_object_with_a_version() {
    for name in golden_names() {
        let text = fs::read_to_string(golden::file(&name)).unwrap();
        let answer: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(answer["version"], 1, "{name}");
    }
}

#[test]
fn each_command_has_a_golden_answer() {
    let commands: BTreeSet<String> = COMMANDS.iter().cloned().collect();
    let golden: BTreeSet<String> = golden_names().iter().map(|name| command_of(name)).collect();
    assert_eq!(golden, commands, "a command has no file in tests/fixtures/json");
}

/// The names of all golden answers, of this and of other tests.
fn golden_names() -> Vec<String> {
    let files = fs::read_dir(golden::file("").parent().unwrap()).unwrap();
    let stem = |path: PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
    files.map(|entry| stem(entry.unwrap().path())).collect()
}

/// The command that a golden file is of: `mig-plan-model.json` is of `mig plan`.
fn command_of(name: &str) -> String {
    let words = name.replace('-', " ");
    let is_it = |command: &String| words == *command || words.starts_with(&format!("{command} "));
    let found = COMMANDS.iter().filter(|command| is_it(command)).max_by_key(|c| c.len());
    found.unwrap_or_else(|| panic!("{name}.json is of no command")).clone()
}
