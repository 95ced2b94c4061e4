//! How a share is asked to be made true, and how true it got.

use super::spelled::spelled;
use serde::{Deserialize, Serialize};

spelled! {
    /// Ways to make a share true.
    pub enum Isolation {
        /// Nothing but the ledger.
        None = "none",
        /// The driver's own turns between processes.
        TimeSlicing = "time-slicing",
        Mps = "mps",
        Mig = "mig",
        Partition = "partition",
        CuMask = "cu-mask",
        /// The best that the device has.
        Auto = "auto",
    }
}

spelled! {
    /// Who makes a limit hold.
    pub enum Enforcement {
        /// Nobody, and nothing could: what the container may do gets it past any limit.
        None = "none",
        /// Nobody, because the device does not exist; what is in effect would be enforced
        /// by one that does.
        Simulated = "simulated",
        /// A setting that the workload can undo, or the workload's good will.
        Advisory = "advisory",
        Driver = "driver",
        Kernel = "kernel",
    }
}

impl Enforcement {
    /// Whether a workload is held to the limit whether it wants or not; of a device that does not
    /// exist, whether it would be.
    pub const fn holds(self) -> bool {
        matches!(self, Self::Simulated | Self::Driver | Self::Kernel)
    }
}

/// The variable that tells a container who enforces its limits.
pub const ENFORCEMENT_VARIABLE: &str = "GPULEASE_ENFORCEMENT";

/// What was asked for and what a lease got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IsolationRecord {
    /// What the request said, translated to the granted vendor (`mps` on AMD is `cu-mask`).
    pub requested: Isolation,
    /// The request's own word, where the translation changed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_as: Option<Isolation>,
    /// What is in effect.
    pub effective: Isolation,
    /// Who enforces the compute share.
    pub compute_enforcement: Enforcement,
    /// Who enforces the memory share.
    pub memory_enforcement: Enforcement,
    /// What stronger limits would need: `memory: `, and a phrase without a full stop, the same as in
    /// a refusal. What some devices of a set lack begins with them: `GPU 2: memory: …`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lacks: Vec<String>,
}

impl IsolationRecord {
    /// As annotation and variable: `compute=driver,memory=advisory`.
    pub fn enforcement(&self) -> String {
        format!("compute={},memory={}", self.compute_enforcement, self.memory_enforcement)
    }

    /// Whether a text is such a one.
    pub fn is_enforcement(text: &str) -> bool {
        let is_one = |word: &str| word.parse::<Enforcement>().is_ok();
        text.strip_prefix("compute=")
            .and_then(|rest| rest.split_once(",memory="))
            .is_some_and(|(compute, memory)| is_one(compute) && is_one(memory))
    }
}
