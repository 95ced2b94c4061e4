//! The low-level runtime is the vendor's own (`nvidia-container-runtime`, `amd-container-runtime`):
//! it puts the GPUs that a variable names into the container, with the driver's files. So gpulease
//! sets that variable to the leased devices, and removes it from a container without a lease.

use crate::config::{Config, DriverSetting};
use crate::failure::Failure;
use crate::injection::{Facts, amd_id};
use crate::model::code::Code;
use crate::model::device::{Node, Vendor};
use crate::model::lease::{Lease, LeasedDevice};

/// Annotations with this prefix name devices to a runtime that reads CDI specs; the rest of the
/// key is anything (CDI, `pkg/cdi/annotations.go`).
const CDI_PREFIX: &str = "cdi.k8s.io/";

/// A mount below this directory names a device by the rest of its path (nvidia-container-toolkit,
/// `internal/config/image`).
const MOUNTS: [&str; 3] = ["var", "run", "nvidia-container-devices"];

/// Whether the vendor's runtime gives all devices of a lease. Fails if it gives only some of them,
/// if it gives none and `driver` is `chain`, or if one of them cannot be named to it.
pub(super) fn serves(
    vendor: Vendor,
    config: &Config,
    lease: &Lease,
    node: &Node,
) -> Result<bool, Failure> {
    let refuse = |what: String| {
        Err(Failure::new(Code::BadConfig, what)
            .hint("set `runtime` in the configuration to the path of runc or crun"))
    };
    let name = vendor.name();
    if lease.devices.iter().any(|device| device.simulated) {
        return refuse(format!(
            "the low-level runtime is {name}'s, which cannot give a simulated device"
        ));
    }
    let own = lease.devices.iter().filter(|device| device.vendor == vendor).count();
    if own == lease.devices.len() {
        let has_name = |leased: &LeasedDevice| node.device(&leased.uuid).and_then(amd_id).is_some();
        let nameless = lease.devices.iter().find(|leased| !has_name(leased));
        return match nameless.filter(|_| vendor == Vendor::Amd) {
            Some(leased) => refuse(format!(
                "the low-level runtime is AMD's, to which `{}` cannot be named: it is a partition or has no unique id, and by a position AMD's runtime may give another GPU",
                leased.uuid
            )),
            None => Ok(true),
        };
    }
    if own > 0 || config.driver == DriverSetting::Chain {
        return refuse(format!(
            "the low-level runtime is {name}'s, which gives no GPUs of another vendor"
        ));
    }
    Ok(false)
}

/// The devices that a `config.json` names to NVIDIA's runtime other than by variables: qualified
/// CDI names in annotations, and mounts whose destination is a name. NVIDIA's hook, which another
/// runtime may run, reads the mounts before the variables. The configuration of NVIDIA's tools may
/// turn some of these off; here all count.
pub(in crate::start) fn named(facts: &Facts, chained: Option<Vendor>) -> Vec<String> {
    let mounted = facts.mounts.iter().filter_map(|mount| mounted_name(&mount.destination));
    if chained != Some(Vendor::Nvidia) {
        return mounted.filter(|_| facts.vendor_hooks.by_variables).collect();
    }
    let annotations = facts.annotations.iter().filter(|(key, _)| key.starts_with(CDI_PREFIX));
    let lists = annotations.flat_map(|(_, value)| value.split(','));
    let mut names: Vec<String> =
        lists.map(|name| name.trim().to_owned()).filter(|name| names_gpus(name)).collect();
    names.extend(mounted);
    names
}

fn mounted_name(destination: &str) -> Option<String> {
    // NVIDIA's tools normalise the path first.
    let mut parts = Vec::new();
    for part in destination.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    match parts.strip_prefix(&MOUNTS)? {
        [name] => Some((*name).to_owned()),
        ["cdi", kind @ .., device] => {
            Some(format!("{}={device}", kind.join("/"))).filter(|name| names_gpus(name))
        }
        _ => None,
    }
}

/// Whether a qualified name is one of NVIDIA's GPUs, by its kind: `nvidia.com/gpu`,
/// `runtime.nvidia.com/gpu`, `management.nvidia.com/gpu`.
fn names_gpus(name: &str) -> bool {
    name.split_once('=').is_some_and(|(kind, _)| kind.ends_with("nvidia.com/gpu"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::injection::facts;

    #[test]
    fn devices_are_named_by_annotations_and_mounts() {
        let spec = br#"{"annotations":{"cdi.k8s.io/a":"nvidia.com/gpu=0, x.org/net=1",
            "cdi.k8s.io/b":"runtime.nvidia.com/gpu=all","other":"nvidia.com/gpu=3"},
            "mounts":[{"destination":"/var/run/nvidia-container-devices/GPU-1","source":"/dev/null"},
            {"destination":"/var/run/nvidia-container-devices/cdi/nvidia.com/gpu/0:1"},
            {"destination":"/var/run/nvidia-container-devices/imex/0"},
            {"destination":"//var/./run/x/../nvidia-container-devices/3/"},
            {"destination":"/var/run/nvidia-container-devices/"},
            {"destination":"/proc"},{}]}"#;
        let found = named(&facts(spec).unwrap(), Some(Vendor::Nvidia));
        let expected =
            ["nvidia.com/gpu=0", "runtime.nvidia.com/gpu=all", "GPU-1", "nvidia.com/gpu=0:1", "3"];
        assert_eq!(found, expected);
        let odd = br#"{"mounts":7}"#;
        assert_eq!(named(&facts(odd).unwrap(), Some(Vendor::Nvidia)), Vec::<String>::new());
    }

    #[test]
    fn nvidias_hook_reads_mounts_too() {
        let mount = r#""annotations":{"cdi.k8s.io/a":"nvidia.com/gpu=0"},
            "mounts":[{"destination":"/var/run/nvidia-container-devices/1"}]"#;
        let hook = r#","hooks":{"prestart":[{"path":"/usr/bin/nvidia-container-runtime-hook"}]}"#;
        let found =
            |rest: &str| named(&facts(format!("{{{mount}{rest}}}").as_bytes()).unwrap(), None);
        assert_eq!(found(hook), ["1"]);
        assert_eq!(found(""), Vec::<String>::new());
    }
}
