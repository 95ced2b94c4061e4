//! The files of each engine: where they are, how the engine reads them, what gpulease
//! writes into them, and how the engine is made to read them again.
//!
//! One module an engine. `install` and `uninstall` edit the files by [`EngineFile`], doctor reads
//! them by [`Engine::read`]. The edits are pure functions from text to text; their
//! common parts are in `text` (byte order marks, line ends), `toml_settings` (settings in TOML) and
//! `files` (reading what may be anything).

mod containerd;
mod containerd_files;
mod crio;
mod docker;
mod docker_flags;
mod edit;
mod files;
mod handler;
mod k3s;
mod layout;
mod podman;
mod podman_hook;
mod systemd;
mod text;
mod toml_settings;

pub use edit::{EditError, EditedText, Wiring};
pub use files::{ReadError, Unreadable, drop_ins, read_text};
pub use podman::DEFAULT_HOOKS_DIRS;
pub use podman_hook::{
    OWN_HOOKS_DIR, calls_our_hook, check_version, hook_file_of, is_own_hooks_dir,
};

use crate::failure::Failure;
use crate::model::encoding::Encoding;
use crate::paths::Paths;
use std::path::{Path, PathBuf};
use text::Text;

/// The runtime's name in every engine.
const NAME: &str = "gpulease";

/// An engine that gpulease can be put into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    Docker,
    Podman,
    Containerd,
    Crio,
}

/// An engine's configuration, as the engine merges its files.
#[derive(Debug)]
pub struct EngineConfig {
    pub engine: Engine,
    /// The main file, where a user corrects the list of runtimes.
    pub file: PathBuf,
    /// The template of k3s or RKE2 from which the main file is made: then `file` is that.
    pub template: Option<PathBuf>,
    pub runtimes: Vec<RuntimeEntry>,
    /// The runtime of containers that name none.
    pub default: Option<String>,
    /// The runtime whose settings for pods gpulease's must equal; `None` where there are none.
    pub node_runtime: Option<String>,
    /// The directories from which the engine takes OCI hooks, as the host names them.
    pub hooks_dirs: Vec<PathBuf>,
}

/// A runtime that an engine lists.
#[derive(Debug)]
pub struct RuntimeEntry {
    pub name: String,
    /// Absolute paths, or names for the engine's search path. The first that exists is called.
    pub programs: Vec<String>,
    /// containerd's settings for pods; `None` for other engines.
    pub cri: Option<CriSettings>,
}

/// The settings of a containerd runtime on which pods depend.
#[derive(Debug, Default)]
pub struct CriSettings {
    /// Patterns of the pod annotations that the runtime is given.
    pub pod_annotations: Vec<String>,
    pub has_systemd_cgroup: bool,
}

impl EngineConfig {
    /// The command that puts gpulease into the engine, with a reload where it needs one.
    pub fn install_command(&self) -> String {
        let file = self.engine.file();
        let path = self.template.as_deref().unwrap_or(file.default_path());
        let reload = if file.reload(path).is_some() { " --reload" } else { "" };
        let named = self.template.as_ref().map(|path| format!(" --config {}", path.display()));
        let named = named.unwrap_or_default();
        format!("gpulease install {}{named}{reload}", self.engine.name())
    }
}

impl Engine {
    pub const ALL: &[Self] = &[Self::Docker, Self::Podman, Self::Containerd, Self::Crio];

    /// As on the command line.
    pub const fn name(self) -> &'static str {
        self.file().name()
    }

    /// As its makers write it.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Docker => "Docker",
            Self::Podman => "Podman",
            Self::Containerd => "containerd",
            Self::Crio => "CRI-O",
        }
    }

    /// The program that reads the configuration.
    pub const fn program(self) -> &'static str {
        match self {
            Self::Docker => docker::PROGRAM,
            Self::Podman => podman::PROGRAM,
            Self::Containerd => containerd::PROGRAM,
            Self::Crio => crio::PROGRAM,
        }
    }

    /// The file that `install` edits.
    pub const fn file(self) -> EngineFile {
        match self {
            Self::Docker => EngineFile::Docker,
            Self::Podman => EngineFile::Podman,
            Self::Containerd => EngineFile::Containerd,
            Self::Crio => EngineFile::Crio,
        }
    }

    /// Runtimes that can be named without being listed.
    pub const fn built_in_runtimes(self) -> &'static [&'static str] {
        match self {
            Self::Docker => docker::BUILT_IN,
            Self::Podman => podman::BUILT_IN,
            Self::Containerd => containerd::BUILT_IN,
            Self::Crio => crio::BUILT_IN,
        }
    }

    /// The configuration of an engine that is installed; `Ok(None)` if it is not. Fails if a
    /// file cannot be read, or not as the engine reads it.
    pub fn read(self, paths: &Paths) -> Result<Option<EngineConfig>, ReadError> {
        match self {
            Self::Docker => docker::read(paths),
            Self::Podman => podman::read(paths),
            Self::Containerd => containerd::read(paths),
            Self::Crio => crio::read(paths),
        }
    }
}

