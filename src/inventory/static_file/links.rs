//! Links of the file: a group of devices stands for every pair in it.

use super::Located;
use super::problem::Problem;
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
            Some(lanes) => return Err((lanes.span(), Problem::Lanes(*lanes.get_ref()))),
        };
        let kind = group.kind;
        let ends = group.devices.get_ref();
        if ends.len() < 2 {
            return Err((group.devices.span(), Problem::LinkTooShort(ends.len())));
        }
        let mut seen: Vec<&Device> = Vec::with_capacity(ends.len());
        for end in ends {
            let device = find(end, kind, devices)?;
            for other in &seen {
                let link = join(other, device, kind, lanes)
                    .ok_or_else(|| (end.span(), Problem::LinkToItself(device.uuid.clone())))?;
                let indexes = (other.index.min(device.index), other.index.max(device.index), kind);
                if let Some(Link { a, b, .. }) = pairs.insert(indexes, link) {
                    let kind = kind.as_str();
                    return Err((end.span(), Problem::DuplicateLink { a, b, kind }));
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
    let device = devices
        .iter()
        .find(|device| device.uuid == *uuid)
        .ok_or_else(|| (end.span(), Problem::LinkUnknown(uuid.clone())))?;
    if device.instance().is_some() {
        return Err((end.span(), Problem::LinkOfInstance(uuid.clone())));
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
    Err((end.span(), Problem::LinkVendor { uuid: uuid.clone(), vendor, kind }))
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
