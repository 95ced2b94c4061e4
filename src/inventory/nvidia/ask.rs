//! Asks NVML, in a separate process, which may crash or hang: a library that waits in the kernel
//! for a broken GPU cannot be stopped otherwise.

use super::answer::Reply;
use super::library::{self, NvmlLibrary};
use crate::config::Config;
use crate::model::device::PciAddress;
use crate::model::spelled::spelled;
use crate::model::text::shown_line;
use crate::paths::Paths;
use crate::sys::ask::run_with_deadline;
use crate::sys::checked::FileError;
use serde::de::DeserializeOwned;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// The first argument of a `gpulease` that acts as the probe. It is not a command, and in no help
/// text.
pub const PROBE: &str = "probe-nvidia";

/// The longest answer that is read. One GPU takes 1 KiB, and 3 KiB with all its MIG instances.
const ANSWER_MAX: usize = 4 << 20;

/// Why NVML gave no answer.
#[derive(Debug, Error)]
pub enum ProbeError {
    /// NVML was not to be asked.
    #[error("it was not to be asked")]
    NotAsked,
    /// The library is not installed.
    #[error("there is no libnvidia-ml.so.1 below `{}`", .0.display())]
    NoLibrary(PathBuf),
    /// The library failed, or the process that asks it.
    #[error("{0}")]
    Failed(String),
}

impl From<FileError> for ProbeError {
    fn from(error: FileError) -> Self {
        Self::Failed(format!("the library is not loaded: {error}"))
    }
}

spelled! {
    /// The questions to the probe.
    pub(super) enum ProbeQuestion {
        Devices = "devices",
        Processes = "processes",
        Usage = "usage",
    }
}

/// Whether the kernel module is loaded.
pub(super) fn is_loaded(paths: &Paths) -> bool {
    paths.sys.join("module/nvidia").exists() || paths.proc.join("driver/nvidia").exists()
}

/// Asks the library of this host, within `config.probe_timeout`.
pub(super) fn ask<T: DeserializeOwned>(
    paths: &Paths,
    config: &Config,
    question: ProbeQuestion,
    gpus: &[PciAddress],
) -> Result<T, ProbeError> {
    let library = library::find(paths, config, is_loaded(paths))?;
    ask_library(&library, config, question, gpus)
}

/// Asks this library. `gpus` are the GPUs that it should know.
pub(super) fn ask_library<T: DeserializeOwned>(
    library: &NvmlLibrary,
    config: &Config,
    question: ProbeQuestion,
    gpus: &[PciAddress],
) -> Result<T, ProbeError> {
    let path = library.path().ok_or_else(|| ProbeError::NoLibrary(config.driver_root.clone()))?;
    let program = program().ok_or_else(|| {
        let why = "the program `gpulease`, which would ask it, is not beside this one";
        ProbeError::Failed(why.to_owned())
    })?;
    let gpus: Vec<OsString> = gpus.iter().map(|pci| pci.to_string().into()).collect();
    let mut args: Vec<&OsStr> =
        vec![OsStr::new(PROBE), path.as_os_str(), OsStr::new(question.as_str())];
    args.extend(gpus.iter().map(OsString::as_os_str));
    let asked = run_with_deadline(&program, &args, config.probe_timeout, ANSWER_MAX)
        .map_err(|error| ProbeError::Failed(error.to_string()))?;
    if !asked.status.success() {
        let mut why = format!("the process that asked it ended with {}", asked.status);
        let stderr = shown_line(&asked.stderr);
        if !stderr.is_empty() {
            why += &format!(", and said: {stderr}");
        }
        return Err(ProbeError::Failed(why));
    }
    match serde_json::from_slice(&asked.stdout) {
        Ok(Reply::Told(answer)) => Ok(answer),
        Ok(Reply::Failed(why)) => Err(ProbeError::Failed(shown_line(&why))),
        Err(error) => {
            let why = format!("its answer cannot be read: {}", shown_line(&error.to_string()));
            Err(ProbeError::Failed(why))
        }
    }
}

/// The `gpulease` program that acts as the probe: this program, even if its file was replaced, or
/// the one beside another program of the same build, such as a test.
fn program() -> Option<PathBuf> {
    const NAME: &str = "gpulease";
    let this = std::env::current_exe().ok()?;
    // If the file was replaced while it ran, the kernel says `gpulease (deleted)`.
    let name = this.file_name()?.to_string_lossy();
    if name.trim_end_matches(" (deleted)") == NAME {
        return Some(Path::new("/proc/self/exe").to_owned());
    }
    // cargo puts tests one level below programs.
    let mut beside = this.ancestors().skip(1).take(2).map(|directory| directory.join(NAME));
    beside.find(|path| path.is_file())
}
