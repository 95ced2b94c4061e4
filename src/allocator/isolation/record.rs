//! Builds the part of a lease that says how its share is enforced.

use super::super::assess::Assessed;
use super::plan::{Plan, Planner};
use crate::model::device::Vendor;
use crate::model::isolation::{Enforcement, Isolation, IsolationRecord};
use crate::request::Amount;

impl Planner<'_> {
    /// Records the requested isolation, in the granted vendor's terms, and the one in effect. For a
    /// set, that is the weakest of its devices. A missing facility that not all devices lack is
    /// recorded with the device's name. AMD has no MPS, so there the word means a mask of compute
    /// units.
    pub(in super::super) fn record(&self, set: &[(&Assessed<'_>, Plan)]) -> IsolationRecord {
        let plans = || set.iter().map(|(_, plan)| *plan);
        let amd = !set.is_empty() && set.iter().all(|(a, _)| a.device.vendor == Vendor::Amd);
        let (requested, requested_as) = match self.request.isolation {
            Isolation::Mps if amd => (Isolation::CuMask, Some(Isolation::Mps)),
            Isolation::Auto if self.request.amount == Amount::Whole => (Isolation::None, None),
            other => (other, None),
        };
        let all: Vec<Vec<String>> =
            set.iter().map(|(a, plan)| self.lacks(a.device, *plan)).collect();
        let mut lacks: Vec<String> = Vec::new();
        for ((assessed, _), own) in set.iter().zip(&all) {
            for lack in own {
                let is_common = all.iter().all(|other| other.contains(lack));
                let place = assessed.device.place();
                let lack = if is_common { lack.clone() } else { format!("GPU {place}: {lack}") };
                if !lacks.contains(&lack) {
                    lacks.push(lack);
                }
            }
        }
        let weakest = |by: fn(Plan) -> Enforcement| plans().map(by).min();
        IsolationRecord {
            requested,
            requested_as,
            effective: plans()
                .map(|plan| plan.effective)
                .min_by_key(|effective| strength(*effective))
                .unwrap_or(Isolation::None),
            compute_enforcement: weakest(|plan| plan.compute).unwrap_or(Enforcement::None),
            memory_enforcement: weakest(|plan| plan.memory).unwrap_or(Enforcement::None),
            missing: lacks,
        }
    }
}

/// Orders isolations by how much of a share they enforce.
const fn strength(isolation: Isolation) -> u8 {
    match isolation {
        Isolation::None | Isolation::Auto => 0,
        Isolation::TimeSlicing => 1,
        Isolation::CuMask => 2,
        Isolation::Mps => 3,
        Isolation::Partition => 4,
        Isolation::Mig => 5,
    }
}
