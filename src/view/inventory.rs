//! The inventory file, and the nodes that can be simulated.

use crate::failure::Failure;
use crate::host::Host;
use crate::host::inventory::Unfit;
use crate::inventory::profiles::{PROFILES, Profile};
use crate::inventory::{self, Inventory, InventoryError};
use crate::model::code::Code;
use crate::model::text::shown;
use serde::Serialize;

/// The inventory file as it lies.
#[derive(Debug, Serialize)]
pub struct InventoryView {
    pub path: String,
    pub state: Freshness,
    /// Why it is stale.
    pub why: Option<String>,
    /// Null where another version of gpulease wrote it.
    pub inventory: Option<Inventory>,
}

/// Whether the next start goes by the inventory, or has it renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Freshness {
    Fresh,
    Stale,
}

impl InventoryView {
    /// Fails if there is no file, or none that can be read.
    pub fn look(host: &Host) -> Result<Self, Failure> {
        let path = host.store().inventory_path().display().to_string();
        let stale =
            |why, inventory| Self { path: path.clone(), state: Freshness::Stale, why, inventory };
        let inventory = match host.recorded_inventory() {
            Ok(inventory) => inventory,
            Err(Unfit::Missing) => {
                let text = format!("there is no inventory `{path}` yet");
                return Err(Failure::new(Code::StaleInventory, text)
                    .hint("run `gpulease inventory refresh` as root, or start a container"));
            }
            Err(Unfit::Content(error @ InventoryError::Stale(_))) => {
                return Ok(stale(Some(error.to_string()), None));
            }
            Err(Unfit::Content(error)) => return Err(error.into()),
            Err(Unfit::Unreadable(error)) => return Err(error.into()),
            Err(Unfit::Store(failure)) => return Err(failure),
        };
        Ok(match inventory::freshness(&inventory, &host.paths, host.config()?) {
            Err(why) => stale(Some(why), Some(inventory)),
            Ok(()) => {
                let state = Freshness::Fresh;
                Self { path, state, why: None, inventory: Some(inventory) }
            }
        })
    }
}

/// An inventory that was written anew.
#[derive(Debug, Serialize)]
pub struct RefreshView<'a> {
    path: String,
    /// The number of devices.
    pub devices: usize,
    /// The number of those that do not exist.
    pub simulated: usize,
    pub sources: Vec<String>,
    made_at: &'a str,
    pub notes: &'a [String],
}

impl<'a> RefreshView<'a> {
    pub fn of(inventory: &'a Inventory, host: &Host) -> Self {
        let devices = &inventory.node.devices;
        Self {
            path: host.store().inventory_path().display().to_string(),
            devices: devices.len(),
            simulated: devices.iter().filter(|device| device.simulated).count(),
            sources: sources(inventory),
            made_at: &inventory.made_at,
            notes: &inventory.notes,
        }
    }
}

/// The files that the devices were read from.
pub fn sources(inventory: &Inventory) -> Vec<String> {
    inventory.from.iter().map(|from| shown(from)).collect()
}

/// The nodes that can be simulated.
#[derive(Debug, Serialize)]
pub struct ProfilesView {
    pub profiles: Vec<ProfileTitle>,
}

#[derive(Debug, Serialize)]
pub struct ProfileTitle {
    pub name: &'static str,
    pub title: &'static str,
}

impl ProfilesView {
    pub fn all() -> Self {
        let title = |profile: &Profile| ProfileTitle { name: profile.name, title: profile.title };
        Self { profiles: PROFILES.iter().map(title).collect() }
    }
}

/// One of them with its devices file.
#[derive(Debug, Serialize)]
pub struct ProfileView {
    pub name: &'static str,
    pub title: &'static str,
    pub toml: &'static str,
}

impl ProfileView {
    /// Fails if there is no profile of this name.
    pub fn named(name: &str) -> Result<Self, Failure> {
        let Some(Profile { name, title, toml }) = inventory::profiles::find(name) else {
            let known: Vec<&str> = PROFILES.iter().map(|profile| profile.name).collect();
            let text = format!("there is no profile `{}`", shown(name));
            return Err(Failure::new(Code::BadRequest, text)
                .hint(format!("the profiles are {}", known.join(", "))));
        };
        Ok(Self { name, title, toml })
    }
}
