//! The environment variables that tell a container's libraries which devices they may use.
//!
//! They inform libraries and protect nothing. The device nodes and rules protect.

use super::apply::edit_env;
use super::document::{Document, DocumentError};
use super::target::SpecList;
use super::undo::Undo;
use crate::model::device::{Device, Vendor};
use crate::model::driver::Capability;
use crate::model::order;
pub(super) use crate::model::variables::SIMULATED;
use crate::model::variables::{
    AMD_VISIBLE, CUDA_ORDER, CUDA_VISIBLE, GPU_ORDINAL, HIP_VISIBLE, LEVEL_ZERO_MASK,
    NVIDIA_CAPABILITIES, NVIDIA_VISIBLE, ROCR_VISIBLE,
};
use std::collections::BTreeMap;

/// The variables to set (or, with `None`, to remove) for a grant. `present` is the container's
/// environment: a variable is removed only if it is present.
///
/// For NVIDIA devices:
/// * `NVIDIA_VISIBLE_DEVICES` is for NVIDIA's toolkit (`chain` mode, and tools that read it in the
///   container), `CUDA_VISIBLE_DEVICES` for the driver. Both list UUIDs, which mean the same device
///   inside and outside (CUDA Programming Guide, "CUDA Environment Variables"), in PCI order.
/// * `CUDA_DEVICE_ORDER=PCI_BUS_ID`: without it CUDA puts the fastest device first, unlike
///   `nvidia-smi` (same guide).
/// * `NVIDIA_DRIVER_CAPABILITIES` has the request's value, or, if neither the request nor the image
///   has one, the toolkit's usual `compute,utility`. It is removed if the request says `none`,
///   because the variable has no such value.
///
/// AMD devices are named by their index in the container, `0,1,…`. The driver leaves out devices
/// without a node in the container and renumbers the rest (ROCm thunk, `topology.c`). So the host's
/// indices, which an image or a user may bring, are wrong inside, and partitions of one device
/// share a UUID:
/// * `HIP_VISIBLE_DEVICES` is set and, for AMD's toolkit, `AMD_VISIBLE_DEVICES`.
/// * `ROCR_VISIBLE_DEVICES` and `GPU_DEVICE_ORDINAL` are removed: two filters in a row renumber
///   twice (ROCr's `amd_filter_device.cpp`, then HIP's `rocdevice.cpp`), and vLLM and Ray refuse to
///   start with the former.
///
/// For Intel devices nothing is set: Level Zero numbers the devices that have a node in the
/// container, and these are the granted ones. `ZE_AFFINITY_MASK` is always removed. A value from
/// the host counts the host's GPUs. A value `0,1,…` would not mean all devices, because Level Zero
/// counts the tiles of a GPU unless the workload sets `ZE_FLAT_DEVICE_HIERARCHY`.
///
/// Without NVIDIA devices, `NVIDIA_VISIBLE_DEVICES` is `void`, so that NVIDIA's toolkit injects
/// none (its documentation: `void` is "as if unset"), and `CUDA_VISIBLE_DEVICES` is removed,
/// because HIP reads it too. Without AMD devices, AMD's variables are removed.
///
/// `GPULEASE_SIMULATED=true` means that a device does not exist. The value of a user is removed.
pub fn visibility(
    granted: &[&Device],
    capabilities: Option<&[Capability]>,
    present: &[(String, String)],
) -> BTreeMap<String, Option<String>> {
    let mut env = VariableEdits::new(present);
    let nvidia = uuids_in_pci_order(granted);
    if nvidia.is_empty() {
        env.set(NVIDIA_VISIBLE, "void");
        env.remove(CUDA_VISIBLE);
    } else {
        let uuids = nvidia.join(",");
        env.set(NVIDIA_VISIBLE, &uuids);
        env.set(CUDA_VISIBLE, &uuids);
        env.set(CUDA_ORDER, "PCI_BUS_ID");
        set_capabilities(&mut env, capabilities);
    }

    let amd = granted.iter().filter(|device| device.vendor == Vendor::Amd).count();
    if amd == 0 {
        env.remove(AMD_VISIBLE);
        env.remove(HIP_VISIBLE);
    } else {
        let indices: Vec<String> = (0..amd).map(|index| index.to_string()).collect();
        env.set(AMD_VISIBLE, &indices.join(","));
        env.set(HIP_VISIBLE, &indices.join(","));
        env.remove(GPU_ORDINAL);
    }
    env.remove(ROCR_VISIBLE);
    env.remove(LEVEL_ZERO_MASK);

    if granted.iter().any(|device| device.simulated) {
        env.set(SIMULATED, "true");
    } else {
        env.remove(SIMULATED);
    }
    env.into_env()
}

pub(super) fn set_capabilities(env: &mut VariableEdits<'_>, capabilities: Option<&[Capability]>) {
    if capabilities.is_some_and(<[_]>::is_empty) {
        env.remove(NVIDIA_CAPABILITIES);
    } else if let Some(capabilities) = capabilities {
        env.set(NVIDIA_CAPABILITIES, &capability_list(capabilities));
    } else if !env.has(NVIDIA_CAPABILITIES) {
        env.set(NVIDIA_CAPABILITIES, "compute,utility");
    }
}

