//! Why nothing was granted: a code, a reason per device, a hint.

use crate::model::code::Code;
use crate::model::id::DeviceId;
use crate::model::mig::Place;
use serde::{Serialize, Serializer};

/// The reason for a device that the list of devices leaves out.
pub(super) const NOT_NAMED: &str = "not among the devices asked for";

/// What the reason begins with where an item of the list names no device.
pub(super) const NOT_MEANT: &str = "not meant by";

/// What the reason begins with where an MPS daemon serves another user than the container's.
pub(super) const SERVES_USER: &str = "MPS on it serves user";

/// Why one device was not (or could not alone be) granted; or that it would fit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    pub uuid: DeviceId,
    pub index: u32,
    /// A MIG instance's position on its GPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mig_index: Option<u32>,
    /// Its model, safe to show.
    pub model: String,
    /// Whether it fits the request by itself.
    pub fits: bool,
    /// In words, without the device's name: `held exclusively by lease l-5f1c09ab77de of …`.
    pub reason: String,
}

impl Verdict {
    /// How people name the device.
    pub const fn place(&self) -> Place {
        Place { gpu: self.index, instance: self.mig_index }
    }

    /// Whether the request named devices, and this is none of them: true of most on a large
    /// node, and no news.
    pub fn is_unnamed(&self) -> bool {
        self.reason == NOT_NAMED || self.reason.starts_with(NOT_MEANT)
    }

    /// Whether the container's user is the reason.
    pub fn is_by_user(&self) -> bool {
        self.reason.starts_with(SERVES_USER)
    }
}

/// Why nothing was granted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// [`Code::NoMatch`] if no state of the leases could ever satisfy the request on this node,
    /// [`Code::NoCapacity`] if one could; [`Code::BadRequest`] for requests that no device is
    /// looked at for.
    #[serde(serialize_with = "as_text")]
    pub code: Code,
    /// One sentence without a full stop: what was asked, what there is.
    pub summary: String,
    /// Every device of the node, in the order of their places; empty if the devices are not the reason.
    pub verdicts: Vec<Verdict>,
    /// What to do about it.
    pub hint: String,
}

fn as_text<S: Serializer>(code: &Code, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(code.as_str())
}
