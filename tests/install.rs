//! `gpulease install` and `uninstall` on engines' configuration files as they are found in the
//! world: tests/fixtures/engines. The engines' own judgement of them is in engine_files.rs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests, which clippy does not know as tests"
)]

#[path = "install/edits.rs"]
mod edits;
#[path = "install/files.rs"]
mod files;
#[path = "install/handlers.rs"]
mod handlers;
#[path = "install/k3s.rs"]
mod k3s;
#[path = "install/precreate.rs"]
mod precreate;
#[path = "install/recorded.rs"]
mod recorded;
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use support::{CLI, SHIM, ok};

const ENGINES: &[&str] = &["docker", "podman", "containerd", "crio"];

/// The files of an engine, without those that it does not take.
fn fixtures(engine: &str) -> Vec<PathBuf> {
    let dir = fixture(engine, "");
    let mut files: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|path| !path.file_name().unwrap().to_str().unwrap().starts_with("bad-"));
    files.sort();
    assert!(files.len() >= 10, "{engine} has {} files", files.len());
    files
}

fn fixture(engine: &str, name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/engines").join(engine).join(name)
}

/// One configuration file, and a place for the record.
struct Node {
    dir: tempfile::TempDir,
    engine: &'static str,
}

impl Node {
    fn new(engine: &'static str) -> Self {
        // What others can write is refused, so no file of a test may depend on who runs it.
        nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
        Self { dir: tempfile::Builder::new().prefix("gpulease-test-").tempdir().unwrap(), engine }
    }

    fn with(engine: &'static str, file: &Path) -> Self {
        Self::with_text(engine, fs::read(file).unwrap())
    }

    fn with_text(engine: &'static str, text: impl AsRef<[u8]>) -> Self {
        let node = Self::new(engine);
        fs::write(node.config(), text).unwrap();
        node
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("engine.conf")
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("lib/install")
    }

    fn text(&self) -> String {
        fs::read_to_string(self.config()).unwrap()
    }

    fn records(&self) -> usize {
        fs::read_dir(self.state()).map_or(0, Iterator::count)
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(CLI);
        command.arg(verb).arg(self.engine).arg("--config").arg(self.config());
        command.arg("--state-dir").arg(self.state());
        command
    }

    fn run(&self, verb: &str, more: &[&str]) -> Output {
        self.command(verb).args(more).output().unwrap()
    }

    #[track_caller]
    fn says(&self, verb: &str, more: &[&str]) -> String {
        String::from_utf8(ok(self.run(verb, more)).stdout).unwrap()
    }
}

/// Whether a file has the runtime of this build, as a reader of its format sees it.
fn has_runtime(engine: &str, text: &str) -> bool {
    runtime_of(engine, text).as_deref() == Some(SHIM)
}

fn runtime_of(engine: &str, text: &str) -> Option<String> {
    let text = text.trim_start_matches('\u{feff}');
    if engine == "docker" {
        let json: serde_json::Value = serde_json::from_str(text).ok()?;
        return Some(json["runtimes"]["gpulease"]["path"].as_str()?.to_owned());
    }
    let toml: toml::Table = text.parse().unwrap();
    let at = |path: &[&str]| {
        let first = toml.get(path[0])?;
        path[1..].iter().try_fold(first, |value, key| value.get(key)).cloned()
    };
    let found = match engine {
        "podman" => at(&["engine", "runtimes", "gpulease"])?.get(0)?.clone(),
        "crio" => at(&["crio", "runtime", "runtimes", "gpulease", "runtime_path"])?,
        _ => ["cri", "io.containerd.grpc.v1.cri", "io.containerd.cri.v1.runtime"].iter().find_map(
            |plugin| {
                let runtimes = ["plugins", plugin, "containerd", "runtimes"];
                at(&[&runtimes[..], &["gpulease", "options", "BinaryName"]].concat())
            },
        )?,
    };
    Some(found.as_str()?.to_owned())
}
