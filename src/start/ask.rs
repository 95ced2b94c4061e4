//! What a start goes by: how the container is to be started, and what it asks for.

use super::spec::EditableSpec;
use crate::config::Config;
use crate::failure::Failure;
use crate::host::Host;
use crate::inventory::Inventory;
use crate::model::device::Vendor;
use crate::request::Request;
use std::path::Path;

/// How a container is to be started, as far as that decides what it may have.
pub struct Launch<'a> {
    /// The bundle's directory, absolute; `None` where the container is words alone.
    pub bundle: Option<&'a Path>,
    /// The low-level runtime, as far as can be told.
    pub runtime: &'a Path,
    /// The vendor, if the low-level runtime is a vendor's own, which gives GPUs by itself: those of
    /// a lease, and it must be told to give none to a container without one.
    pub vendor: Option<Vendor>,
    /// What rules a grant out, whatever is asked for.
    pub fault: Option<Failure>,
    /// Gives the inventory of the node as it is now.
    pub inventory: fn(&Host, &Config) -> Result<Inventory, Failure>,
    /// The start is not this process's: root would make it.
    pub by_root: bool,
}

impl<'a> Launch<'a> {
    /// A start that this process makes, of words alone and by a runtime that is no vendor's.
    pub fn by(runtime: &'a Path) -> Self {
        let (bundle, vendor, fault, by_root) = (None, None, None, false);
        Self { bundle, runtime, vendor, fault, inventory: Host::inventory, by_root }
    }

    /// The bundle as a lease names it.
    pub(super) fn bundle_name(&self) -> String {
        self.bundle.unwrap_or(Path::new("")).display().to_string()
    }
}

/// A container that asks for devices.
pub struct Ask {
    pub asked: Asked,
    pub spec: EditableSpec,
}

/// A request, with what is needed to grant it.
pub struct Asked {
    pub request: Request,
    pub config: Config,
    pub inventory: Inventory,
}
