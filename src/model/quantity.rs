//! Amounts: compute in integer milli-GPU, memory in bytes. They are no floats, because with floats
//! 0.8 and 0.2 do not add up to one device.

use serde::{Deserialize, Serialize};
use std::fmt;

/// 1 MiB in bytes.
pub const MIB: u64 = 1 << 20;

/// A share of one device's compute in thousandths; 1000 is the whole device.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct MilliGpu(pub u32);

impl MilliGpu {
    pub const WHOLE: Self = Self(1000);
    /// The smallest share that is granted.
    pub const MIN: Self = Self(100);

    /// The rest after taking `other`, never below zero.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// The sum, held at the type's maximum rather than wrapped.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// This share of `total`, rounded down, so that shares that add up to 1000 never need
    /// more than there is.
    pub fn of(self, total: Bytes) -> Bytes {
        let part = u128::from(total.0) * u128::from(self.0) / 1000;
        Bytes(u64::try_from(part).unwrap_or(u64::MAX))
    }
}

impl fmt::Display for MilliGpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}m", self.0)
    }
}

/// An amount of memory in bytes.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Bytes(pub u64);

impl Bytes {
    pub const fn from_mib(mib: u64) -> Self {
        Self(mib.saturating_mul(MIB))
    }

    /// Whole MiB, rounded down.
    pub const fn mib(self) -> u64 {
        self.0 / MIB
    }

    /// The rest after taking `other`, never below zero.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// The sum, held at the type's maximum rather than wrapped.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// In the units of `gpulease/memory`, rounded down: `79.2Gi`, `191Gi`, `512Mi`.
    pub fn short(self) -> String {
        let gib = MIB * 1024;
        match (self.0 / gib, self.0 % gib * 10 / gib) {
            (0, _) => format!("{}Mi", self.mib()),
            (whole @ 100.., _) | (whole, 0) => format!("{whole}Gi"),
            (whole, tenths) => format!("{whole}.{tenths}Gi"),
        }
    }

    /// The compute share for this much of `total`: in proportion, rounded down so that three thirds
    /// fit, at least [`MilliGpu::MIN`], at most the whole.
    pub fn proportion_of(self, total: Self) -> MilliGpu {
        if total.0 == 0 {
            return MilliGpu::WHOLE;
        }
        let milli = u128::from(self.0) * 1000 / u128::from(total.0);
        let milli = u32::try_from(milli).unwrap_or(u32::MAX);
        MilliGpu(milli.clamp(MilliGpu::MIN.0, MilliGpu::WHOLE.0))
    }
}

impl fmt::Display for Bytes {
    /// The largest binary unit that loses nothing significant: `80 GiB`, `4000 MiB`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const GIB: u64 = MIB * 1024;
        if self.0 >= GIB && self.0.is_multiple_of(GIB) {
            write!(f, "{} GiB", self.0 / GIB)
        } else if self.0 >= 100 * GIB {
            write!(f, "{}.{} GiB", self.0 / GIB, self.0 % GIB * 10 / GIB)
        } else if self.0 >= MIB || self.0 == 0 {
            write!(f, "{} MiB", self.0 / MIB)
        } else {
            write!(f, "{} bytes", self.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_that_add_up_to_one_fit_into_the_memory() {
        let total = Bytes(85_520_809_983);
        let sum: u64 = (0..10).map(|_| MilliGpu(100).of(total).0).sum();
        assert!(sum <= total.0);
        assert_eq!(MilliGpu::WHOLE.of(total), total);
    }

    #[test]
    fn memory_is_short_and_never_too_much() {
        assert_eq!(Bytes::from_mib(81_105).short(), "79.2Gi");
        assert_eq!(Bytes(206_141_652_992).short(), "191Gi");
        assert_eq!(Bytes::from_mib(8192).short(), "8Gi");
        assert_eq!(Bytes::from_mib(1023).short(), "1023Mi");
        assert_eq!(Bytes(0).short(), "0Mi");
    }

    #[test]
    fn memory_brings_its_share_of_compute() {
        let total = Bytes::from_mib(1000);
        assert_eq!(Bytes::from_mib(1).proportion_of(total), MilliGpu(100));
        assert_eq!(Bytes::from_mib(251).proportion_of(total), MilliGpu(251));
        assert_eq!(Bytes(total.0 / 3).proportion_of(total), MilliGpu(333));
        assert_eq!(Bytes::from_mib(5000).proportion_of(total), MilliGpu::WHOLE);
    }

    #[test]
    fn sizes_read_well() {
        assert_eq!(Bytes::from_mib(81920).to_string(), "80 GiB");
        assert_eq!(Bytes::from_mib(4000).to_string(), "4000 MiB");
        assert_eq!(Bytes(206_141_652_992).to_string(), "191.9 GiB");
        assert_eq!(Bytes(12).to_string(), "12 bytes");
    }
}
