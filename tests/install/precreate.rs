//! `install podman --precreate`: two files, which belong together.

use super::Node;
use crate::support::{CLI, HOOK, ok, stderr};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

/// A node with a place for both.
struct Podman {
    node: Node,
}

impl Podman {
    fn new() -> Self {
        Self { node: Node::new("podman") }
    }

    fn drop_in(&self) -> PathBuf {
        self.node.dir.path().join("containers/containers.conf.d/90-gpulease-precreate.conf")
    }

    fn hook(&self) -> PathBuf {
        self.node.dir.path().join("containers/gpulease-hooks.d/60-gpulease.json")
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(CLI);
        command.args([verb, "podman", "--precreate", "--config"]).arg(self.drop_in());
        command.arg("--state-dir").arg(self.node.state());
        command
    }

    fn run(&self, verb: &str, more: &[&str]) -> Output {
        self.command(verb).args(more).output().unwrap()
    }

    #[track_caller]
    fn says(&self, verb: &str, more: &[&str]) -> String {
        String::from_utf8(ok(self.run(verb, more)).stdout).unwrap()
    }

    fn texts(&self) -> [Option<String>; 2] {
        [self.drop_in(), self.hook()].map(|path| fs::read_to_string(path).ok())
    }

    /// As the repository has them, with the program and the directory of this test.
    fn expected(&self) -> [Option<String>; 2] {
        let drop_in = include_str!("../../hooks/podman-precreate/90-gpulease-precreate.conf");
        let hook = include_str!("../../hooks/podman-precreate/60-gpulease.json");
        let hook_file = self.hook();
        let dir = hook_file.parent().unwrap().display().to_string();
        [
            Some(drop_in.replace("/etc/containers/gpulease-hooks.d", &dir)),
            Some(hook.replace("/usr/local/bin/gpulease-hook", HOOK)),
        ]
    }
}

#[test]
fn both_files_go_in_and_out() {
    let podman = Podman::new();
    let said = podman.says("install", &["--dry-run"]);
    for path in [podman.drop_in(), podman.hook()] {
        assert!(said.contains(&format!("+++ {}", path.display())), "{said}");
    }
    assert!(said.contains("append = true") && said.contains("\"always\": true"), "{said}");
    assert_eq!((podman.texts(), podman.node.records()), ([None, None], 0));
    podman.says("install", &[]);
    assert_eq!((podman.texts(), podman.node.records()), (podman.expected(), 2));
    let said = podman.says("install", &[]);
    assert_eq!(said.matches("nothing to do").count(), 2, "{said}");
    let told: Value = serde_json::from_str(&podman.says("uninstall", &["--json"])).unwrap();
    assert_eq!(told["path"], podman.drop_in().to_str().unwrap());
    assert_eq!((&told["changed"], &told["also"][0]["changed"]), (&true.into(), &true.into()));
    assert_eq!(told["also"][0]["path"], podman.hook().to_str().unwrap());
    assert_eq!((podman.texts(), podman.node.records()), ([None, None], 0));
    assert!(!podman.node.dir.path().join("containers").exists(), "directories that were made go");
    podman.says("uninstall", &[]);
}

#[test]
fn files_come_back_to_the_byte() {
    let podman = Podman::new();
    let before = [
        "# house\r\n[engine]\r\nhooks_dir = [ \"/opt/house\" ] # ours\r\n".to_owned(),
        "{\"an\": \"other\"}".to_owned(),
    ];
    for (path, text) in [podman.drop_in(), podman.hook()].iter().zip(&before) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let said = podman.says("install", &[]);
    assert!(said.contains("note: the file had another hook than gpulease's"), "{said}");
    let [drop_in, hook] = podman.texts();
    assert_eq!(hook, podman.expected()[1]);
    let drop_in = drop_in.unwrap();
    assert!(drop_in.contains("\"/opt/house\"") && drop_in.contains("append = true"), "{drop_in}");
    assert!(drop_in.contains("# ours\r\n"), "{drop_in}");
    podman.says("uninstall", &[]);
    assert_eq!(podman.texts(), before.map(Some));
}

#[test]
fn changes_stay_and_no_empty_hook_is_left() {
    let podman = Podman::new();
    podman.says("install", &[]);
    let [drop_in, hook] = podman.texts().map(Option::unwrap);
    let theirs = drop_in.replace("[\"", "[\"/opt/house\", \"") + "env = [\"A=B\"]\n";
    fs::write(podman.drop_in(), theirs).unwrap();
    fs::write(podman.hook(), hook.replace("30", "60")).unwrap();
    podman.says("install", &[]);
    assert!(podman.texts()[1].as_ref().unwrap().contains("60"), "a time-out of theirs stays");
    podman.says("uninstall", &[]);
    let [drop_in, hook] = podman.texts();
    let drop_in = drop_in.unwrap();
    assert!(drop_in.contains("/opt/house") && drop_in.contains("A=B"), "{drop_in}");
    assert!(!drop_in.contains("gpulease-hooks.d") && hook.is_none(), "{drop_in}");
    // Without a record, too: Podman starts nothing while there is a hook's file that is empty.
    podman.says("install", &[]);
    fs::remove_dir_all(podman.node.state()).unwrap();
    podman.says("uninstall", &[]);
    assert_eq!(podman.texts()[1], None);
}

#[test]
fn killed_between_the_two_podman_never_reads_half() {
    for point in ["install-recorded", "install-written", "uninstall-written"] {
        let podman = Podman::new();
        let verb = point.split_once('-').unwrap().0;
        if verb == "uninstall" {
            podman.says("install", &[]);
        }
        let mut command = podman.command(verb);
        let killed = command.env("GPULEASE_FAILPOINT", format!("{point}=kill")).output().unwrap();
        assert!(killed.status.code().is_none(), "{point}");
        // The directory is named only while the hook is in it.
        assert_eq!(podman.texts()[0], None, "{point}");
        podman.says("install", &[]);
        assert_eq!(podman.texts(), podman.expected(), "{point}");
        podman.says("uninstall", &[]);
        assert_eq!((podman.texts(), podman.node.records()), ([None, None], 0), "{point}");
    }
}

#[test]
fn it_is_for_podman_and_beside_the_shims_entry() {
    for engine in ["docker", "containerd", "crio"] {
        let output = Command::new(CLI).args(["install", engine, "--precreate"]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{engine}");
        assert!(stderr(&output).contains("--precreate is for podman"), "{}", stderr(&output));
    }
    let podman = Podman::new();
    let output = podman.run("install", &["--default-runtime"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    podman.says("install", &[]);
    podman.node.says("install", &[]);
    let shim = podman.node.text();
    assert!(shim.contains("gpulease-runtime") && podman.node.records() == 3, "{shim}");
    // Each can go without the other.
    podman.says("uninstall", &[]);
    assert_eq!((podman.node.text(), podman.node.records()), (shim, 1));
    podman.says("install", &[]);
    podman.node.says("uninstall", &[]);
    assert_eq!((podman.texts(), podman.node.records()), (podman.expected(), 2));
}
