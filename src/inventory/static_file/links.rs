//! The links of the devices file. A group of devices stands for every pair in it.

use super::check::Located;
use super::raw::RawLink;
use crate::model::device::{Device, Link, LinkKind, Vendor};
use crate::model::id::DeviceId;
use std::collections::BTreeMap;
use toml::Spanned;

/// More parallel links than any device has.
const LANES_MAX: u32 = 255;

/// Expands the groups into pairs, in the order of the devices.
pub(super) fn build(groups: Vec<RawLink>, devices: &[Device]) -> Result<Vec<Link>, Located> {
    let mut pairs: BTreeMap<(u32, u32, LinkKind), Link> = BTreeMap::new();
    for group in groups {
        let lanes = match group.lanes {
            None => 1,
            Some(lanes) if (1..=LANES_MAX).contains(lanes.get_ref()) => lanes.into_inner(),
            Some(lanes) => {
                let problem =
                    format!("`lanes` is {}, allowed are 1 to {LANES_MAX}", lanes.get_ref());
                return Err((lanes.span(), problem));
            }
        };
        let kind = group.kind;
        let ends = group.devices.get_ref();
        if ends.len() < 2 {
            let problem =
                format!("a link needs at least two `devices`, here it has {}", ends.len());
            return Err((group.devices.span(), problem));
        }
        let mut seen: Vec<&Device> = Vec::with_capacity(ends.len());
        for end in ends {
            let device = find(end, kind, devices)?;
            for other in &seen {
                let link = join(other, device, kind, lanes).ok_or_else(|| {
                    (end.span(), format!("the link names the device `{}` twice", device.uuid))
                })?;
                let indexes = (other.index.min(device.index), other.index.max(device.index), kind);
                if let Some(Link { a, b, .. }) = pairs.insert(indexes, link) {
                    let kind = kind.as_str();
                    let problem = format!("the {kind} link between `{a}` and `{b}` is given twice");
                    return Err((end.span(), problem));
                }
            }
            seen.push(device);
        }
    }
    Ok(pairs.into_values().collect())
}

fn find<'d>(
    end: &Spanned<DeviceId>,
    kind: LinkKind,
    devices: &'d [Device],
) -> Result<&'d Device, Located> {
    let uuid = end.get_ref();
    let device = devices.iter().find(|device| device.uuid == *uuid).ok_or_else(|| {
        (end.span(), format!("the link names the device `{uuid}`, which this file does not have"))
    })?;
    if device.instance().is_some() {
        let problem = format!("the link names the MIG instance `{uuid}`; only GPUs have links");
        return Err((end.span(), problem));
    }
    let fits = match kind {
        LinkKind::NvLink => device.vendor == Vendor::Nvidia,
        LinkKind::Xgmi => device.vendor == Vendor::Amd,
        LinkKind::Pcie | LinkKind::PcieMulti | LinkKind::HostBridge => true,
    };
    if fits {
        return Ok(device);
    }
    let (vendor, kind) = (device.vendor, kind.as_str());
    Err((end.span(), format!("the device `{uuid}` is made by {vendor} and has no {kind} links")))
}

/// The link of a pair, the earlier device first; `None` for a device and itself.
fn join(one: &Device, other: &Device, kind: LinkKind, lanes: u32) -> Option<Link> {
    let (a, b) = match one.index.cmp(&other.index) {
        std::cmp::Ordering::Less => (one, other),
        std::cmp::Ordering::Greater => (other, one),
        std::cmp::Ordering::Equal => return None,
    };
    Some(Link { a: a.uuid.clone(), b: b.uuid.clone(), kind, lanes })
}
