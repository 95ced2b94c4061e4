//! How a request wants its share enforced, and how it is enforced.

use super::spelled::spelled;
use serde::{Deserialize, Serialize};

spelled! {
    /// Ways to enforce a share.
    pub enum Isolation {
        /// No enforcement: the share exists only in the lease records.
        None = "none",
        /// The driver's own time slices between processes.
        TimeSlicing = "time-slicing",
        Mps = "mps",
        Mig = "mig",
        Partition = "partition",
        CuMask = "cu-mask",
        /// The strongest way that the device supports.
        Auto = "auto",
    }
}

spelled! {
    /// The enforcer of a limit.
    pub enum Enforcement {
        /// Nothing, and nothing could: the container's privileges get it past any limit.
        None = "none",
        /// Nothing, because the device is simulated. A real one would enforce what is in effect.
        Simulated = "simulated",
        /// A setting that the workload can undo, or has to respect by itself.
        Advisory = "advisory",
        Driver = "driver",
        Kernel = "kernel",
    }
}

impl Enforcement {
    /// Whether a workload cannot exceed the limit. For a simulated device: whether it could not on
    /// a real one.
    pub const fn holds(self) -> bool {
        matches!(self, Self::Simulated | Self::Driver | Self::Kernel)
    }
}

/// The isolation that was requested, and the one that a lease has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IsolationRecord {
    /// The requested way, translated to the granted vendor (`mps` on AMD is `cu-mask`).
    pub requested: Isolation,
    /// The request's own word, if the translation changed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_as: Option<Isolation>,
    /// The way that is in effect.
    pub effective: Isolation,
    /// The enforcer of the compute share.
    pub compute_enforcement: Enforcement,
    /// The enforcer of the memory share.
    pub memory_enforcement: Enforcement,
    /// The causes why limits are not stronger: `memory: ` and a phrase without a full stop, the
    /// same as in a refusal. A cause that concerns only some devices of a set names them first:
    /// `GPU 2: memory: …`.
    #[serde(rename = "lacks", default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
}

impl IsolationRecord {
    /// The text for the annotation and the variable: `compute=driver,memory=advisory`.
    pub fn enforcement(&self) -> String {
        format!("compute={},memory={}", self.compute_enforcement, self.memory_enforcement)
    }

    /// Whether a text has the form of [`Self::enforcement`].
    pub fn is_enforcement(text: &str) -> bool {
        let is_one = |word: &str| word.parse::<Enforcement>().is_ok();
        text.strip_prefix("compute=")
            .and_then(|rest| rest.split_once(",memory="))
            .is_some_and(|(compute, memory)| is_one(compute) && is_one(memory))
    }
}
