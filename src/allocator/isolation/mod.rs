//! How a grant is made true on each device, and who enforces it: the table of the manual, as code.
//!
//! `plan` says what a request would get on a device beside those who are there; `mode` what their
//! shares rule out, since the first share fixes how a device is shared; `cu_mask` and `dmem_region`
//! give the values; `lacks` says what stronger limits would need; `record` sums a set up.

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
