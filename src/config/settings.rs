//! What can be configured.

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
    /// Intel's drivers: DRM. Not looked for unless asked, or a server's or a desktop's built-in
    /// graphics would be leased to who wants to compute.
    Intel,
}

impl Source {
    /// Those that are looked at unless the configuration says otherwise.
    pub const DEFAULT: [Self; 3] = [Self::Static, Self::Nvidia, Self::Amd];
}

spelled! {
    /// Who brings the vendor's driver files into the container.
    pub enum DriverSetting {
        /// The best way that this host and this version have.
        Auto = "auto",
        /// Nobody: the image has them. Device nodes and variables only.
        None = "none",
        /// gpulease finds them on the host.
        Native = "native",
        /// The host's CDI specs name them.
        Cdi = "cdi",
        /// The low-level runtime is the vendor's own and adds them.
        Chain = "chain",
    }
}

impl DriverSetting {
    /// What it comes to, which is never [`Self::Auto`]: where the low-level runtime gives the devices
    /// by itself, where there are files of their driver, and where CDI specs name them.
    pub const fn comes_to(self, by_runtime: bool, has_files: bool, is_named: bool) -> Self {
        match self {
            Self::Auto if by_runtime => Self::Chain,
            Self::Auto if has_files => Self::Native,
            Self::Auto if is_named => Self::Cdi,
            Self::Auto => Self::None,
            set => set,
        }
    }

    /// Whether it may come to this.
    pub fn may_be(self, way: Self) -> bool {
        self == Self::Auto || self == way
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The low-level runtime; `None` is the first of runc and crun in fixed system directories.
    pub runtime: Option<PathBuf>,
    /// Leases, lock and inventory.
    pub run_dir: PathBuf,
    /// The static source of the inventory. It need not exist.
    pub devices_file: PathBuf,
    /// Where devices are looked for.
    pub sources: BTreeSet<Source>,
    /// Who brings the driver files.
    pub driver: DriverSetting,
    /// The directory that NVIDIA's driver files lie below.
    pub driver_root: PathBuf,
    /// How long a vendor's library may take to answer.
    pub probe_timeout: Duration,
    /// The hook program that is put into specs; `None` is the one beside the shim.
    pub hook: Option<PathBuf>,
    /// The word on requests.
    pub policy: Policy,
    pub mps: MpsConfig,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MpsConfig {
    /// The control program; `None` is the first `nvidia-cuda-mps-control` in
    /// fixed directories below `driver_root`.
    pub control: Option<PathBuf>,
    /// Whether a daemon serves a device or a lease.
    pub daemon: MpsDaemon,
    /// What becomes of a GPU's compute mode while a daemon serves it.
    pub compute_mode: ComputeMode,
    /// How long a daemon may take to start and to take its limits.
    pub start_timeout: Duration,
    /// How long a daemon stays after its last lease.
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

/// Whom an MPS daemon serves.
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
    /// `EXCLUSIVE_PROCESS`: nobody but the MPS server. What it was before is restored.
    ExclusiveProcess,
    Keep,
}

impl Default for Config {
    fn default() -> Self {
        Self::of(&Paths::default())
    }
}

impl Config {
    /// The defaults on a host with these roots.
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
