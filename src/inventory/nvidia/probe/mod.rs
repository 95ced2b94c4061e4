//! The probe: the process that loads NVML and passes its answers on. It may crash, or hang in a
//! call; its parent is prepared for both.

mod failure;
mod gpu;
mod links;
mod live;
mod memory;
mod mig;

use super::answer::{NvmlAnswer, Reply, Silent};
use super::ask::{PROBE, ProbeQuestion};
use crate::model::device::PciAddress;
use anyhow::{Context, bail};
use failure::words;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};
use std::ffi::{OsStr, OsString};

/// If these are the arguments of a probe (without the program's name): loads the library, asks it,
/// and returns the JSON document for stdout. Fails with a sentence for stderr if the arguments are
/// a probe's, but wrong.
pub fn probe(args: &[OsString]) -> Option<anyhow::Result<String>> {
    let (first, rest) = args.split_first()?;
    (first == PROBE).then(|| run(rest))
}

fn run(args: &[OsString]) -> anyhow::Result<String> {
    let [library, question, gpus @ ..] = args else {
        bail!("{PROBE} needs a library and a question");
    };
    let question = question.to_str().and_then(|word| word.parse().ok());
    let question = question.with_context(|| format!("{PROBE} knows no such question"))?;
    let gpus: Vec<PciAddress> =
        gpus.iter().filter_map(|pci| PciAddress::parse(pci.to_str()?)).collect();
    let nvml = match load(library) {
        Ok(nvml) => nvml,
        Err(error) => {
            return Ok(serde_json::to_string(&Reply::<NvmlAnswer>::Failed(words(&error)))?);
        }
    };
    let told = match question {
        ProbeQuestion::Devices => serde_json::to_string(&Reply::Told(answer(&nvml, &gpus))),
        ProbeQuestion::Processes => serde_json::to_string(&Reply::Told(live::processes(&nvml))),
        ProbeQuestion::Usage => serde_json::to_string(&Reply::Told(live::usage(&nvml))),
    };
    // The library is not shut down: that takes long, and panics if the function is missing.
    std::mem::forget(nvml);
    Ok(told?)
}

fn load(library: &OsStr) -> Result<Nvml, NvmlError> {
    Nvml::builder().lib_path(library).init()
}

fn answer(nvml: &Nvml, known: &[PciAddress]) -> NvmlAnswer {
    let mut silent = Vec::new();
    let mut found: Vec<(PciAddress, Device<'_>)> = Vec::new();
    let count = nvml.device_count().unwrap_or_else(|error| {
        silent.push(Silent::of(None, None, &error));
        0
    });
    for index in 0..count {
        match handle(nvml.device_by_index(index)) {
            Ok(device) => found.push(device),
            Err(error) => silent.push(Silent::of(None, Some(index), &error)),
        }
    }
    // A GPU without a handle by its position may have none by its address either, but then it is
    // known which GPU it is.
    let mut explained = 0;
    for pci in known {
        if !found.iter().any(|(there, _)| there == pci) {
            let device = handle(nvml.device_by_pci_bus_id(pci.to_string()));
            explained += usize::from(!matches!(device, Err(NvmlError::NotFound)));
            match device {
                Ok(device) => found.push(device),
                Err(error) => silent.push(Silent::of(Some(*pci), None, &error)),
            }
        }
    }
    if silent.iter().filter(|silent| silent.index.is_some()).count() <= explained {
        silent.retain(|silent| silent.index.is_none());
    }
    NvmlAnswer {
        driver: nvml.sys_driver_version().ok(),
        nvml: nvml.sys_nvml_version().ok(),
        cuda: nvml.sys_cuda_driver_version().ok(),
        gpus: found.iter().map(|(pci, device)| gpu::ask(*pci, device)).collect(),
        silent,
        near: links::near(&found),
    }
}

/// A handle with the device's address.
fn handle(device: Result<Device<'_>, NvmlError>) -> Result<(PciAddress, Device<'_>), NvmlError> {
    let device = device?;
    let pci = PciAddress::parse(&device.pci_info()?.bus_id).ok_or(NvmlError::GetPciInfoFailed)?;
    Ok((pci, device))
}

impl Silent {
    fn of(pci: Option<PciAddress>, index: Option<u32>, error: &NvmlError) -> Self {
        let fault = match index {
            _ if pci.is_some() => words(error),
            Some(index) => format!("NVML's device {index}: {}", words(error)),
            None => format!("the number of devices: {}", words(error)),
        };
        Self { pci, index, fault, lost: failure::is_lost(error) }
    }
}