/// The granted AMD devices in the order in which the container numbers them: that of the KFD
/// topology, not that of the request (ROCm thunk, `topology.c`). A node without that topology has
/// PCI order.
pub fn amd_in_container_order<'a>(granted: &[&'a Device]) -> Vec<&'a Device> {
    let mut amd: Vec<&Device> =
        granted.iter().copied().filter(|device| device.vendor == Vendor::Amd).collect();
    order::sort_by_key(&mut amd, |device| (device.kfd_node.is_none(), device.kfd_node, device.pci));
    amd
}

pub(super) fn uuids_in_pci_order<'a>(granted: &[&'a Device]) -> Vec<&'a str> {
    let mut nvidia: Vec<&Device> =
        granted.iter().copied().filter(|device| device.vendor == Vendor::Nvidia).collect();
    // The MIG instances of one GPU share its address.
    order::sort_by_key(&mut nvidia, |device| (device.pci, device.place()));
    nvidia.into_iter().map(|device| device.uuid.as_str()).collect()
}

fn capability_list(capabilities: &[Capability]) -> String {
    if capabilities.contains(&Capability::All) {
        return Capability::All.as_str().to_owned();
    }
    let mut names: Vec<&str> = Vec::with_capacity(capabilities.len());
    for name in capabilities.iter().map(|capability| capability.as_str()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.join(",")
}

/// Variables to set and to remove.
pub(super) struct VariableEdits<'a> {
    pub(super) present: &'a [(String, String)],
    env: BTreeMap<String, Option<String>>,
}

impl<'a> VariableEdits<'a> {
    pub(super) const fn new(present: &'a [(String, String)]) -> Self {
        Self { present, env: BTreeMap::new() }
    }

    pub(super) fn into_env(self) -> BTreeMap<String, Option<String>> {
        self.env
    }

    fn has(&self, name: &str) -> bool {
        self.present.iter().any(|(present, _)| present == name)
    }

    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.env.insert(name.to_owned(), Some(value.to_owned()));
    }

    pub(super) fn remove(&mut self, name: &str) {
        if self.has(name) {
            self.env.insert(name.to_owned(), None);
        }
    }
}

/// Makes the edits of `env` in the process of `exec --process FILE` (config.md, "Process"), as in a
/// spec's `process.env`. The rest is unchanged. Fails if the file is not a JSON object or its `env`
/// is not an array of strings.
pub fn process_env(
    process_json: &[u8],
    env: &BTreeMap<String, Option<String>>,
) -> Result<Vec<u8>, DocumentError> {
    let mut process = Document::parse(process_json)?;
    process.refuse_other_spellings("env")?;
    edit_env(&mut process, SpecList::BareEnv, env, &mut Undo::default())?;
    Ok(process.to_bytes())
}

#[cfg(test)]
pub(super) mod fixtures {
    use super::*;
    use crate::model::device::PciAddress;
    use crate::model::fixtures;