/// A file that gpulease edits: the main one of an engine, or one of the two by which Podman
/// calls the hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineFile {
    Docker,
    Podman,
    Containerd,
    Crio,
    /// The drop-in that has Podman read the hook's directory.
    PodmanHooksDir,
    /// The file in that directory, which says how the hook is called.
    PodmanHook,
}

impl EngineFile {
    const ALL: [Self; 6] = [
        Self::Docker,
        Self::Podman,
        Self::Containerd,
        Self::Crio,
        Self::PodmanHooksDir,
        Self::PodmanHook,
    ];

    /// The one that a record names.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|file| file.name() == name)
    }

    /// As records and reports name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::Containerd => "containerd",
            Self::Crio => "crio",
            Self::PodmanHooksDir => "podman-hooks-dir",
            Self::PodmanHook => "podman-hook",
        }
    }

    /// The engine that reads it.
    pub const fn engine(self) -> Engine {
        match self {
            Self::Docker => Engine::Docker,
            Self::Podman | Self::PodmanHooksDir | Self::PodmanHook => Engine::Podman,
            Self::Containerd => Engine::Containerd,
            Self::Crio => Engine::Crio,
        }
    }

    /// Where it is. Podman and CRI-O read directories of drop-ins: there gpulease has a file of
    /// its own, and no file of the engine changes.
    pub fn default_path(self) -> &'static Path {
        Path::new(match self {
            Self::Docker => docker::CONFIG,
            Self::Podman => podman::DROP_IN,
            Self::Containerd => containerd::CONFIG,
            Self::Crio => crio::DROP_IN,
            Self::PodmanHooksDir => podman_hook::DROP_IN,
            Self::PodmanHook => podman_hook::HOOK_FILE,
        })
    }

    /// The verb by which systemd makes the engine read the file, and the unit; `None` for Podman,
    /// which reads its files for each command. Containers live through a reload or restart.
    pub fn reload(self, path: &Path) -> Option<(&'static str, &'static str)> {
        match self {
            // dockerd reads its runtimes anew on SIGHUP, if the file names any.
            Self::Docker => Some(("reload", docker::UNIT)),
            // containerd knows no reload; k3s and RKE2 start one of their own.
            Self::Containerd => {
                let unit = k3s::program_and_unit(path).map_or(containerd::UNIT, |(_, unit)| unit);
                Some(("restart", unit))
            }
            // CRI-O reloads some of its options only.
            Self::Crio => Some(("restart", crio::UNIT)),
            Self::Podman | Self::PodmanHooksDir | Self::PodmanHook => None,
        }
    }

    /// The program that reads the file at `path`.
    pub fn program(self, path: &Path) -> &'static str {
        let of_k3s = || k3s::program_and_unit(path).map(|(program, _)| program);
        let of_k3s = if self == Self::Containerd { of_k3s() } else { None };
        of_k3s.unwrap_or(self.engine().program())
    }

    /// The file to name instead, where this one is of an engine that is not installed and another
    /// one of its kind is: k3s and RKE2 have a containerd of their own.
    pub fn file_of_another_kind(self) -> Option<PathBuf> {
        if self == Self::Containerd { k3s::installed_template() } else { None }
    }

    /// The text of the file at `path` with gpulease in it; the same text if it is in already.
    pub fn wire(
        self,
        path: &Path,
        file: &str,
        wiring: &Wiring<'_>,
    ) -> Result<EditedText, EditError> {
        let text = Text::of(file);
        let body = text.body.as_str();
        let mut edit = match self {
            Self::Docker => docker::wire(body, wiring),
            Self::Podman => podman::wire(body, wiring),
            Self::Containerd => containerd::wire(path, body, wiring),
            Self::Crio => crio::wire(path, body, wiring),
            Self::PodmanHooksDir => podman_hook::wire_dir(body, wiring),
            Self::PodmanHook => Ok(podman_hook::wire_hook(body, wiring)),
        }?;
        if edit.text != text.body && text.has_mixed_ends {
            let note = "the file had line ends of both kinds, and has CR LF everywhere now";
            edit.notes.push(note.to_owned());
        }
        Ok(EditedText { text: text.with(&edit.text), ..edit })
    }

    /// The file's text without gpulease; the same text if it is not in. `before` is the text from
    /// before gpulease was put in, `added` the parts that were appended then.
    pub fn unwire(
        self,
        path: &Path,
        file: &str,
        before: Option<&str>,
        added: &[String],
    ) -> Result<EditedText, EditError> {
        let text = Text::of(file);
        let before = before.map(|before| Text::of(before).body);
        let (body, before) = (text.body.as_str(), before.as_deref());
        let edit = match self {
            Self::Docker => docker::unwire(body, before),
            Self::Podman => podman::LAYOUT.unwire(body, before, added),
            Self::Containerd => containerd::unwire(path, body, before, added),
            Self::Crio => crio::LAYOUT.unwire(body, before, added),
            Self::PodmanHooksDir => podman_hook::unwire_dir(body, before),
            Self::PodmanHook => Ok(EditedText::default()),
        }?;
        Ok(EditedText { text: text.with(&edit.text), ..edit })
    }

    /// Whether a text has gpulease, as far as it can be read.
    pub fn is_wired(self, path: &Path, file: &str) -> bool {
        let body = Text::of(file).body;
        match self {
            Self::Docker => docker::is_wired(&body),
            Self::Podman => podman::LAYOUT.is_in(&body),
            Self::Containerd => containerd::is_wired(path, &body),
            Self::Crio => crio::LAYOUT.is_in(&body),
            Self::PodmanHooksDir => podman_hook::is_dir_wired(&body),
            Self::PodmanHook => podman_hook::calls_our_hook(&body).is_some(),
        }
    }

    /// Whether a text says no more than no file does.
    pub fn is_blank(self, file: &str) -> bool {
        let words: String = file.split_whitespace().collect();
        matches!(words.as_str(), "" | "{}") || self == Self::Containerd && k3s::is_blank(file)
    }

    /// The notes for a default runtime that drop-ins read after the one at `path` replace.
    pub fn later_defaults(self, path: &Path) -> Vec<String> {
        match self {
            Self::Podman => podman::LAYOUT.later_defaults(path),
            Self::Crio => crio::LAYOUT.later_defaults(path),
            // containerd's imports are looked at when its file is edited.
            _ => Vec::new(),
        }
    }

    /// The text of a file, as its engine decodes it. Fails with the place of the first byte that
    /// is not text.
    pub fn decode(self, bytes: Vec<u8>) -> Result<(String, Encoding), EditError> {
        if self == Self::Docker {
            docker::decode(bytes)
        } else {
            Ok((text::utf8(bytes)?, Encoding::Utf8))
        }
    }

    /// Holds the new text of a file against the flags of its engine. Returns notes. Fails with
    /// `bad-config` if the engine would not start with it, or reads another file.
    pub fn check_flags(
        self,
        path: &Path,
        old: Option<&str>,
        new: &str,
        wiring: &Wiring<'_>,
    ) -> Result<Vec<String>, Failure> {
        if self != Self::Docker {
            return Ok(Vec::new());
        }
        docker_flags::check(path, old, new, wiring, &Paths::default())
    }

    /// Other files of the same engine that still make gpulease the default runtime.
    pub fn others_with_our_default(self, path: &Path) -> Vec<PathBuf> {
        match self {
            Self::Podman => podman::LAYOUT.others_with_our_default(path, podman::MAIN),
            Self::Crio => crio::LAYOUT.others_with_our_default(path, crio::MAIN),
            _ => Vec::new(),
        }
    }

    /// A note on the settings of gpulease that the engine keeps after a reload.
    pub fn kept_by_reload(self, old: &str, new: Option<&str>) -> Option<String> {
        if self == Self::Docker { docker::kept_by_reload(old, new) } else { None }
    }

    /// `new` with the engine's own default spelled out, if `old` made gpulease the default, `new`
    /// names none, and a reload would keep gpulease.
    pub fn with_default_named(self, old: &str, new: &str) -> Result<Option<String>, EditError> {
        if self == Self::Docker { docker::with_default_named(old, new) } else { Ok(None) }
    }
}
