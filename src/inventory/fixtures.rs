//! What the tests of the sources share, over the trees that the integration tests have as well.

#[path = "../../tests/support/amd_machines.rs"]
pub mod amd_machines;
#[path = "../../tests/support/fake_sys.rs"]
mod fake_sys;

pub use fake_sys::Sys;

use crate::config::Config;
use crate::inventory::scan::Found;
use crate::paths::Paths;
use crate::request::{self, Input, Policy};

impl Sys {
    pub fn paths(&self) -> Paths {
        Paths { sys: self.root.clone(), ..Paths::default() }
    }

    pub fn found(&self) -> Found {
        crate::inventory::amd::find(&self.paths(), &Config::default())
    }
}

/// Whether a user can name it: an id from a place is one of those that a request may hold.
pub fn can_be_asked_for(uuid: &str) -> bool {
    let annotations = [("gpulease/devices".to_owned(), uuid.to_owned())].into();
    let input = Input { annotations: &annotations, env: &[], container_name: None };
    request::parse(&input, &Policy::default()).is_ok_and(|request| request.is_some())
}
