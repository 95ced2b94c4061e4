//! Says in phrases why a limit is not enforced.

use super::cu_mask::Shape;
use super::dmem_region::{NoRegion, region};
use super::mode::Conflict;
use super::plan::{Plan, Planner, capability};
use crate::model::device::{Device, Vendor};
use crate::model::isolation::{Enforcement, Isolation};
use crate::request::Enforce;

const UNCONFINED: &str = "the container's privileges, mounts or device rules let it undo any limit";

impl Planner<'_> {
    /// Everything that stronger limits on this device would need, each with its limit: `memory: the
    /// kernel …`.
    pub(super) fn lacks(&self, device: &Device, plan: Plan) -> Vec<String> {
        let (compute, memory) = (self.of_compute(device, plan), self.of_memory(device, plan));
        let isolation =
            self.of_isolation(device, plan).filter(|lack| compute.as_ref() != Some(lack));
        let both = if compute == memory { "compute and memory" } else { "compute" };
        let lacks = [
            isolation.map(|lack| format!("isolation: {lack}")),
            compute.as_ref().map(|lack| format!("{both}: {lack}")),
            memory.as_ref().filter(|_| compute != memory).map(|lack| format!("memory: {lack}")),
        ];
        lacks.into_iter().flatten().collect()
    }

    /// Why the device cannot serve a request that requires limits: `memory would be advisory: the
    /// kernel has no dmem controller, …`.
    pub(in super::super) fn unmet(&self, device: &Device, plan: Plan) -> String {
        let phrases = self.open(device, plan);
        let phrases = phrases.map(|(limit, by, lack)| format!("{limit} would be {by}: {lack}"));
        phrases.collect::<Vec<_>>().join("; ")
    }

    /// Whether a required limit is missing on the device because of `lack`.
    pub(in super::super) fn is_unmet_by(&self, device: &Device, plan: Plan, lack: &str) -> bool {
        self.open(device, plan).any(|(.., other)| other == lack)
    }

    /// The required limits that would not be enforced, and the reason for each.
    fn open(
        &self,
        device: &Device,
        plan: Plan,
    ) -> impl Iterator<Item = (&'static str, Enforcement, String)> {
        let (compute, memory) = self.must_hold();
        let limits = [
            ("compute", compute, plan.compute, self.of_compute(device, plan)),
            ("memory", memory, plan.memory, self.of_memory(device, plan)),
        ];
        let open = limits.into_iter().filter(|(_, must, by, _)| *must && !by.holds());
        open.map(|(limit, _, by, lack)| (limit, by, lack.unwrap_or_default()))
    }

    /// Why the host lacks facilities that it could have.
    pub(in super::super) fn host_lacks(&self) -> impl Iterator<Item = &str> {
        let mps = self.facilities.mps.as_ref();
        let lacks = [
            mps.err(),
            mps.ok().and_then(|mps| mps.exclusive.as_ref().err()),
            self.facilities.dmem.as_ref().err(),
        ];
        lacks.into_iter().flatten().map(String::as_str)
    }

    /// Why the requested isolation is not the one in effect.
    fn of_isolation(&self, device: &Device, plan: Plan) -> Option<String> {
        match self.request.isolation {
            Isolation::Mps if plan.effective == Isolation::TimeSlicing => Some(self.no_mps(device)),
            Isolation::CuMask if plan.effective != Isolation::CuMask => Some(no_masks(device)),
            _ => None,
        }
    }

    fn of_compute(&self, device: &Device, plan: Plan) -> Option<String> {
        if plan.compute.holds() {
            return None;
        }
        if !self.requester.confined {
            return Some(UNCONFINED.to_owned());
        }
        Some(match (plan.effective, device.vendor) {
            (Isolation::None, _) => NO_LIMIT.to_owned(),
            (Isolation::Mps, _) => self.not_pinned(device),
            (Isolation::CuMask, _) => {
                "HSA_CU_MASK is a variable, and a workload can unset it".to_owned()
            }
            _ if self.request.isolation == Isolation::TimeSlicing => {
                "time-slicing does not limit compute".to_owned()
            }
            (_, Vendor::Nvidia) => self.no_mps(device),
            (_, Vendor::Amd) => no_masks(device),
            (_, Vendor::Intel) => {
                "nothing limits the compute of a share of an Intel GPU".to_owned()
            }
        })
    }

    fn of_memory(&self, device: &Device, plan: Plan) -> Option<String> {
        if plan.memory.holds() {
            return None;
        }
        if !self.requester.confined {
            return Some(UNCONFINED.to_owned());
        }
        if plan.effective == Isolation::None {
            return Some(NO_LIMIT.to_owned());
        }
        let regions = match &self.facilities.dmem {
            Ok(regions) => regions,
            Err(why) => return Some(why.clone()),
        };
        let why = match region(regions, device).err()? {
            NoRegion::Partition => "the kernel limits the memory of a GPU, not of a partition",
            NoRegion::Several => "the kernel limits the memory of each tile, not of the GPU",
            NoRegion::None => {
                "the driver has not registered the GPU's memory with the kernel's \
                               dmem controller"
            }
        };
        Some(why.to_owned())
    }

    /// Why MPS is not possible on the device.
    fn no_mps(&self, device: &Device) -> String {
        if let (Vendor::Nvidia, Err(why)) = (device.vendor, &self.facilities.mps) {
            return why.clone();
        }
        let why = match (device.vendor, capability(device)) {
            (Vendor::Amd, _) => return no_masks(device),
            (Vendor::Intel, _) => "MPS exists for NVIDIA GPUs only",
            (Vendor::Nvidia, Some(has)) if has < (7, 0) => {
                "MPS limits its clients only on GPUs of compute capability 7.0 and newer"
            }
            (Vendor::Nvidia, None) if self.request.isolation != Isolation::Mps => {
                "it is unknown whether MPS limits its clients on this GPU"
            }
            _ if !self.is_for_one() => "a process can use MPS on one device only",
            _ if self.requester.uid.is_none() => {
                "the user of the container's processes is unknown, and MPS serves one user"
            }
            _ => "the device is already shared by time-slicing, which rules out MPS",
        };
        why.to_owned()
    }

    /// Why MPS does not limit its clients to this share.
    fn not_pinned(&self, device: &Device) -> String {
        let exclusive = self.facilities.mps.as_ref().map(|mps| mps.exclusive.as_ref());
        let why = match exclusive {
            Ok(Err(why)) | Err(why) => return why.clone(),
            Ok(Ok(())) => "MPS enforces compute only with gpulease/enforcement=required",
        };
        let known = capability(device).is_some();
        let required = self.request.enforcement == Enforce::Required;
        match (known, required) {
            (false, _) => "it is unknown whether MPS limits its clients on this GPU".to_owned(),
            (true, _) => why.to_owned(),
        }
    }
}

