//! Finds the name that the kernel's dmem controller has for a device's memory.

use crate::model::device::{Device, PciAddress};
use std::collections::BTreeMap;

/// Why the kernel cannot limit the memory of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoRegion {
    /// The region is the whole GPU's, and this is a partition of it.
    Partition,
    /// There are several regions, and an allocation may end up in any of them.
    Several,
    /// The device's driver has registered none.
    None,
}

/// The region of this device's own memory. amdgpu registers `drm/<pci>/vram`, xe `drm/<pci>/vramN`
/// for each tile (`amdgpu_vram_mgr.c`, `xe_ttm_vram_mgr.c`), NVIDIA's driver `nvidia/<pci>/vidmem`
/// (NVIDIA, "MPS", memory limits by cgroup).
pub(super) fn region<'a>(
    regions: &'a BTreeMap<String, u64>,
    device: &Device,
) -> Result<&'a str, NoRegion> {
    if device.details.partition.is_some() {
        return Err(NoRegion::Partition);
    }
    let mut own = drm(regions, device.pci);
    match (own.next(), own.next()) {
        (Some(one), None) => Ok(one),
        (Some(_), Some(_)) => Err(NoRegion::Several),
        (None, _) => {
            let vidmem = regions.get_key_value(&format!("nvidia/{}/vidmem", device.pci));
            vidmem.map(|(name, _)| name.as_str()).ok_or(NoRegion::None)
        }
    }
}

fn drm(regions: &BTreeMap<String, u64>, pci: PciAddress) -> impl Iterator<Item = &str> {
    let prefix = format!("drm/{pci}/vram");
    let from = regions.range(prefix.clone()..).map(|(name, _)| name.as_str());
    from.map_while(move |name| Some((name, name.strip_prefix(&prefix)?)))
        .filter(|(_, number)| number.bytes().all(|byte| byte.is_ascii_digit()))
        .map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::super::super::fixtures::{h100, mi300x};
    use super::*;
    use crate::model::device::{Details, Partition};

    #[test]
    fn a_region_is_found_only_if_it_is_the_only_one() {
        let of = |names: &[&str], device: &Device| {
            let regions = names.iter().map(|name| ((*name).to_owned(), 1)).collect();
            region(&regions, device).map(str::to_owned)
        };
        let ok = |name: &str| Ok(name.to_owned());
        let amd = mi300x(3); // 0000:13:00.0
        let all = ["drm/0000:03:00.0/vram", "drm/0000:13:00.0/stolen", "drm/0000:13:00.0/vram"];
        assert_eq!(of(&all, &amd), ok("drm/0000:13:00.0/vram"));
        assert_eq!(of(&all[..2], &amd), Err(NoRegion::None));
        assert_eq!(of(&["drm/0000:13:00.0/vram0"], &amd), ok("drm/0000:13:00.0/vram0"));
        let tiles = ["drm/0000:13:00.0/vram0", "drm/0000:13:00.0/vram1"];
        assert_eq!(of(&tiles, &amd), Err(NoRegion::Several));
        assert_eq!(of(&["drm/0000:13:00.0/vram_visible"], &amd), Err(NoRegion::None));
        assert_eq!(of(&["drm/0000:13:00.0/vramx"], &amd), Err(NoRegion::None));
        let vidmem = "nvidia/0000:10:00.0/vidmem";
        assert_eq!(of(&[vidmem, "nvidia/0000:11:00.0/vidmem"], &h100(0)), ok(vidmem));
        assert_eq!(of(&["nvidia/0000:10:00.0/other"], &h100(0)), Err(NoRegion::None));
        let partition = Partition { gpu: amd.uuid.clone(), index: 1, mode: "CPX/NPS4".into() };
        let details = Details { partition: Some(partition), ..Details::default() };
        assert_eq!(of(&all, &Device { details, ..amd }), Err(NoRegion::Partition));
    }
}
