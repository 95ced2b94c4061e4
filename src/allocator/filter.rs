//! Which devices could serve a request if nobody held anything.

use super::demand::Demand;
use crate::model::device::Device;
use crate::model::isolation::Isolation;
use crate::model::mig::Mig;
use crate::model::spelled::spelled;
use crate::model::text::glob;
use crate::request::{Amount, MigChoice, Request};

spelled! {
    /// Why a device cannot serve a request, whoever holds what. In the order in which it is checked:
    /// the first that applies is the one reported.
    pub enum Exclusion {
        /// The request names devices, and not this one.
        NotNamed = "not-named",
        /// Another vendor is asked for.
        Vendor = "vendor",
        /// Another model is asked for.
        Model = "model",
        /// A GPU is asked for and it is a MIG instance, or the other way round; or it is a GPU in MIG
        /// mode, whose instances are leased in its place.
        Kind = "kind",
        /// A MIG instance of another profile is asked for.
        Profile = "profile",
        /// A partition of an AMD GPU is asked for, whole, and it is none.
        Partition = "partition",
        /// Its capacity is below the request's minimum.
        MinMemory = "min-memory",
        /// Something that names it names another device as well.
        Ambiguous = "ambiguous",
        /// Its driver does not answer for it.
        Unqueryable = "unqueryable",
        /// A source says that it is broken.
        Unhealthy = "unhealthy",
        /// An administrator took it out of service.
        Cordoned = "cordoned",
        /// Nobody can say how much memory it has, and the request is about an amount of it.
        UnknownMemory = "unknown-memory",
        /// It is a MIG instance, which is leased whole, and a share is asked for.
        NoShares = "no-shares",
        /// More is asked for than it has.
        TooSmall = "too-small",
        /// The request requires limits to hold that would not on it.
        Unmet = "unmet",
        /// Processes outside of any lease compute on it. The last check: it alone may pass by itself.
        Busy = "busy",
    }
}

impl Exclusion {
    /// Whether it is the request's choice of devices, rather than the device's state or size,
    /// that leaves the device out.
    pub(super) fn is_by_choice(self) -> bool {
        self <= Self::MinMemory
    }
}

/// What is known of a device besides the device itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct DeviceStanding {
    /// The request names it, or names none.
    pub(super) named: bool,
    /// It is in MIG mode, and the engine gave its node to the container and those of no instance.
    pub(super) injected: bool,
    /// An administrator took it out of service.
    pub(super) cordoned: bool,
    /// Processes outside of any lease compute on it, and this request is not let near them.
    pub(super) busy: bool,
}

/// The first reason for which the device is out of the question, if any. Whether limits would hold is
/// not looked at: [`Exclusion::Unmet`] is the planner's.
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

/// The `gpulease/model` of a request: a substring, or a glob over the whole name if it has `*` or
/// `?`. Both without regard to case.
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
