//! Decides how a share of each device is enforced, and by whom. It is the manual's table as code.
//!
//! `plan` says how a request would be enforced beside the shares on a device. `mode` says which
//! ways those shares rule out, because the first share fixes how a device is shared. `cu_mask` and
//! `dmem_region` compute the values. `missing` says what stronger limits would need. `record` sums
//! up a set of devices.

mod cu_mask;
mod dmem_region;
mod missing;
mod mode;
mod plan;
mod record;

#[cfg(test)]
mod mask_properties;
#[cfg(test)]
mod mode_tests;
#[cfg(test)]
mod table_tests;

pub(super) use mode::{Conflict, SharesOnDevice};
pub(super) use plan::{Plan, PlanVerdict, Planner};
