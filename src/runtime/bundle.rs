//! The bundle: a directory with a `config.json` (runtime-spec, bundle.md).

use super::args::{Given, Invocation};
use crate::failure::Failure;
use crate::model::code::Code;
use crate::model::variables;
use crate::start::bundle::{CONFIG, MAX_BYTES, is_fixed, is_regular, read_limited};
use crate::start::lowlevel::RuntimeKind;
use crate::sys::checked::{Stream, read_stream};
use crate::sys::{PathError, handed};
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};

/// The bundle of a call, and its configuration.
#[derive(Debug, Clone)]
pub(super) struct Bundle {
    pub dir: PathBuf,
    /// Its `config.json`, or the file that `--config` names.
    pub config: PathBuf,
    pub given: Option<Given>,
}

/// How another configuration can be passed to the runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConfigRedirect {
    /// By replacing the file, which is the bundle's own.
    InPlace,
    /// By a copy that the runtime is pointed to.
    Copy,
    /// Not at all: the runtime reads only `config.json`, which is a link.
    Fixed,
}

impl Bundle {
    /// The bundle of `--bundle`, or of the current directory, as in runc.
    pub(super) fn of(call: &Invocation, kind: RuntimeKind) -> Result<Self, Failure> {
        let dir = absolute(call.bundle.as_deref().unwrap_or(Path::new("")))?;
        // crun takes this name for the bundle's own file.
        let is_own = |given: &Given| kind == RuntimeKind::Crun && given.path == Path::new(CONFIG);
        let given = call.config_file.clone().filter(|given| !is_own(given));
        let config = match &given {
            Some(given) => absolute(&given.path)?,
            None => dir.join(CONFIG),
        };
        Ok(Self { dir, config, given })
    }

    /// Reads the configuration. A pipe can only be read once, so the runtime then needs a copy.
    pub(super) fn read(&self, kind: RuntimeKind) -> Result<(Stream, ConfigRedirect), PathError> {
        let is_own = self.given.is_none();
        if is_own && (kind == RuntimeKind::Runc || is_regular(&self.config)) {
            let bytes = read_limited(&self.config)?;
            let way = if is_fixed(&self.config, kind) {
                ConfigRedirect::Fixed
            } else {
                ConfigRedirect::InPlace
            };
            return Ok((Stream { bytes, is_regular: true }, way));
        }
        Ok((read_given(&self.config)?, ConfigRedirect::Copy))
    }

    /// Every configuration that the call could mean, if that is uncertain.
    pub(super) fn likely(call: &Invocation) -> Vec<PathBuf> {
        let bundles = call.likely_bundles();
        // Without a current directory a relative path means nothing.
        let dirs = bundles.iter().filter_map(|dir| absolute(dir).ok()).collect::<Vec<_>>();
        let mut likely: Vec<_> = dirs.iter().map(|dir| dir.join(CONFIG)).collect();
        for config in call.likely_configs() {
            likely.extend(absolute(&config));
            likely.extend(dirs.iter().map(|dir| dir.join(&config)));
        }
        likely
    }
}

/// An absolute path. An empty one is the current directory.
fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    if path.is_absolute() {
        return Ok(path.to_owned());
    }
    let cwd = std::env::current_dir().map_err(|error| {
        Failure::new(Code::BadBundle, format!("cannot tell the current directory: {error}"))
    })?;
    Ok(if path.as_os_str().is_empty() { cwd } else { cwd.join(path) })
}

/// Reads a file of any kind that the caller named, up to a limit: a pipe to its end, as the runtime
/// would. It can be read only once.
pub(super) fn read_given(path: &Path) -> Result<Stream, PathError> {
    read_stream(path, MAX_BYTES).map_err(PathError::new("read", path))
}

/// A copy of the file that the caller gave as `path`, for the low-level runtime.
pub(super) fn hand_on(call: &Invocation, path: &Path, text: &[u8]) -> Result<PathBuf, Failure> {
    handed::hand_on(text, first_free(call)).map_err(|error| {
        let shown = path.display();
        let text = format!("cannot hand a copy of `{shown}` to the low-level runtime: {error}");
        Failure::new(Code::BadBundle, text)
    })
}

/// The first descriptor that the runtime does not pass on to the container. Before it are the
/// standard ones, and those of `LISTEN_FDS` (sd_listen_fds(3)) and `--preserve-fds`.
fn first_free(call: &Invocation) -> RawFd {
    let listened =
        std::env::var(variables::LISTEN_FDS).ok().and_then(|count| count.trim().parse().ok());
    let passed = call.preserved.saturating_add(listened.unwrap_or(0u32)).saturating_add(3);
    RawFd::try_from(passed).unwrap_or(RawFd::MAX)
}
