//! `gpulease lease`: what is done with a lease while its container runs.

mod hand;

use super::leases::shares;
use super::output::{Answer, Output};
use super::words;
use crate::claim::Ctx;
use crate::claim::resize::{Amounts, Resized, resize as change};
use crate::failure::Failure;
use crate::host::Host;
use crate::model::code::Code;
use crate::model::isolation::Isolation;
use crate::model::lease::Lease;
use crate::model::text::shown;
use crate::request::{compute_of, memory_of};
use clap::{Args, Subcommand};
use hand::Live;
use serde_json::{Value, json};

pub(super) const LEASE_AFTER: &str = "\
Example:
  gpulease lease resize web --memory 16Gi";

const RESIZE_AFTER: &str = "\
Memory that the kernel limits (dmem) changes at once. What an MPS daemon of the
lease's own limits changes for processes that start from now on. All else was
told to the processes when they started, and is refused.

Examples:
  gpulease lease resize web --memory 16Gi
  gpulease lease resize l-5f1c09ab77de --compute 0.5 --memory 8Gi";

/// What to do with a lease.
#[derive(Debug, Subcommand)]
pub(super) enum LeaseAction {
    /// Give a running container more or less of its devices
    ///
    /// What others hold is not taken from them, and memory that the container's processes use is
    /// not taken from it. Where a limit is not taken, ledger and limits are put back. Needs root.
    #[command(after_help = RESIZE_AFTER)]
    Resize(Resize),
}

/// Which lease, and what it is to have.
#[derive(Debug, Args)]
pub(super) struct Resize {
    /// The id of a lease or of a container, or an unambiguous beginning of one
    #[arg(value_name = "ID")]
    id: String,

    /// Memory of each device: MiB, or with a unit, as in `gpulease/memory`
    #[arg(long, value_name = "AMOUNT")]
    memory: Option<String>,

    /// Compute of each device: 0.5, 50% or 500m, as in `gpulease/compute`
    #[arg(long, value_name = "SHARE")]
    compute: Option<String>,
}

pub(super) fn run(host: &Host, action: &LeaseAction, output: &Output) -> Result<Answer, Failure> {
    let LeaseAction::Resize(arguments) = action;
    host.require_root("to resize a lease")?;
    let amounts = amounts(arguments)?;
    let config = host.config()?;
    let node = host.inventory_now(config)?.node;
    let resized = change(Ctx::of(host), &node, &arguments.id, amounts, &Live { host, config })?;
    Ok(answer(&resized, output))
}

fn amounts(arguments: &Resize) -> Result<Amounts, Failure> {
    let bad = |option: &str, value: &str, why: &str, hint: &str| {
        let text = format!("--{option} is `{}`, {why}", shown(value));
        Failure::new(Code::BadRequest, text).hint(hint.to_owned())
    };
    let compute = arguments.compute.as_deref().map(|text| {
        compute_of(text).map_err(|why| bad("compute", text, why, "for instance 0.5, 50% or 500m"))
    });
    let memory = arguments.memory.as_deref().map(|text| {
        memory_of(text).map_err(|why| bad("memory", text, why, "for instance 8Gi, or 8192 in MiB"))
    });
    let amounts = Amounts { milli: compute.transpose()?, memory: memory.transpose()? };
    if amounts == Amounts::default() {
        return Err(Failure::new(Code::BadRequest, "neither --memory nor --compute is given")
            .hint("say what the lease is to have of each of its devices"));
    }
    Ok(amounts)
}

fn answer(resized: &Resized, output: &Output) -> Answer {
    let Resized { before, lease, .. } = resized;
    let is_terminal = output.width.is_some();
    let mut text = format!(
        "resized lease {} of container {} ({})\n",
        lease.id,
        shown(lease.container_id.as_str()),
        shown(&lease.engine),
    );
    text.push_str(&format!("  from GPU {}\n", held(before)));
    text.push_str(&format!("  to   GPU {}\n", held(lease)));
    let notes = notes(resized);
    for note in &notes {
        text.push_str(&words::line(is_terminal, "note: ", note));
    }
    let by = [(resized.dmem, "dmem"), (resized.mps, "mps")];
    let by: Vec<&str> = by.iter().filter(|(used, _)| *used).map(|(_, name)| *name).collect();
    let json = json!({
        "resized": {
            "id": lease.id,
            "container_id": lease.container_id,
            "runtime_root": lease.runtime_root,
            "before": sizes(before),
            "devices": lease.devices,
            "by": by,
            "notes": notes,
        }
    });
    Answer::new(text, json)
}

/// What it holds, as in `0-1:250m, 8Gi each`.
fn held(lease: &Lease) -> String {
    let memory = lease.devices.first().and_then(|device| device.memory_bytes);
    let each = if lease.devices.len() > 1 { " each" } else { "" };
    format!("{}, {}{each}", shares(&lease.devices), words::memory_if_known(memory))
}

fn sizes(lease: &Lease) -> Value {
    let size = |device: &crate::model::lease::LeasedDevice| {
        json!({
            "uuid": device.uuid,
            "milli": device.milli,
            "memory_bytes": device.memory_bytes,
        })
    };
    lease.devices.iter().map(size).collect()
}

/// What it does not do.
fn notes(resized: &Resized) -> Vec<&'static str> {
    let mut notes = Vec::new();
    if resized.mps {
        notes.push(
            "by MPS this is for processes that start from now on; one that inherits the \
             container's first CUDA_MPS_ variables keeps their limits where those are lower",
        );
    } else if resized.dmem && resized.lease.isolation.effective == Isolation::Mps {
        notes.push(
            "the kernel's limit of all processes together is changed; each process keeps the \
             limit of its own CUDA_MPS_PINNED_DEVICE_MEM_LIMIT",
        );
    }
    notes
}
