//! The environment for a vendor's own low-level runtime. Such a runtime gives the container every
//! device that a variable names, so here the variables decide. In other cases they only inform
//! libraries.

use super::document::{Document, DocumentError};
use super::target::SpecList;
use super::undo::Undo;
use super::visibility::{SIMULATED, VariableEdits, set_capabilities, uuids_in_pci_order};
use super::{Facts, apply::edit_env};
use crate::model::device::{Device, Vendor};
use crate::model::driver::Capability;
use crate::model::order;
use crate::model::variables::{AMD_VISIBLE, DOCKER_RESOURCE_PREFIX, NVIDIA_VISIBLE};
use std::collections::BTreeMap;

/// Docker's generic resources name devices by these variables. Both vendors' runtimes can be told
/// to prefer them to their own variables (`swarm-resource`; AMD's always does).
const RESOURCE_PREFIX: &str = DOCKER_RESOURCE_PREFIX;

/// The variables for a grant of one vendor's devices: NVIDIA's by UUID, with its capabilities,
/// AMD's by [`amd_id`]. A device without such an id is not named: AMD's runtime numbers devices in
/// its own way, so a position could mean another GPU.
pub fn chained(
    vendor: Vendor,
    granted: &[&Device],
    capabilities: Option<&[Capability]>,
    present: &[(String, String)],
) -> BTreeMap<String, Option<String>> {
    let mut edits = VariableEdits::new(present);
    remove_others(&mut edits);
    match vendor {
        Vendor::Nvidia => {
            edits.set(NVIDIA_VISIBLE, &uuids_in_pci_order(granted).join(","));
            set_capabilities(&mut edits, capabilities);
        }
        Vendor::Amd => {
            let mut granted: Vec<&Device> =
                granted.iter().copied().filter(|device| device.vendor == vendor).collect();
            order::sort_by_key(&mut granted, |device| device.pci);
            let names: Vec<String> = granted.into_iter().filter_map(amd_id).collect();
            edits.set(AMD_VISIBLE, &names.join(","));
        }
        Vendor::Intel => {}
    }
    edits.into_env()
}

/// The id that AMD's toolkit has for a whole GPU. `None` for a partition, because the toolkit would
/// give all partitions of that GPU, and for a GPU whose UUID has another form.
pub fn amd_id(device: &Device) -> Option<String> {
    let digits = device.uuid.as_str().strip_prefix("GPU-")?;
    let is_id = digits.len() == 16 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_id && device.details.partition.is_none()).then(|| format!("0x{digits}"))
}

/// The variables that keep a vendor's runtime from giving devices. Empty if nothing has to change.
pub fn closed(vendor: Vendor, present: &[(String, String)]) -> BTreeMap<String, Option<String>> {
    let mut edits = VariableEdits::new(present);
    remove_others(&mut edits);
    match vendor {
        Vendor::Nvidia => {
            let mut there = present.iter().filter(|(name, _)| name == NVIDIA_VISIBLE);
            let is_void = there.next().is_some_and(|(_, value)| value == VOID);
            if !is_void || there.next().is_some() {
                edits.set(NVIDIA_VISIBLE, VOID);
            }
        }
        Vendor::Amd => edits.remove(AMD_VISIBLE),
        Vendor::Intel => {}
    }
    edits.into_env()
}

/// The value that NVIDIA's runtime treats as no request.
const VOID: &str = "void";

fn remove_others(edits: &mut VariableEdits<'_>) {
    let resources = edits.present.iter().filter(|(name, _)| name.starts_with(RESOURCE_PREFIX));
    for (name, _) in resources {
        edits.remove(name);
    }
    edits.remove(SIMULATED);
}

