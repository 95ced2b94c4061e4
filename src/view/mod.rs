//! The structs that are shown: `--json` prints them, and tables are made from them.
//!
//! Every answer is an object with the key `version`, and its lists stand under a name. A key keeps
//! its name and its meaning within a version; a new key may come.

pub mod annotations;
pub mod cdi;
pub mod devices;
pub mod driver;
pub mod failure;
pub mod findings;
pub mod install;
pub mod inventory;
pub mod leases;
pub mod memory;
pub mod mig;
pub mod mps;
pub mod plan;
pub mod processes;
pub mod release;
pub mod request;
pub mod resize;
pub mod topology;

use serde::Serialize;
use serde_json::Value;

/// The version of every answer's form.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Versioned<'a, T> {
    version: u32,
    #[serde(flatten)]
    view: &'a T,
}

/// `view`, a struct, as the JSON object that is printed.
pub fn to_json(view: &impl Serialize) -> Value {
    // Only a map with keys that are no strings fails, and no view has one.
    serde_json::to_value(Versioned { version: VERSION, view }).unwrap_or_default()
}
