//! What a source of the inventory answers, and how far it may go to find out.

use super::stamp::Stamp;
use crate::model::device::{ControlNodes, Device, Link};
use crate::model::driver::Driver;

/// What one source knows. Devices need not be numbered yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// What it is called where it found something: `NVML 12.550.163`, a path.
    pub from: Vec<String>,
    /// The devices; MIG instances follow their GPU.
    pub devices: Vec<Device>,
    /// Nodes that every container with a device of the vendor needs.
    pub control: Vec<ControlNodes>,
    pub links: Vec<Link>,
    pub drivers: Vec<Driver>,
    /// What it went by, and what was not there.
    pub stamps: Vec<Stamp>,
    /// What a person should know.
    pub notes: Vec<String>,
}

/// What may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    Libraries,
    /// The kernel and files.
    Files,
}
