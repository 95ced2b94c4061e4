//! Decides which devices could serve a request on a node without leases.

use super::demand::Demand;
use crate::model::device::Device;
use crate::model::isolation::Isolation;
use crate::model::mig::Mig;
use crate::model::spelled::spelled;
use crate::model::text::glob;
use crate::request::{Amount, MigChoice, Request};

spelled! {
    /// Why a device cannot serve a request, whatever leases there are. The variants are in the
    /// order of the checks: the first that applies is reported.
    pub enum Exclusion {
        /// The request names devices, but not this one.
        NotNamed = "not-named",
        /// The request is for another vendor.
        Vendor = "vendor",
        /// The request is for another model.
        Model = "model",
        /// The request is for a GPU and this is a MIG instance, or the other way round. Also a GPU
        /// in MIG mode: its instances are leased instead.
        Kind = "kind",
        /// The request is for a MIG instance of another profile.
        Profile = "profile",
        /// The request is for a partition of an AMD GPU, whole, and this is not one.
        Partition = "partition",
        /// The device has less memory than the request's minimum.
        MinMemory = "min-memory",
        /// One of its names is another device's name too.
        Ambiguous = "ambiguous",
        /// Its driver does not answer for it.
        Unqueryable = "unqueryable",
        /// A source reports that it is broken.
        Unhealthy = "unhealthy",
        /// An administrator took it out of service.
        Cordoned = "cordoned",
        /// The size of its memory is unknown, and the request is for an amount of memory.
        UnknownMemory = "unknown-memory",
        /// It is a MIG instance, which is leased whole, and the request is for a share.
        NoShares = "no-shares",
        /// The request is for more than the device has.
        TooSmall = "too-small",
        /// The request requires limits that cannot be enforced on the device.
        Unmet = "unmet",
        /// Processes without a lease compute on it. This is the last check, because only it may
        /// pass without any change by the user.
        Busy = "busy",
    }
}

impl Exclusion {
    /// Whether the device is left out because of the request's choice, not because of the device's
    /// state or size.
    pub(super) fn is_by_choice(self) -> bool {
        self <= Self::MinMemory
    }
}

/// Facts about a device that are not in its description.
#[derive(Debug, Clone, Copy)]
pub(super) struct DeviceStanding {
    /// The request names the device, or names none.
    pub(super) named: bool,
    /// The GPU is in MIG mode, and the engine gave the container its node but no node of an
    /// instance.
    pub(super) injected: bool,
    /// An administrator took it out of service.
    pub(super) cordoned: bool,
    /// Processes without a lease compute on it, and this request may not share it with them.
    pub(super) busy: bool,
}

/// The first reason that rules the device out, if any. It never is [`Exclusion::Unmet`]: the
/// planner checks limits.
pub(super) fn exclusion(
    request: &Request,
    model: Option<&ModelPattern>,
    device: &Device,
    standing: DeviceStanding,
    demand: &Demand,
) -> Option<Exclusion> {
    let applies = |exclusion: &Exclusion| match exclusion {
        Exclusion::NotNamed => !standing.named,
        Exclusion::Vendor => request.vendor.is_some_and(|vendor| vendor != device.vendor),
        Exclusion::Model => model.is_some_and(|pattern| !pattern.matches(&device.model)),
        Exclusion::Kind => match device.mig {
            None => matches!(request.mig, MigChoice::Instances(_)),
            Some(Mig::Enabled) => !standing.injected,
            Some(Mig::Instance(_)) => request.mig == MigChoice::Gpus,
        },
        Exclusion::Profile => match (&request.mig, device.instance()) {
            (MigChoice::Instances(Some(profile)), Some(instance)) => instance.profile != *profile,
            _ => false,
        },
        Exclusion::Partition => {
            request.isolation == Isolation::Partition
                && (device.details.partition.is_none() || request.amount != Amount::Whole)
        }
        Exclusion::MinMemory => {
            let least = request.min_memory.zip(device.memory_total_bytes);
            least.is_some_and(|(least, total)| total < least)
        }
        Exclusion::Ambiguous => device.details.ambiguous.is_some(),
        Exclusion::Unqueryable => device.details.fault.is_some(),
        Exclusion::Unhealthy => device.healthy == Some(false),
        Exclusion::Cordoned => standing.cordoned,
        Exclusion::UnknownMemory => {
            let asks = request.amount != Amount::Whole || request.min_memory.is_some();
            asks && device.memory_total_bytes.is_none()
        }
        Exclusion::NoShares => request.amount != Amount::Whole && device.instance().is_some(),
        Exclusion::TooSmall => demand.exceeds(device),
        Exclusion::Unmet => false,
        Exclusion::Busy => standing.busy,
    };
    Exclusion::ALL.into_iter().find(applies)
}

/// The `gpulease/model` of a request: a substring, or, with `*` or `?`, a glob over the whole name.
/// Both ignore case.
#[derive(Debug)]
pub(super) struct ModelPattern {
    lower: String,
    is_glob: bool,
}

impl ModelPattern {
    pub(super) fn new(pattern: &str) -> Self {
        Self { lower: pattern.to_lowercase(), is_glob: pattern.contains(['*', '?']) }
    }

    pub(super) fn matches(&self, model: &str) -> bool {
        let model = model.to_lowercase();
        if self.is_glob { glob(&self.lower, &model) } else { model.contains(&self.lower) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_match_by_substring_or_glob() {
        let matches = |pattern: &str, model: &str| ModelPattern::new(pattern).matches(model);
        let h100 = "NVIDIA H100 80GB HBM3";
        for pattern in ["h100", "NVIDIA", "", "*", "*h100*", "nvidia h?00*", "*HBM3", "*0*0*3"] {
            assert!(matches(pattern, h100), "{pattern}");
        }
        for pattern in ["a100", "h100*", "*h100", "?", "nvidia h?00", "*h100*80gb", "**x"] {
            assert!(!matches(pattern, h100), "{pattern}");
        }
        assert!(matches("a*bc", "abbbc"));
        assert!(matches("??", "üß"));
    }
}