/// Keeps a vendor's runtime from giving devices to a spec. Returns whether anything changed. A spec
/// without a process names no devices. Fails if the environment is of the wrong kind.
pub fn close(
    document: &mut Document,
    vendor: Vendor,
    facts: &Facts,
) -> Result<bool, DocumentError> {
    let env = closed(vendor, &facts.env);
    if env.is_empty() || document.object_mut(&["process"])?.is_none() {
        return Ok(false);
    }
    edit_env(document, SpecList::Env, &env, &mut Undo::default())?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::super::visibility::fixtures::device;
    use super::*;
    use crate::model::device::{Details, Partition};
    use crate::model::id::DeviceId;

    fn present(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn pairs(env: &BTreeMap<String, Option<String>>) -> Vec<(&str, Option<&str>)> {
        env.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect()
    }

    #[test]
    fn nvidia_is_told_the_uuids_and_nothing_else() {
        let all = [device(Vendor::Nvidia, 3, None), device(Vendor::Nvidia, 9, None)];
        let granted = [&all[1], &all[0]];
        let there = present(&[
            ("CUDA_VISIBLE_DEVICES", "7"),
            ("DOCKER_RESOURCE_GPU", "GPU-x"),
            ("NVIDIA_VISIBLE_DEVICES", "all"),
        ]);
        let env = chained(Vendor::Nvidia, &granted, None, &there);
        assert_eq!(
            pairs(&env),
            [
                ("DOCKER_RESOURCE_GPU", None),
                ("NVIDIA_DRIVER_CAPABILITIES", Some("compute,utility")),
                ("NVIDIA_VISIBLE_DEVICES", Some("GPU-3,GPU-9")),
            ]
        );
        let video = Some(&[Capability::Video][..]);
        let env = chained(Vendor::Nvidia, &granted, video, &[]);
        assert_eq!(env["NVIDIA_DRIVER_CAPABILITIES"].as_deref(), Some("video"));
    }

    #[test]
    fn amd_is_told_ids_and_no_positions() {
        let amd = |bus, uuid: &str, partition| Device {
            uuid: DeviceId::new(uuid).unwrap(),
            details: Details { partition, ..Details::default() },
            ..device(Vendor::Amd, bus, None)
        };
        let part = |index| {
            Some(Partition { gpu: DeviceId::new("GPU-1").unwrap(), index, mode: "CPX".to_owned() })
        };
        let all = [
            device(Vendor::Nvidia, 1, None),
            amd(2, "GPU-0123456789abcdef", None),
            amd(3, "GPU-0123456789abcdee", part(0)),
            amd(4, "GPU-odd", None),
        ];
        let env = chained(Vendor::Amd, &[&all[3], &all[1], &all[2]], None, &[]);
        assert_eq!(pairs(&env), [("AMD_VISIBLE_DEVICES", Some("0x0123456789abcdef"))]);
    }

    #[test]
    fn a_container_without_a_lease_is_closed_once() {
        let void = present(&[("NVIDIA_VISIBLE_DEVICES", "void")]);
        assert!(closed(Vendor::Nvidia, &void).is_empty());
        assert!(closed(Vendor::Amd, &void).is_empty());
        for there in [&[][..], &[("NVIDIA_VISIBLE_DEVICES", "all")]] {
            let env = closed(Vendor::Nvidia, &present(there));
            assert_eq!(pairs(&env), [("NVIDIA_VISIBLE_DEVICES", Some("void"))]);
        }
        // The runtime may use the last of two values.
        let twice = present(&[("NVIDIA_VISIBLE_DEVICES", "void"), ("NVIDIA_VISIBLE_DEVICES", "0")]);
        assert_eq!(closed(Vendor::Nvidia, &twice).len(), 1);
        let amd = present(&[("AMD_VISIBLE_DEVICES", "all"), ("DOCKER_RESOURCE_AMD", "0x1")]);
        assert_eq!(
            pairs(&closed(Vendor::Amd, &amd)),
            [("AMD_VISIBLE_DEVICES", None), ("DOCKER_RESOURCE_AMD", None)]
        );
        let mut spec = Document::parse(br#"{"process":{"env":["A=1"]}}"#).unwrap();
        assert!(close(&mut spec, Vendor::Nvidia, &Facts::default()).unwrap());
        let expected = br#"{"process":{"env":["A=1","NVIDIA_VISIBLE_DEVICES=void"]}}"#;
        assert_eq!(spec.to_bytes(), expected);
        let mut none = Document::parse(br#"{"a":1}"#).unwrap();
        assert!(!close(&mut none, Vendor::Nvidia, &Facts::default()).unwrap());
        assert_eq!(none.to_bytes(), br#"{"a":1}"#);
    }
}
