//! `gpulease inventory`: the node's devices as gpulease knows them.

use super::output::{Answer, Output, Paint};
use super::table::Table;
use super::words;
use crate::failure::Failure;
use crate::host::Host;
use crate::inventory::Inventory;
use crate::model::device::Device;
use crate::model::text::shown;
use crate::view::inventory::{
    Freshness, InventoryView, ProfileView, ProfilesView, RefreshView, sources,
};
use std::time::SystemTime;

/// `inventory refresh`.
pub(super) fn refresh(host: &Host, output: &Output) -> Result<Answer, Failure> {
    let inventory = host.write_inventory()?;
    let view = RefreshView::of(&inventory, host);
    let mut text = match view.devices {
        0 => words::nothing(host.config()?, output),
        devices => {
            let devices = words::count(devices, "device");
            let simulated = match view.simulated {
                0 => String::new(),
                some => format!(" ({some} simulated)"),
            };
            format!("{devices}{simulated}: read from {}\n", view.sources.join(", "))
        }
    };
    text.push_str(&words::notes(view.notes, output));
    Ok(Answer::of(text, &view))
}

/// `inventory show`.
pub(super) fn show(host: &Host, output: &Output) -> Result<Answer, Failure> {
    let view = InventoryView::look(host)?;
    let why = view.why.as_deref().unwrap_or_default();
    let Some(inventory) = &view.inventory else {
        let text = format!("{} is stale: {why}\n", view.path);
        return Ok(Answer::of(text, &view));
    };
    let state = match view.state {
        Freshness::Fresh => "fresh".to_owned(),
        Freshness::Stale => format!("{}: {why}", output.paint(Paint::Yellow, "stale")),
    };
    let sources = match sources(inventory).as_slice() {
        [] => "none".to_owned(),
        sources => sources.join(", "),
    };
    let made_at = shown(&inventory.made_at);
    let age = words::age(&inventory.made_at, SystemTime::now());
    let mut text = format!(
        "file:     {}\nstate:    {state}\nmade at:  {made_at}, {age} ago\nsources:  {sources}\n\n",
        view.path,
    );
    text.push_str(&devices(inventory, output));
    text.push_str(&words::notes(&inventory.notes, output));
    Ok(Answer::of(text, &view))
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

/// `inventory example`: the devices file of a profile, or the list of profiles.
pub(super) fn example(name: Option<&str>, output: &Output) -> Result<Answer, Failure> {
    if let Some(name) = name {
        let view = ProfileView::named(name)?;
        return Ok(Answer::of(view.toml.to_owned(), &view));
    }
    let view = ProfilesView::all();
    let text = Table::of(&view.profiles)
        .left("PROFILE", 0, |profile| profile.name.to_owned())
        .left("SIMULATED NODE", 0, |profile| profile.title.to_owned())
        .render(false, output);
    Ok(Answer::of(text, &view))
}