const NO_LIMIT: &str = "isolation `none` sets no limit";

/// Why masks of compute units are not possible.
fn no_masks(device: &Device) -> String {
    match (device.vendor, Shape::of(device)) {
        (Vendor::Amd, None) => "the number of its compute units is unknown",
        (Vendor::Amd, Some(_)) => {
            "the device is already shared by time-slicing, which rules out masks"
        }
        (Vendor::Nvidia | Vendor::Intel, _) => "masks of compute units exist for AMD GPUs only",
    }
    .to_owned()
}

impl Conflict {
    /// The obstacle in words, without its holders.
    pub(in super::super) fn reason(self) -> String {
        match self {
            Self::Mode { now, asked } => format!("shared by {now} now, {asked} requested"),
            Self::Unknown { asked } => {
                format!("its present isolation cannot be read, {asked} requested")
            }
            Self::User { served, asks: Some(asks) } => {
                format!("MPS on it serves user {served} now, and the container's user is {asks}")
            }
            Self::User { served, asks: None } => {
                format!("MPS on it serves user {served} now, and the container's user is unknown")
            }
            Self::Clients(most) => {
                format!("MPS on it already serves {most} leases, the most it can")
            }
            Self::Pinned(most) => {
                format!(
                    "MPS on it limits each lease to {most} now, because one of them requires \
                         it"
                )
            }
            Self::Larger(largest) => format!(
                "MPS on it cannot limit a lease to less than {largest} now, because one of them \
                 has that much"
            ),
            Self::Units { free, wanted } => {
                format!("{free} groups of its compute units are free, {wanted} requested")
            }
        }
    }
}
