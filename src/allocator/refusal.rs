//! Why nothing was granted: a code, a reason per device, a hint.

use super::filter::Exclusion;
use crate::model::code::Code;
use crate::model::id::DeviceId;
use crate::model::mig::DeviceNumber;
use serde::Serialize;

/// What kind of reason a device has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    Fits,
    /// Others hold it, or what is left of it is too little.
    Taken,
    /// The MPS daemon on it serves another user than the container's.
    OtherUser,
    #[serde(untagged)]
    Excluded(Exclusion),
}

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
    pub why: Why,
    /// The same in words, without the device's name: `held exclusively by lease l-5f1c09ab77de of …`.
    pub reason: String,
}

impl Verdict {
    /// How people name the device.
    pub const fn place(&self) -> DeviceNumber {
        DeviceNumber { gpu: self.index, instance: self.mig_index }
    }

    /// Whether the request named devices, and this is none of them: true of most on a large
    /// node, and no news.
    #[must_use]
    pub fn is_unnamed(&self) -> bool {
        self.why == Why::Excluded(Exclusion::NotNamed)
    }

    /// Whether the container's user is the reason.
    #[must_use]
    pub fn is_by_user(&self) -> bool {
        self.why == Why::OtherUser
    }
}

/// Why nothing was granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// [`Code::NoMatch`] if no state of the leases could ever satisfy the request on this
    /// node, [`Code::NoCapacity`] if one could; [`Code::BadRequest`] for requests that no
    /// device is looked at for.
    pub code: Code,
    /// One sentence without a full stop: what was asked, what there is.
    pub summary: String,
    /// Every device of the node, in the order of their places; empty if the devices are not the reason.
    pub verdicts: Vec<Verdict>,
    /// What to do about it.
    pub hint: String,
}
