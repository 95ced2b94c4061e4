//! The settings, with their defaults.

use crate::model::order;
use crate::model::spelled::spelled;
use crate::paths::Paths;
use crate::request::Policy;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

/// Where devices are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    Static,
    /// NVIDIA's driver: NVML, or procfs without it.
    Nvidia,
    /// AMD's driver: KFD's topology and DRM.
    Amd,
    /// Intel's drivers: DRM. This source is off by default, because the built-in graphics of
    /// servers and desktops would be leased for computing.
    Intel,
}

impl Source {
    /// The sources that are used unless the configuration says otherwise.
    pub const DEFAULT: [Self; 3] = [Self::Static, Self::Nvidia, Self::Amd];
}

spelled! {
    /// The provider of the vendor's driver files in a container.
    pub enum DriverSetting {
        /// The best provider that this host has.
        Auto = "auto",
        /// The image itself. The container gets device nodes and variables only.
        None = "none",
        /// gpulease, which finds the files on the host.
        Native = "native",
        /// The host's CDI specs, which name the files.
        Cdi = "cdi",
        /// The low-level runtime, which is the vendor's own.
        Chain = "chain",
    }
}

impl DriverSetting {
    /// The provider that is used, which is never [`Self::Auto`]. It depends on whether the
    /// low-level runtime gives the devices by itself, whether there are driver files, and whether
    /// CDI specs name them.
    pub const fn comes_to(self, by_runtime: bool, has_files: bool, is_named: bool) -> Self {
        match self {
            Self::Auto if by_runtime => Self::Chain,
            Self::Auto if has_files => Self::Native,
            Self::Auto if is_named => Self::Cdi,
            Self::Auto => Self::None,
            set => set,
        }
    }

    /// Whether this provider may be the one that is used.
    pub fn may_be(self, provider: Self) -> bool {
        self == Self::Auto || self == provider
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The low-level runtime; `None` for the first of runc and crun in fixed system directories.
    pub runtime: Option<PathBuf>,
    /// The directory of the leases, the lock and the inventory.
    pub run_dir: PathBuf,
    /// The devices file, which is the static source. It need not exist.
    pub devices_file: PathBuf,
    /// Where devices are looked for.
    pub sources: BTreeSet<Source>,
    /// The provider of the driver files.
    pub driver: DriverSetting,
    /// The directory that contains the file system of NVIDIA's driver.
    pub driver_root: PathBuf,
    /// How long a vendor's library may take to answer.
    pub probe_timeout: Duration,
    /// The hook program for specs; `None` for the one beside the shim.
    pub hook: Option<PathBuf>,
    /// The administrator's policy on requests.
    pub policy: Policy,
    pub mps: MpsConfig,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MpsConfig {
    /// The control program; `None` for the first `nvidia-cuda-mps-control` in fixed directories
    /// below `driver_root`.
    pub control: Option<PathBuf>,
    /// Whether a daemon serves a device or a lease.
    pub daemon: MpsDaemon,
    /// The compute mode of a GPU while a daemon serves it.
    pub compute_mode: ComputeMode,
    /// How long a daemon may take to start and to accept its limits.
    pub start_timeout: Duration,
    /// How long a daemon keeps running after the end of its last lease.
    pub stop_grace: Duration,
}

impl Default for MpsConfig {
    fn default() -> Self {
        Self {
            control: None,
            daemon: MpsDaemon::Device,
            compute_mode: ComputeMode::ExclusiveProcess,
            start_timeout: Duration::from_secs(10),
            stop_grace: Duration::from_secs(10),
        }
    }
}

/// The leases that an MPS daemon serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MpsDaemon {
    /// All leases on one device.
    Device,
    Lease,
}

/// A GPU's compute mode while an MPS daemon serves it (`nvidia-smi -c`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ComputeMode {
    /// `EXCLUSIVE_PROCESS`: the MPS server alone. The earlier mode is restored afterwards.
    ExclusiveProcess,
    Keep,
}

impl Default for Config {
    fn default() -> Self {
        Self::of(&Paths::default())
    }
}

impl Config {
    /// The defaults on a host with these paths.
    pub fn of(paths: &Paths) -> Self {
        Self {
            runtime: None,
            run_dir: paths.run.clone(),
            devices_file: paths.etc.join("devices.toml"),
            sources: order::set(Source::DEFAULT),
            driver: DriverSetting::Auto,
            driver_root: paths.root.clone(),
            probe_timeout: Duration::from_secs(20),
            hook: None,
            policy: Policy::default(),
            mps: MpsConfig::default(),
        }
    }
}
