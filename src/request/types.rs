//! What a container asks for, once its words are understood.

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
    /// Position in PCI order: a GPU.
    Index(u32),
    /// A MIG instance: the GPU's position, and the instance's on the GPU.
    Instance(u32, u32),
    /// A UUID or the beginning of one, as typed; compared without regard to case.
    Uuid(String),
    Pci(PciAddress),
    Card(u32),
    Render(u32),
}

/// Which kind of devices a request is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MigChoice {
    /// GPUs, whole or in shares, and never a MIG instance.
    Gpus,
    /// MIG instances, of this profile if one is given, each of them whole.
    Instances(Option<MigProfile>),
    /// Both: the request names its devices, or a vendor's variable says all.
    Either,
}

/// How much of each device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    Whole,
    /// Part of it; at least one of the two is given, and what is missing follows in proportion.
    Share {
        /// Compute, if the request says.
        compute: Option<MilliGpu>,
        /// Memory, if the request says.
        memory: Option<Bytes>,
    },
}

spelled! {
    /// Which of the fitting devices.
    #[allow(clippy::enum_variant_names, reason = "they are called so everywhere")]
    pub enum Strategy {
        /// The first in PCI order.
        FirstFit = "first-fit",
        /// The one with the least left over: packs, and keeps whole devices free.
        BestFit = "best-fit",
        /// The one with the most left over: spreads.
        WorstFit = "worst-fit",
    }
}

spelled! {
    /// How much the links between the devices of a set matter.
    pub enum Topology {
        None = "none",
        /// The best-linked set among the fitting ones.
        Preferred = "preferred",
    }
}

spelled! {
    /// Where the request came from.
    pub enum RequestSource {
        Annotations = "annotations",
        /// Only another project's annotations that are read as aliases.
        Alias = "alias",
        /// Environment variables that the administrator admits.
        Environment = "environment",
        /// GPU nodes that the engine had already put into the spec.
        Injected = "injected",
    }
}

spelled! {
    /// Whether limits have to hold.
    pub enum Enforce {
        /// As well as they can here.
        Preferred = "preferred",
        /// Refuse where the workload could undo the limit of compute or memory that it asks for.
        Required = "required",
    }
}

/// What a container asks for. Everything is resolved but the devices themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub count: Count,
    /// Only these, if not empty.
    pub devices: Vec<Selector>,
    pub vendor: Option<Vendor>,
    /// Only models that match: a case-insensitive substring, or a glob if it has `*` or `?`.
    pub model: Option<String>,
    /// GPUs or MIG instances.
    pub mig: MigChoice,
    /// How much of each.
    pub amount: Amount,
    /// Alone or with others.
    pub sharing: Sharing,
    /// Only devices whose capacity is at least this.
    pub min_memory: Option<Bytes>,
    /// How the share is to be made true.
    pub isolation: Isolation,
    /// Whether its limits have to hold.
    pub enforcement: Enforce,
    /// Which of the fitting ones.
    pub strategy: Strategy,
    /// How much the links matter.
    pub topology: Topology,
    /// Higher goes first in the queue.
    pub priority: u32,
    /// The kind of work, canonical spelling.
    pub workload: Option<String>,
    /// Driver features; `None` leaves the image's own setting or the default. An empty list is
    /// `none`: device nodes and no driver files.
    pub capabilities: Option<Vec<Capability>>,
    /// Where it came from.
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
