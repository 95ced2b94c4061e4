//! The findings of a source of the inventory, and how far it may search.

use super::stamp::Stamp;
use crate::model::device::{ControlNodes, Device, Link};
use crate::model::driver::Driver;

/// The findings of one source. Its devices need not be numbered yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// The names of what the findings come from: `NVML 12.550.163`, a path.
    pub from: Vec<String>,
    /// The devices; MIG instances follow their GPU.
    pub devices: Vec<Device>,
    /// Nodes that every container with a device of the vendor needs.
    pub control: Vec<ControlNodes>,
    pub links: Vec<Link>,
    pub drivers: Vec<Driver>,
    /// The files that the findings depend on, and those that were missing.
    pub stamps: Vec<Stamp>,
    /// Messages for people.
    pub notes: Vec<String>,
}

/// How far a search may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    Libraries,
    /// The kernel and files.
    Files,
}
