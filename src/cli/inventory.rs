//! `gpulease inventory`: the node's devices as gpulease knows them.

use super::output::{Answer, Output, Paint};
use super::table::Table;
use super::words;
use crate::failure::Failure;
use crate::host::Host;
use crate::host::inventory::Unfit;
use crate::inventory::profiles::{self, PROFILES};
use crate::inventory::{self, Inventory, InventoryError};
use crate::model::code::Code;
use crate::model::device::Device;
use crate::model::text::shown;
use crate::sys::atomic::{self, Durability};
use serde_json::{Value, json};
use std::time::SystemTime;

/// `inventory refresh`. A scan that fails leaves the old inventory in place: it is checked
/// before each use anyway.
pub(super) fn refresh(host: &Host, output: &Output) -> Result<Answer, Failure> {
    host.require_root("to write the inventory")?;
    let config = host.config()?;
    let inventory = inventory::scan(&host.paths, config)?;
    let bytes = inventory::encode(&inventory)?;
    host.store().prepare(&host.paths)?;
    // A refresh that was killed while it wrote: its start died, and nothing was leased.
    host.store().remove_leftovers();
    let path = host.store().inventory_path();
    atomic::replace(&path, &bytes, Durability::Synced)?;
    let simulated = simulated(&inventory);
    let sources = sources(&inventory);
    let from = match sources.as_slice() {
        [] => String::new(),
        sources => format!("read from {}", sources.join(", ")),
    };
    let mut text = format!(
        "{}{}: {from}\n",
        words::count(inventory.node.devices.len(), "device"),
        if simulated > 0 { format!(" ({simulated} simulated)") } else { String::new() },
    );
    if inventory.node.devices.is_empty() {
        text = words::nothing(config, output);
    }
    text.push_str(&words::notes(&inventory.notes, output));
    let json = json!({
        "path": path.display().to_string(),
        "devices": inventory.node.devices.len(),
        "simulated": simulated,
        "sources": sources,
        "made_at": inventory.made_at,
        "notes": inventory.notes,
    });
    Ok(Answer::new(text, json))
}

fn simulated(inventory: &Inventory) -> usize {
    inventory.node.devices.iter().filter(|device| device.simulated).count()
}

fn sources(inventory: &Inventory) -> Vec<String> {
    inventory.from.iter().map(|from| shown(from)).collect()
}

pub(super) fn show(host: &Host, output: &Output) -> Result<Answer, Failure> {
    let path = host.store().inventory_path();
    let inventory = match host.recorded_inventory() {
        Ok(inventory) => inventory,
        Err(Unfit::Missing) => {
            let text = format!("there is no inventory `{}` yet", path.display());
            return Err(Failure::new(Code::StaleInventory, text)
                .hint("run `gpulease inventory refresh` as root, or start a container"));
        }
        Err(Unfit::Content(error @ InventoryError::Stale(_))) => {
            // Of another version: what it says is not to be guessed at.
            return Ok(Answer::new(
                format!("{} is stale: {error}\n", path.display()),
                json!({ "path": path.display().to_string(), "state": "stale",
                        "why": error.to_string(), "inventory": null }),
            ));
        }
        Err(Unfit::Content(error)) => return Err(error.into()),
        Err(Unfit::Unreadable(error)) => return Err(error.into()),
        Err(Unfit::Store(failure)) => return Err(failure),
    };
    let why = inventory::freshness(&inventory, &host.paths, host.config()?).err();
    let state = if why.is_some() { "stale" } else { "fresh" };
    let json = json!({
        "path": path.display().to_string(),
        "state": state,
        "why": why,
        "inventory": serde_json::to_value(&inventory).unwrap_or(Value::Null),
    });
    let state = match &why {
        Some(why) => format!("{}: {why}", output.paint(Paint::Yellow, "stale")),
        None => "fresh".to_owned(),
    };
    let sources = match sources(&inventory).as_slice() {
        [] => "none".to_owned(),
        sources => sources.join(", "),
    };
    let age = words::age(&inventory.made_at, SystemTime::now());
    let mut text = format!(
        "file:     {}\nstate:    {state}\nmade at:  {}, {age} ago\nsources:  {sources}\n\n",
        path.display(),
        shown(&inventory.made_at),
    );
    text.push_str(&devices(&inventory, output));
    text.push_str(&words::notes(&inventory.notes, output));
    Ok(Answer::new(text, json))
}

fn devices(inventory: &Inventory, output: &Output) -> String {
    if inventory.node.devices.is_empty() {
        return "no devices\n".to_owned();
    }
    let nodes = |device: &Device| {
        let paths: Vec<String> = device.nodes.iter().map(|node| shown(&node.path)).collect();
        paths.join(" ")
    };
    let mut text = Table::of(&inventory.node.devices)
        .right("INDEX", 0, |device| device.place().to_string())
        .left("UUID", 0, |device| device.uuid.to_string())
        .left("MODEL", 0, words::model)
        .right("TOTAL", 1, |device| words::memory_if_known(device.memory_total_bytes))
        .left("PCI", 3, |device| device.pci.to_string())
        .left("NODES", 2, nodes)
        .render(false, output);
    text.push_str(&words::simulated_footer(&inventory.node.devices, output));
    text
}

pub(super) fn example(name: Option<&str>, output: &Output) -> Result<Answer, Failure> {
    let Some(name) = name else { return Ok(list(output)) };
    let Some(profile) = profiles::find(name) else {
        let known: Vec<&str> = PROFILES.iter().map(|profile| profile.name).collect();
        let text = format!("there is no profile `{}`", shown(name));
        return Err(Failure::new(Code::BadRequest, text)
            .hint(format!("the profiles are {}", known.join(", "))));
    };
    let json = json!({ "name": profile.name, "title": profile.title, "toml": profile.toml });
    Ok(Answer::new(profile.toml.to_owned(), json))
}

fn list(output: &Output) -> Answer {
    let text = Table::of(PROFILES)
        .left("PROFILE", 0, |profile| profile.name.to_owned())
        .left("WHAT IT SIMULATES", 0, |profile| profile.title.to_owned())
        .render(false, output);
    let json = PROFILES.iter().map(|p| json!({ "name": p.name, "title": p.title })).collect();
    Answer::new(text, Value::Array(json))
}
