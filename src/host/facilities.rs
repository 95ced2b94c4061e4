//! Looks up the facilities of this host that can enforce shares.

use crate::config::{ComputeMode, Config, MpsDaemon};
use crate::model::facilities::{Facilities, Mps, MpsDaemons};
use crate::paths::Paths;
use crate::sys::dmem;
use std::path::PathBuf;

/// Where packages put NVIDIA's programs.
const DIRECTORIES: &[&str] = &["usr/bin", "bin", "usr/local/bin", "opt/bin"];

/// Looks for everything that can enforce shares. This costs a few reads and no lock, because each
/// start that asks for a share does it.
pub fn facilities(config: &Config, paths: &Paths) -> Facilities {
    Facilities { dmem: dmem::regions(paths), mps: mps(config, paths) }
}

fn mps(config: &Config, paths: &Paths) -> Result<Mps, String> {
    let control = match &config.mps.control {
        Some(path) if paths.on_host(path).is_file() => path.clone(),
        Some(path) => return Err(format!("there is no program `{}`", path.display())),
        None => program("nvidia-cuda-mps-control", config)
            .ok_or_else(|| "the program nvidia-cuda-mps-control is not installed".to_owned())?,
    };
    let daemons = match config.mps.daemon {
        MpsDaemon::Device => MpsDaemons::PerDevice,
        MpsDaemon::Lease => MpsDaemons::PerLease,
    };
    let exclusive = match (daemons, config.mps.compute_mode) {
        (MpsDaemons::PerLease, _) => {
            Err("a GPU with an MPS daemon for each lease cannot be closed to all but one"
                .to_owned())
        }
        (_, ComputeMode::Keep) => Err("`mps.compute_mode` is `keep`".to_owned()),
        (_, ComputeMode::ExclusiveProcess) => program("nvidia-smi", config)
            .map(drop)
            .ok_or_else(|| "nvidia-smi, which sets the compute mode, is not installed".to_owned()),
    };
    Ok(Mps { control, daemons, exclusive })
}

/// A program of NVIDIA's driver.
pub fn program(name: &str, config: &Config) -> Option<PathBuf> {
    let paths = DIRECTORIES.iter().map(|dir| config.driver_root.join(dir).join(name));
    paths.into_iter().find(|path| path.is_file())
}
