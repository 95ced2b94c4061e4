//! `gpulease install` and `uninstall`: an engine's configuration with gpulease in it, and
//! as it was before.
//!
//! Each engine has a module of pure functions, from text to text, to `wire` it and undo that. What
//! is common lies around them: reading and replacing the file, the record that makes undoing
//! exact, the diff, the reload.

mod containerd;
mod crio;
mod docker;
mod engine;
mod file;
mod podman;
pub(super) mod precreate;
mod record;
mod recorded;
mod reload;
mod report;
mod tables;
mod text;
mod undo;
mod wire;

use super::args::InstallOptions;
use super::output::{Answer, Output, Paint};
use crate::failure::Failure;
use crate::model::code::Code;
use crate::model::text::shown_line;
use std::path::Path;
use thiserror::Error;

pub(super) use engine::Engine;
pub(super) use recorded::uninstall_recorded;
pub(super) use undo::uninstall;
pub(super) use wire::install;

/// What the runtime is called in every engine.
const NAME: &str = "gpulease";

/// Above what is appended to a TOML file.
const COMMENT: &str = "# Added by `gpulease install`; `gpulease uninstall` removes it.\n";
const COMMENT_MARK: &str = "`gpulease install`";

/// The annotations that containerd is to hand on: those that are read. In its patterns `*` stops
/// at a `/`; the second one is for `CONTAINER.gpulease/count`.
const ANNOTATIONS: &[&str] = &["gpulease/*", "*.gpulease/*", "kaiwo.ai/gpu-*"];

/// What to put in.
#[derive(Debug, Clone, Copy)]
struct Wiring<'a> {
    runtime: &'a str,
    /// Whether containers use it that name no runtime.
    default_runtime: bool,
    hook: &'a str,
    /// The directory of Podman's file that calls it.
    hooks_dir: &'a str,
}

/// A file's new text.
#[derive(Debug, Default)]
struct Edit {
    text: String,
    /// What of it was appended, to be cut out again.
    added: Vec<String>,
    /// What the user should know.
    notes: Vec<String>,
}

impl Edit {
    fn new(text: String) -> Self {
        Self { text, ..Self::default() }
    }
}

/// Why a file is not edited.
#[derive(Debug, PartialEq, Eq, Error)]
enum Fault {
    #[error("line {line}, column {column}: {message}")]
    Syntax { line: usize, column: usize, message: String },
    #[error("{key} is not {expected}")]
    Shape { key: String, expected: &'static str },
}

impl Fault {
    fn in_file(&self, path: &Path) -> Failure {
        let text = match self {
            Self::Syntax { .. } => format!("cannot parse `{}`: {self}", path.display()),
            Self::Shape { .. } => format!("cannot edit `{}`: {self}", path.display()),
        };
        Failure::new(Code::BadConfig, shown_line(&text))
            .hint("nothing was changed; correct the file and try again")
    }
}

/// What to say where the default was ours.
fn default_restored(was: Option<&str>) -> String {
    match was.filter(|was| *was != NAME) {
        Some(was) => format!("the default runtime is `{}` again", shown_line(was)),
        None => "the default runtime is the engine's own again".to_owned(),
    }
}

/// `wire` of an engine, on a text as it is in the file.
fn wired(engine: Engine, file: &str, wiring: &Wiring<'_>) -> Result<Edit, Fault> {
    let text = text::Text::of(file);
    let body = text.body.as_str();
    let edit = match engine {
        Engine::Docker => docker::wire(body, wiring),
        Engine::Podman => podman::wire(body, wiring),
        Engine::Containerd => containerd::wire(body, wiring),
        Engine::Crio => crio::wire(body, wiring),
        Engine::PodmanHooksDir => precreate::wire_dir(body, wiring),
        Engine::PodmanHook => Ok(precreate::wire_hook(body, wiring)),
    }?;
    if edit.text == text.body {
        return Ok(Edit { text: file.to_owned(), ..edit });
    }
    let mut edit = Edit { text: text.with(&edit.text), ..edit };
    if text.has_mixed_ends {
        edit.notes
            .push("the file had line ends of both kinds, and has CR LF everywhere now".into());
    }
    Ok(edit)
}

/// `unwire` of an engine, on a text as it is in the file.
fn unwired(
    engine: Engine,
    file: &str,
    before: Option<&str>,
    added: &[String],
) -> Result<Edit, Fault> {
    let text = text::Text::of(file);
    let body = text.body.as_str();
    let before = before.map(|before| text::Text::of(before).body);
    let before = before.as_deref();
    let edit = match engine {
        Engine::Docker => docker::unwire(body, before),
        Engine::Podman => tables::unwire(body, before, added, &podman::LAYOUT, |_| true),
        Engine::Containerd => containerd::unwire(body, before, added),
        Engine::Crio => tables::unwire(body, before, added, &crio::LAYOUT, |_| true),
        Engine::PodmanHooksDir => precreate::unwire_dir(body, before),
        Engine::PodmanHook => Ok(Edit::default()),
    }?;
    let new = if edit.text == text.body { file.to_owned() } else { text.with(&edit.text) };
    Ok(Edit { text: new, ..edit })
}

/// Whether a file has anything of ours.
fn is_wired(engine: Engine, file: &str) -> bool {
    let body = text::Text::of(file).body;
    let document = tables::parse(&body);
    match (engine, &document) {
        (Engine::Docker, _) => docker::is_wired(&body),
        (Engine::PodmanHook, _) => precreate::calls(&body).is_some(),
        (_, Err(_)) => false,
        (Engine::Podman, Ok(document)) => podman::LAYOUT.is_wired(document),
        (Engine::Containerd, Ok(document)) => containerd::is_wired(document),
        (Engine::Crio, Ok(document)) => crio::LAYOUT.is_wired(document),
        (Engine::PodmanHooksDir, Ok(document)) => precreate::is_dir(document),
    }
}
