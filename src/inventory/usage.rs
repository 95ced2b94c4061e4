//! How much the node's devices are used at this moment, by the drivers of all vendors.

use super::activity::Usage;
use super::{amd, nvidia};
use crate::config::Config;
use crate::model::device::{Device, Node, Vendor};
use crate::model::id::DeviceId;
use crate::paths::Paths;
use std::collections::BTreeMap;

/// The measurements of each device. A simulated device, and one whose driver does not answer, is left
/// out.
pub fn usage(node: &Node, paths: &Paths, config: &Config) -> BTreeMap<DeviceId, Usage> {
    let is_real_nvidia = |device: &Device| !device.simulated && device.vendor == Vendor::Nvidia;
    let mut usage = amd::usage_with_rocm(paths, &node.devices);
    if node.devices.iter().any(is_real_nvidia) {
        usage.extend(nvidia::usage(paths, config).unwrap_or_default());
    }
    usage.into_iter().map(|usage| (usage.device.clone(), usage)).collect()
}
