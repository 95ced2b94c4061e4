//! A refusal: a code, a reason per device, a hint.

use super::filter::Exclusion;
use crate::model::code::Code;
use crate::model::id::DeviceId;
use crate::model::mig::DeviceNumber;
use serde::Serialize;

/// The kind of reason that a device has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    Fits,
    /// Other leases hold it, or leave too little of it.
    Taken,
    /// The MPS daemon on it serves another user than the container's.
    OtherUser,
    #[serde(untagged)]
    Excluded(Exclusion),
}

/// The answer for one device: why it was not granted, or that it fits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    pub uuid: DeviceId,
    pub index: u32,
    /// A MIG instance's position on its GPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mig_index: Option<u32>,
    /// Its model, safe to show.
    pub model: String,
    /// Whether the device, looked at alone, fits the request.
    pub fits: bool,
    pub why: Why,
    /// The reason in words, without the device's name: `held exclusively by lease l-5f1c09ab77de of
    /// …`.
    pub reason: String,
}

impl Verdict {
    /// The device's position, as people write it.
    pub const fn place(&self) -> DeviceNumber {
        DeviceNumber { gpu: self.index, instance: self.mig_index }
    }

    /// Whether the request names devices, but not this one. On a large node this is true of most
    /// devices and not worth a line.
    #[must_use]
    pub fn is_unnamed(&self) -> bool {
        self.why == Why::Excluded(Exclusion::NotNamed)
    }

    /// Whether the device is refused because of the container's user.
    #[must_use]
    pub fn is_by_user(&self) -> bool {
        self.why == Why::OtherUser
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// [`Code::NoMatch`] if the request fails on this node whatever leases there are,
    /// [`Code::NoCapacity`] if it fails because of them, [`Code::BadRequest`] if no device was
    /// looked at.
    pub code: Code,
    /// One sentence without a full stop: the request, and the number of devices that could serve
    /// it.
    pub summary: String,
    /// Every device of the node, in the order of their positions; empty if the devices are not the
    /// reason.
    pub verdicts: Vec<Verdict>,
    /// The way out for the user.
    pub hint: String,
}