    pub(in crate::injection) fn device(vendor: Vendor, bus: u8, kfd_node: Option<u32>) -> Device {
        Device {
            index: u32::from(bus),
            pci: PciAddress { domain: 0, bus, device: 0, function: 0 },
            kfd_node,
            ..fixtures::device(&format!("GPU-{bus}"), vendor)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fixtures::device;
    use super::*;
    use crate::model::device::{Details, Partition};
    use crate::model::id::DeviceId;

    fn pairs(env: &BTreeMap<String, Option<String>>) -> Vec<(&str, Option<&str>)> {
        env.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect()
    }

    fn present(names: &[&str]) -> Vec<(String, String)> {
        names.iter().map(|name| ((*name).to_owned(), "host".to_owned())).collect()
    }

    #[test]
    fn nvidia_is_named_by_uuid_in_pci_order() {
        let (a, b) = (device(Vendor::Nvidia, 9, None), device(Vendor::Nvidia, 3, None));
        let env = visibility(&[&a, &b], None, &present(&[HIP_VISIBLE, ROCR_VISIBLE, SIMULATED]));
        assert_eq!(
            pairs(&env),
            [
                (CUDA_ORDER, Some("PCI_BUS_ID")),
                (CUDA_VISIBLE, Some("GPU-3,GPU-9")),
                (SIMULATED, None),
                (HIP_VISIBLE, None),
                (NVIDIA_CAPABILITIES, Some("compute,utility")),
                (NVIDIA_VISIBLE, Some("GPU-3,GPU-9")),
                (ROCR_VISIBLE, None),
            ]
        );
    }

    #[test]
    fn capabilities_are_the_requests_then_the_images() {
        let gpu = device(Vendor::Nvidia, 1, None);
        let value = |capabilities: Option<&[Capability]>, names: &[&str]| {
            visibility(&[&gpu], capabilities, &present(names)).get(NVIDIA_CAPABILITIES).cloned()
        };
        assert_eq!(value(None, &[NVIDIA_CAPABILITIES]), None);
        let two = [Capability::Video, Capability::Compute, Capability::Video];
        let said = value(Some(&two), &[NVIDIA_CAPABILITIES]);
        assert_eq!(said, Some(Some("video,compute".to_owned())));
        assert_eq!(value(Some(&[]), &[NVIDIA_CAPABILITIES]), Some(None));
        assert_eq!(value(Some(&[]), &[]), None);
        let all = value(Some(&[Capability::Compute, Capability::All]), &[]);
        assert_eq!(all, Some(Some("all".to_owned())));
    }

    #[test]
    fn amd_is_counted_as_the_container_counts() {
        let (a, b) = (device(Vendor::Amd, 1, Some(6)), device(Vendor::Amd, 2, Some(4)));
        let names = [CUDA_VISIBLE, ROCR_VISIBLE, GPU_ORDINAL];
        let env = visibility(&[&a, &b], None, &present(&names));
        assert_eq!(
            pairs(&env),
            [
                (AMD_VISIBLE, Some("0,1")),
                (CUDA_VISIBLE, None),
                (GPU_ORDINAL, None),
                (HIP_VISIBLE, Some("0,1")),
                (NVIDIA_VISIBLE, Some("void")),
                (ROCR_VISIBLE, None),
            ]
        );
        let order: Vec<u32> = amd_in_container_order(&[&a, &b]).iter().map(|d| d.index).collect();
        assert_eq!(order, [2, 1]);
    }

    #[test]
    fn partitions_are_counted_like_gpus_and_never_named() {
        let partition = |node: u32| {
            let gpu = DeviceId::new("GPU-e3aa140f9a5f9e31").unwrap();
            let mode = "CPX/NPS4".to_owned();
            let partition = Some(Partition { gpu, index: node - 2, mode });
            let details = Details { partition, ..Details::default() };
            let uuid = DeviceId::new(&format!("GPU-e3aa140f9a5f9e31-{}", node - 2)).unwrap();
            Device { uuid, details, ..device(Vendor::Amd, 5, Some(node)) }
        };
        let (a, b, c) = (partition(9), partition(3), device(Vendor::Amd, 4, Some(17)));
        let env = visibility(&[&a, &c, &b], None, &present(&[ROCR_VISIBLE]));
        for name in [AMD_VISIBLE, HIP_VISIBLE] {
            assert_eq!(env.get(name).unwrap().as_deref(), Some("0,1,2"));
        }
        assert_eq!(env.get(ROCR_VISIBLE), Some(&None));
        let order = amd_in_container_order(&[&a, &c, &b]);
        let nodes: Vec<_> = order.iter().map(|device| device.kfd_node.unwrap()).collect();
        assert_eq!(nodes, [3, 9, 17], "as KFD has them, not as they sit");
    }

    #[test]
    fn no_mask_of_the_hosts_reaches_intels_driver() {
        let intel = device(Vendor::Intel, 1, None);
        let names = [LEVEL_ZERO_MASK, HIP_VISIBLE, CUDA_VISIBLE];
        let env = visibility(&[&intel], None, &present(&names));
        assert_eq!(
            pairs(&env),
            [
                (CUDA_VISIBLE, None),
                (HIP_VISIBLE, None),
                (NVIDIA_VISIBLE, Some("void")),
                (LEVEL_ZERO_MASK, None),
            ]
        );
        assert_eq!(visibility(&[&intel], None, &[]).len(), 1);
        let amd = device(Vendor::Amd, 1, None);
        let env = visibility(&[&amd], None, &present(&names));
        assert_eq!(env.get(LEVEL_ZERO_MASK), Some(&None));
    }

    #[test]
    fn both_vendors_get_both_sets_and_simulation_is_said() {
        let nvidia = device(Vendor::Nvidia, 1, None);
        let amd = Device { simulated: true, ..device(Vendor::Amd, 2, None) };
        let env = visibility(&[&amd, &nvidia], None, &[]);
        let get = |name: &str| env.get(name).and_then(Option::as_deref);
        assert_eq!(get(NVIDIA_VISIBLE), Some("GPU-1"));
        assert_eq!(get(HIP_VISIBLE), Some("0"));
        assert_eq!(get(SIMULATED), Some("true"));
        assert!(env.values().all(Option::is_some));
    }

    #[test]
    fn an_exec_process_gets_the_same_edit() {
        let env = [("A".to_owned(), Some("1".to_owned())), ("B".to_owned(), None)].into();
        let edit = |text: &str| {
            process_env(text.as_bytes(), &env).map(|bytes| String::from_utf8(bytes).unwrap())
        };
        let process = r#"{"terminal":true,"env":["B=x","A=0","C=2"],"cwd":"/","new":1.50}"#;
        let expected = r#"{"terminal":true,"env":["A=1","C=2"],"cwd":"/","new":1.50}"#;
        assert_eq!(edit(process).unwrap(), expected);
        assert_eq!(edit("{\"env\":null}\n").unwrap(), "{\"env\":[\"A=1\"]}\n");
        assert_eq!(edit("{}").unwrap(), r#"{"env":["A=1"]}"#);
        assert!(edit(r#"{"env":"A=1"}"#).is_err());
    }
}
