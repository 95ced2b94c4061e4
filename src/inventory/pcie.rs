//! How PCI devices reach each other by PCI Express, from the chain of bridges that sysfs
//! shows in a device's path:
//! `…/pci0000:00/0000:00:01.1/0000:01:00.0/0000:02:00.0/0000:03:00.0` is host bridge, root
//! port, the two sides of a switch, device. The levels are those of `nvidia-smi topo -m`.

use super::sysfs;
use crate::model::device::{Device, Link, LinkKind, PciAddress};
use crate::model::id::DeviceId;
use crate::paths::Paths;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

/// The links between all pairs of these devices, except the parts of one GPU.
pub fn links(paths: &Paths, devices: &[Device]) -> Vec<Link> {
    let mut gpus: Vec<(&DeviceId, Option<Chain>)> = Vec::new();
    let mut seen = BTreeSet::new();
    for device in devices {
        if device.instance().is_none() && seen.insert(device.pci) {
            gpus.push((device.package(), Chain::of(&paths.sys, device.pci)));
        }
    }
    let mut links = Vec::new();
    for (position, (one, chain)) in gpus.iter().enumerate() {
        for (other, others) in gpus.iter().skip(position.saturating_add(1)) {
            let kind = chain.as_ref().zip(others.as_ref()).and_then(|(a, b)| a.level(b));
            let (a, b) = ((*one).clone(), (*other).clone());
            links.extend(kind.map(|kind| Link { a, b, kind, lanes: 1 }));
        }
    }
    links
}

/// The path between a device and the processor.
struct Chain {
    /// The host bridge's directory.
    root: PathBuf,
    /// The bridges from the root port on, without the device.
    bridges: Vec<OsString>,
}

impl Chain {
    fn of(sys: &Path, pci: PciAddress) -> Option<Self> {
        let device = sysfs::pci_directory(sys, pci)?;
        let parts: Vec<Component<'_>> = device.components().collect();
        // The last one counts: behind Intel's VMD there is a host bridge below another device.
        let is_root = |part: &Component<'_>| {
            part.as_os_str()
                .to_str()
                .is_some_and(|name| name.strip_prefix("pci").is_some_and(|rest| rest.contains(':')))
        };
        let at = parts.iter().rposition(is_root)?;
        let root: PathBuf = parts.iter().take(at.saturating_add(1)).collect();
        let end = parts.len().checked_sub(1)?;
        let bridges = parts.get(at.saturating_add(1)..end)?;
        let bridges = bridges.iter().map(|part| part.as_os_str().to_owned()).collect();
        let mut chain = Self { root, bridges };
        chain.drop_own_switch(&device);
        Some(chain)
    }

    /// Removes the switch that an AMD or Intel GPU has on its card: bridges of the same maker right
    /// above the GPU. They are part of the device and connect it to no other. A root port is not on
    /// the card.
    fn drop_own_switch(&mut self, device: &Path) {
        let vendor = |dir: &Path| sysfs::text(&dir.join("vendor")).ok().flatten();
        let Some(maker) = vendor(device) else { return };
        let mut above = device.parent();
        while self.bridges.len() > 1
            && let Some(bridge) = above
            && vendor(bridge).as_ref() == Some(&maker)
        {
            self.bridges.pop();
            above = bridge.parent();
        }
    }

    fn level(&self, other: &Self) -> Option<LinkKind> {
        if self.root != other.root {
            return None;
        }
        let common = self.bridges.iter().zip(&other.bridges).take_while(|(a, b)| a == b).count();
        if common == 0 {
            return Some(LinkKind::HostBridge);
        }
        // Below the last common bridge, a single switch has one port for each of the two.
        let ports = |chain: &Self| chain.bridges.len().saturating_sub(common);
        let is_one_switch = ports(self) <= 1 && ports(other) <= 1;
        Some(if is_one_switch { LinkKind::Pcie } else { LinkKind::PcieMulti })
    }
}

#[cfg(test)]
mod tests;
