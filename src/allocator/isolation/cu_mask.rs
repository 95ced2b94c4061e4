//! Chooses the compute units of an AMD device that a share gets.
//!
//! A bit of a mask is not a position on the chip. The kernel deals the bits out to the dies (XCC)
//! first, then to the shader engines, then to the units of each (`mqd_symmetrically_map_cu_mask`,
//! drivers/gpu/drm/amd/amdkfd/kfd_mqd_manager.c), so a run of bits covers every die equally. A
//! queue hangs on a die that gets no unit. Therefore a granule is a whole number of rounds over the
//! dies. From gfx10 on, two units are one work-group processor, and ROCr takes them in even pairs
//! only.

use crate::model::cu_set::CuSet;
use crate::model::device::Device;
use crate::model::order;
use crate::model::quantity::MilliGpu;

/// A device with fewer granules is shared badly. With ten, every share of at least
/// [`MilliGpu::MIN`] gets one, and shares that fit by their thousandths fit by their granules.
const GRANULES_MIN: u32 = 10;

/// The compute units of a device, in granules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    /// Units of a granule.
    granule: u32,
    /// Whole granules. Units beyond the last whole granule are not used.
    granules: u32,
}

impl Shape {
    /// `None` if the number of the device's units is unknown.
    pub(super) fn of(device: &Device) -> Option<Self> {
        let details = &device.details;
        let units = details.compute_units.filter(|units| *units > 0)?;
        let dies = details.xccs.unwrap_or(1).max(1);
        let pair = if has_pairs(details.arch.as_deref()) { 2 } else { 1 };
        let round = dies.saturating_mul(pair);
        let engines = details.shader_engines.unwrap_or(1).max(1);
        let even = engines.is_multiple_of(pair);
        let over_engines = dies.saturating_mul(engines).saturating_mul(if even { 1 } else { pair });
        let fits = |granule: &u32| units / granule >= GRANULES_MIN;
        let best = Some(over_engines.max(round)).filter(fits).unwrap_or(round);
        let granule = if best <= units { best } else { pair };
        Some(Self { granule, granules: units / granule }).filter(|shape| shape.granules > 0)
    }

    /// The number of granules that a share gets; `None` for a whole device, which is not masked.
    pub(super) fn wanted(self, share: MilliGpu) -> Option<u32> {
        let granules = u64::from(share.0) * u64::from(self.granules) / 1000;
        (share < MilliGpu::WHOLE).then(|| u32::try_from(granules).unwrap_or(u32::MAX).max(1))
    }

    /// The number of free granules.
    pub(super) fn free(self, held: &[&CuSet]) -> u32 {
        let free = (0..self.granules).filter(|granule| !self.is_held(*granule, held));
        u32::try_from(free.count()).unwrap_or(u32::MAX)
    }

    /// The first free granules. Those in `reluctantly` come last. `None` if there are too few.
    pub(super) fn choose(
        self,
        wanted: u32,
        held: &[&CuSet],
        reluctantly: &[&CuSet],
    ) -> Option<CuSet> {
        let mut free: Vec<u32> =
            (0..self.granules).filter(|granule| !self.is_held(*granule, held)).collect();
        order::sort_by_key(&mut free, |granule| self.is_held(*granule, reluctantly));
        let chosen = free.get(..usize::try_from(wanted).ok()?)?;
        Some(CuSet::of(chosen.iter().map(|granule| self.range(*granule))))
    }

    fn range(self, granule: u32) -> (u32, u32) {
        let first = granule * self.granule;
        (first, first + self.granule - 1)
    }

    fn is_held(self, granule: u32, held: &[&CuSet]) -> bool {
        let (first, last) = self.range(granule);
        held.iter().any(|set| set.touches(first, last))
    }
}

/// Whether the units form work-group processors. `gfx1030` is generation 10, then two digits of
/// minor and stepping.
fn has_pairs(arch: Option<&str>) -> bool {
    let digits = arch.and_then(|arch| arch.strip_prefix("gfx")).unwrap_or_default();
    let generation = digits.len().checked_sub(2).and_then(|end| digits.get(..end));
    generation.and_then(|text| text.parse::<u32>().ok()).is_some_and(|number| number >= 10)
}
