//! The inventory as the shim sees it: a file that somebody else made. If it is not of this boot
//! and this configuration, `gpulease inventory refresh` is run once.

use crate::config::Config;
use crate::failure::{Failure, chain};
use crate::host::Host;
use crate::inventory::{self, Inventory, Look};
use crate::model::code::Code;
use crate::sys::ask::{Finished, run_bounded};
use crate::sys::lock::Lock;
use crate::sys::programs;
use std::ffi::OsString;
use std::time::Duration;

/// What a refresh may take beyond the time that a vendor's library has to answer, which is asked
/// twice if the driver is only loaded by that.
const FILES: Duration = Duration::from_secs(5);
const PROBES_MAX: u32 = 2;

pub(super) fn load(host: &Host, config: &Config) -> Result<Inventory, Failure> {
    if let Ok(inventory) = cached(host, config) {
        return Ok(inventory);
    }
    let deadline = config.probe_timeout.saturating_mul(PROBES_MAX).saturating_add(FILES);
    // After a reboot many containers start at once: one of them looks, the others go by what it saw.
    let _turn = turn(host, deadline)?;
    if let Ok(inventory) = cached(host, config) {
        return Ok(inventory);
    }
    refresh(host, deadline)?;
    // What this refresh could not look at is for the next start to look at.
    let made = read(host).and_then(|mut made| {
        made.stamps.retain(|stamp| stamp.look != Look::Unknown);
        fresh(made, host, config)
    });
    made.map_err(|why| {
        Failure::new(
            Code::StaleInventory,
            format!("the inventory is of no use even after a refresh: {why}"),
        )
        .hint("run `gpulease inventory refresh` and see what it says")
    })
}

fn turn(host: &Host, deadline: Duration) -> Result<Lock, Failure> {
    let store = host.store();
    store.prepare(&host.paths)?;
    Ok(store.refresh_turn(deadline, &host.paths)?)
}

fn cached(host: &Host, config: &Config) -> Result<Inventory, String> {
    fresh(read(host)?, host, config)
}

fn read(host: &Host) -> Result<Inventory, String> {
    host.store().check().map_err(|error| error.to_string())?;
    let bytes = host.store().inventory().map_err(|error| chain(&error))?;
    let bytes = bytes.ok_or("there is none")?;
    inventory::decode(&bytes).map_err(|error| error.to_string())
}

fn fresh(inventory: Inventory, host: &Host, config: &Config) -> Result<Inventory, String> {
    inventory::freshness(&inventory, &host.paths, config).map_err(|stale| stale.to_string())?;
    Ok(inventory)
}

fn refresh(host: &Host, deadline: Duration) -> Result<(), Failure> {
    let fault = |what: String| {
        Failure::new(Code::StaleInventory, format!("cannot refresh the inventory: {what}"))
            .hint("run `gpulease inventory refresh` and see what it says")
    };
    let program = programs::command()
        .ok_or_else(|| fault("the `gpulease` command is not installed".into()))?;
    let mut args: Vec<OsString> = host.own_arguments();
    args.extend(["inventory".into(), "refresh".into()]);
    match run_bounded(&program, &args, deadline) {
        Ok(Finished { success: true, .. }) => Ok(()),
        Ok(Finished { stderr, .. }) => Err(fault(crate::model::text::shown_line(&stderr))),
        Err(error) => Err(fault(format!("`{}`: {error}", program.display()))),
    }
}
