//! How a container is started, and the devices that it requests.

use super::spec::EditableSpec;
use crate::config::Config;
use crate::failure::Failure;
use crate::host::Host;
use crate::inventory::Inventory;
use crate::model::device::Vendor;
use crate::request::Request;
use std::path::Path;

/// How a container is started, as far as that affects which devices it may have.
pub struct Launch<'a> {
    /// The bundle's directory, absolute; `None` if there is no bundle, only a request in words.
    pub bundle: Option<&'a Path>,
    /// The low-level runtime, as far as it is known.
    pub runtime: &'a Path,
    /// The vendor, if the low-level runtime is a vendor's own. Such a runtime gives GPUs by itself.
    /// It gets the devices of the lease by name, and must be kept from giving any to a container
    /// without a lease.
    pub vendor: Option<Vendor>,
    /// Rules out every grant, whatever the request.
    pub fault: Option<Failure>,
    /// Returns the inventory of the node as it is now.
    pub inventory: fn(&Host, &Config) -> Result<Inventory, Failure>,
    /// Root makes the start, not this process.
    pub by_root: bool,
}

impl<'a> Launch<'a> {
    /// A start by this process, from words alone, with a runtime that is no vendor's.
    pub fn by(runtime: &'a Path) -> Self {
        let (bundle, vendor, fault, by_root) = (None, None, None, false);
        Self { bundle, runtime, vendor, fault, inventory: Host::inventory, by_root }
    }

    /// The bundle's name in a lease.
    pub(super) fn bundle_name(&self) -> String {
        self.bundle.unwrap_or(Path::new("")).display().to_string()
    }
}

/// A container that requests devices.
pub struct Ask {
    pub asked: Asked,
    pub spec: EditableSpec,
}

/// A request, with everything that is needed to grant it.
pub struct Asked {
    pub request: Request,
    pub config: Config,
    pub inventory: Inventory,
}
