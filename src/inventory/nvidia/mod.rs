//! NVIDIA's GPUs: what NVML says of them, and what the kernel says where NVML is silent.
//!
//! NVML is a library of the driver's, which is loaded from the host. It has been seen to crash with
//! a driver of another version, and to hang with a broken GPU, so only a process of its own loads
//! it ([`probe()`]), which is killed when it takes too long. Whatever becomes of it, the GPUs that the
//! kernel module drives are listed.

mod answer;
mod ask;
mod devices;
mod instances;
mod kernel_module;
mod library;
mod links;
mod live;
mod nodes;
mod probe;
mod procfs;
mod sources;
mod stamps;
#[cfg(test)]
mod tests;
mod xid;

pub use ask::ProbeError;
pub use kernel_module::KernelModule;
pub use live::{processes, usage};
pub use probe::probe;

use super::found::{Found, Reach};
use super::stamp::Stamp;
use crate::config::Config;
use crate::model::device::{ControlNodes, PciAddress, Vendor};
use crate::model::driver::Driver;
use crate::model::text::shown_line;
use crate::paths::Paths;
use answer::NvmlAnswer;
use ask::ProbeQuestion;
use library::NvmlLibrary;
use procfs::Kernel;
use sources::GpuSources;
use stamps::Looks;

/// How often it is looked where something changed meanwhile: asking NVML may load the driver. (The
/// shim waits for a refresh in which NVML hangs as often.)
const LOOKS: u32 = 2;

/// The NVIDIA GPUs of this host. It always finds something out: what went wrong is in the notes, or
/// in the details of the device that it went wrong with.
pub(super) fn find(paths: &Paths, config: &Config, reach: Reach) -> Found {
    let mut seen = NvidiaSnapshot::at(paths, config, reach);
    for _ in 1..LOOKS {
        // The stamps and the data have to be of the same moment.
        let is_as_it_was = |stamp: &Stamp| stamp.now().is_ok_and(|now| now == stamp.look);
        if stamps::all(paths, config, &seen.library).stamps == seen.stamps
            && seen.unidentified().all(is_as_it_was)
        {
            break;
        }
        seen = NvidiaSnapshot::at(paths, config, reach);
    }
    seen.told(paths, config)
}

/// The data that one look gave.
struct NvidiaSnapshot {
    library: NvmlLibrary,
    stamps: Vec<Stamp>,
    kernel: Kernel,
    /// NVML's answer, or why it gave none.
    answer: Result<NvmlAnswer, ProbeError>,
    notes: Vec<String>,
}

impl NvidiaSnapshot {
    fn at(paths: &Paths, config: &Config, reach: Reach) -> Self {
        let (library, fault) = match library::find(paths, config, ask::is_loaded(paths)) {
            Ok(library) => (library, None),
            Err(error) => (NvmlLibrary::None, Some(ProbeError::from(error))),
        };
        let Looks { stamps, notes } = stamps::all(paths, config, &library);
        let kernel = procfs::read(paths);
        let gpus: Vec<PciAddress> = kernel.gpus.iter().map(|gpu| gpu.pci).collect();
        let answer = match fault {
            _ if reach == Reach::Files => Err(ProbeError::NotAsked),
            Some(fault) => Err(fault),
            None => ask::ask_library(&library, config, ProbeQuestion::Devices, &gpus),
        };
        Self { library, stamps, kernel, answer, notes }
    }

    /// The stamps of GPUs whose UUID is not known yet. They change once it is.
    fn unidentified(&self) -> impl Iterator<Item = &Stamp> {
        let told = |pci: PciAddress| {
            let mut gpus = self.answer.iter().flat_map(|answer| &answer.gpus);
            gpus.any(|gpu| gpu.pci == pci && gpu.uuid.is_some())
        };
        let gpus = self.kernel.gpus.iter();
        gpus.filter(move |gpu| gpu.uuid.is_none() && !told(gpu.pci)).map(|gpu| &gpu.information)
    }

    fn told(self, paths: &Paths, config: &Config) -> Found {
        let unidentified: Vec<Stamp> = self.unidentified().cloned().collect();
        let Self { mut stamps, kernel, answer, mut notes, .. } = self;
        stamps.extend(unidentified);
        let is_loaded = ask::is_loaded(paths);
        let (answer, silence) = match answer {
            Ok(answer) => (Some(answer), None),
            Err(silence) => (None, Some(silence)),
        };
        let (mut devices, mut links) = (Vec::new(), Vec::new());
        if answer.is_some() || !kernel.gpus.is_empty() {
            let xids = xid::read(paths).unwrap_or_else(|error| {
                notes
                    .push(format!("the errors of GPUs in the kernel's log are not known: {error}"));
                Vec::new()
            });
            let minors = procfs::mig_minors(paths);
            let known = GpuSources {
                paths,
                kernel: &kernel.gpus,
                answer: answer.as_ref(),
                xids: &xids,
                minors: &minors,
            };
            let (found, of_others) = devices::devices(&known);
            notes.extend(of_others);
            links = answer.as_ref().map(|answer| links::links(answer, &found)).unwrap_or_default();
            devices = found;
        }
        notes.extend(silence.and_then(|silence| note(&silence, is_loaded, &kernel)));
        notes.extend(kernel.notes);
        let answered = answer.as_ref();
        let silent = answered.iter().flat_map(|answer| &answer.silent);
        notes.extend(
            silent.filter(|silent| silent.pci.is_none()).map(|silent| shown_line(&silent.fault)),
        );
        notes.extend(procfs::unbound(paths));
        if !devices.is_empty() {
            notes.extend(nodes::missing(paths));
        }
        let control = nodes::control(paths);
        let has_any = !devices.is_empty();
        Found {
            from: from(answered, has_any),
            control: (has_any && !control.is_empty())
                .then_some(ControlNodes { vendor: Vendor::Nvidia, nodes: control })
                .into_iter()
                .collect(),
            drivers: driver(paths, config, answered, has_any).into_iter().collect(),
            devices,
            links,
            stamps,
            notes,
        }
    }
}

/// The name of the source of the devices.
fn from(answer: Option<&NvmlAnswer>, has_any: bool) -> Vec<String> {
    let name = match answer {
        Some(NvmlAnswer { nvml: Some(version), .. }) => format!("NVML {version}"),
        Some(_) => "NVML".to_owned(),
        None => "/proc/driver/nvidia".to_owned(),
    };
    has_any.then_some(name).into_iter().collect()
}

/// A note if NVML could not be used. A host with neither the driver nor the library needs no note.
fn note(silence: &ProbeError, is_loaded: bool, kernel: &Kernel) -> Option<String> {
    if matches!(silence, ProbeError::NotAsked)
        || (matches!(silence, ProbeError::NoLibrary(_)) && !is_loaded)
    {
        return None;
    }
    let instead = if kernel.gpus.is_empty() {
        ""
    } else {
        "; the GPUs are read from /proc/driver/nvidia, their memory is not known, and they are \
         leased whole"
    };
    Some(format!("NVIDIA's NVML was not used: {silence}{instead}"))
}

fn driver(
    paths: &Paths,
    config: &Config,
    answer: Option<&NvmlAnswer>,
    has_any: bool,
) -> Option<Driver> {
    let version = procfs::version(paths).or_else(|| answer?.driver.clone());
    if version.is_none() && !has_any {
        return None;
    }
    Some(Driver {
        vendor: Vendor::Nvidia,
        version,
        cuda: answer.and_then(NvmlAnswer::cuda_version),
        library: answer.and_then(|answer| answer.nvml.clone()),
        root: config.driver_root.display().to_string(),
        files: Vec::new(),
    })
}
