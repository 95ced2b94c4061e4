//! A container's request, once its words are understood.

use crate::model::device::{PciAddress, Vendor};
use crate::model::driver::Capability;
use crate::model::isolation::Isolation;
use crate::model::lease::Sharing;
use crate::model::mig::MigProfile;
use crate::model::quantity::{Bytes, MilliGpu};
use crate::model::spelled::spelled;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    Exactly(u32),
    /// Every matching device that is not cordoned.
    All,
}

/// A way to name a device.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Selector {
    /// A GPU, by its position in PCI order.
    Index(u32),
    /// A MIG instance: the position of its GPU, and its own position on the GPU.
    Instance(u32, u32),
    /// A UUID or the beginning of one, as typed. Case is ignored.
    Uuid(String),
    Pci(PciAddress),
    Card(u32),
    Render(u32),
}

/// The kind of devices that a request is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MigChoice {
    /// GPUs, whole or in shares, and never a MIG instance.
    Gpus,
    /// Whole MIG instances, of this profile if one is given.
    Instances(Option<MigProfile>),
    /// Both: the request names its devices, or a vendor's variable says `all`.
    Either,
}

/// How much of each device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    Whole,
    /// A part of the device. At least one amount is given; the other follows in proportion.
    Share {
        /// The share of compute, if it is given.
        compute: Option<MilliGpu>,
        /// The share of memory, if it is given.
        memory: Option<Bytes>,
    },
}

spelled! {
    /// How to choose among the devices that fit.
    #[allow(clippy::enum_variant_names, reason = "they are called so everywhere")]
    pub enum Strategy {
        /// The first in PCI order.
        FirstFit = "first-fit",
        /// The device that would have the least left over: leases are packed, whole devices stay
        /// free.
        BestFit = "best-fit",
        /// The device that would have the most left over: leases are spread.
        WorstFit = "worst-fit",
    }
}

spelled! {
    /// How much the links between the devices of a set matter.
    pub enum Topology {
        None = "none",
        /// The best-linked set among those that fit.
        Preferred = "preferred",
    }
}

spelled! {
    /// The source of the request.
    pub enum RequestSource {
        Annotations = "annotations",
        /// Only annotations of another project, which are read as aliases.
        Alias = "alias",
        /// Environment variables that the administrator admits.
        Environment = "environment",
        /// GPU nodes that the engine had already put into the spec.
        Injected = "injected",
    }
}

spelled! {
    /// Whether limits have to be enforced.
    pub enum Enforce {
        /// Limits are enforced as far as this node can.
        Preferred = "preferred",
        /// The request is refused if the workload could undo the limit of compute or memory that it
        /// names.
        Required = "required",
    }
}

/// A container's request. Only the devices are not resolved yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub count: Count,
    /// Only these devices, unless the list is empty.
    pub devices: Vec<Selector>,
    pub vendor: Option<Vendor>,
    /// Only models that match: a case-insensitive substring, or a glob if it has `*` or `?`.
    pub model: Option<String>,
    /// GPUs or MIG instances.
    pub mig: MigChoice,
    /// How much of each device.
    pub amount: Amount,
    /// Exclusive or shared.
    pub sharing: Sharing,
    /// Only devices with at least this much memory.
    pub min_memory: Option<Bytes>,
    /// How to enforce the share.
    pub isolation: Isolation,
    /// Whether limits have to be enforced.
    pub enforcement: Enforce,
    /// How to choose among the devices that fit.
    pub strategy: Strategy,
    /// How much links between devices matter.
    pub topology: Topology,
    /// A higher priority goes first in the queue.
    pub priority: u32,
    /// The kind of work, in canonical spelling.
    pub workload: Option<String>,
    /// Driver features. `None` leaves the image's own setting or the default. An empty list is
    /// `none`: device nodes without driver files.
    pub capabilities: Option<Vec<Capability>>,
    /// The source of the request.
    pub source: RequestSource,
}

impl Request {
    /// One whole device, exclusively, by the given strategy.
    pub const fn one(strategy: Strategy, source: RequestSource) -> Self {
        Self {
            count: Count::Exactly(1),
            devices: Vec::new(),
            vendor: None,
            model: None,
            mig: MigChoice::Gpus,
            amount: Amount::Whole,
            sharing: Sharing::Exclusive,
            min_memory: None,
            isolation: Isolation::Auto,
            enforcement: Enforce::Preferred,
            strategy,
            topology: Topology::Preferred,
            priority: 5,
            workload: None,
            capabilities: None,
            source,
        }
    }
}
