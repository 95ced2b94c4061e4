//! `gpulease install` and `uninstall`: an engine's configuration with gpulease in it, and as it
//! was before.
//!
//! `engines` knows the files and edits their texts. Here is what is common to all: reading and
//! replacing the file, the record that makes undoing exact, the diff, the reload, the report.

mod config_file;
mod record;
mod recorded;
mod reload;
mod report;
mod undo;
mod wire;

use super::args::InstallOptions;
use super::output::{Answer, Output, Paint};
use crate::engines::{Engine, EngineFile};
use clap::ValueEnum;
use clap::builder::PossibleValue;

pub(super) use recorded::uninstall_recorded;
pub(super) use undo::uninstall;
pub(super) use wire::install;

impl ValueEnum for Engine {
    fn value_variants<'a>() -> &'a [Self] {
        Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let path = self.file().default_path().display().to_string();
        Some(PossibleValue::new(self.name()).help(path))
    }
}

/// The text below the options in the help of `install`.
pub(super) fn after_help() -> String {
    let row = |engine: Engine| {
        let path = engine.file().default_path().display();
        format!("  {:<11} {path}\n", engine.name())
    };
    let files: String = Engine::ALL.iter().copied().map(row).collect();
    let drop_in = EngineFile::PodmanHooksDir.default_path().display();
    let hook = EngineFile::PodmanHook.default_path().display();
    format!(
        "Files:\n{files}\n\
         With --precreate:\n  \
           podman      {drop_in}\n              {hook}\n\n\
         --config names the first of them then; the other lies in ../gpulease-hooks.d.\n\n\
         Examples:\n  \
           gpulease install docker --dry-run\n  \
           gpulease install docker --default-runtime --reload\n  \
           gpulease install podman --precreate\n  \
           gpulease install containerd --config /srv/containerd/config.toml"
    )
}
