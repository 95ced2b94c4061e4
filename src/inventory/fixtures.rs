//! Helpers that the tests of the sources share, with the trees of the integration tests.

#[path = "../../tests/support/amd_machines.rs"]
pub mod amd_machines;
#[path = "../../tests/support/fake_sys.rs"]
mod fake_sys;

pub use fake_sys::Sys;

use crate::config::Config;
use crate::inventory::found::Found;
use crate::paths::Paths;
use crate::request::{self, Input, Policy};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

impl Sys {
    /// The paths of a host that has this `/sys`, is booted, and has nothing else.
    pub fn paths(&self) -> Paths {
        self.write("host/proc/sys/kernel/random/boot_id", "77a3c1a0-3c1e-4f0e-9d43-2b6f6a1c2d3e");
        Paths { sys: self.root.clone(), ..Paths::below(&self.path("host")) }
    }

    pub fn found(&self) -> Found {
        crate::inventory::amd::find(&self.paths(), &Config::default())
    }
}

/// Waits until a change of this file would get another time, because file systems and kernels count
/// time in steps of their own.
pub fn tick(path: &Path) {
    let time = |path: &Path| {
        let metadata = fs::metadata(path).unwrap();
        (metadata.ctime(), metadata.ctime_nsec())
    };
    let probe = path.with_extension("tick");
    loop {
        fs::write(&probe, "").unwrap();
        if time(&probe) > time(path) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    fs::remove_file(probe).unwrap();
}

/// Whether a request can name the device: an id that is made of an address must be a valid
/// selector.
pub fn can_be_asked_for(uuid: &str) -> bool {
    let annotations = [("gpulease/devices".to_owned(), uuid.to_owned())].into();
    let input = Input { annotations: &annotations, env: &[], container_name: None };
    request::parse(&input, &Policy::default()).is_ok_and(|request| request.is_some())
}
