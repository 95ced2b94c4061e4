//! `gpulease lease`: changing a lease while its container runs.

use super::output::{Answer, Output};
use super::{words, wrap};
use crate::claim::resize::{Amounts, Resized};
use crate::failure::Failure;
use crate::host::Host;
use crate::model::code::Code;
use crate::model::lease::{Lease, shares_text};
use crate::model::text::shown;
use crate::request::{compute_of, memory_of};
use crate::start::shares;
use crate::view::resize::LeaseResize;
use clap::{Args, Subcommand};

pub(super) const LEASE_AFTER: &str = "\
Example:
  gpulease lease resize web --memory 16Gi";

const RESIZE_AFTER: &str = "\
Memory that the kernel limits (dmem) changes at once. The limits of an MPS daemon
that serves this lease alone change for processes that start from now on. All
other limits were given to the processes when they started: a change is refused.

Examples:
  gpulease lease resize web --memory 16Gi
  gpulease lease resize l-5f1c09ab77de --compute 0.5 --memory 8Gi";

/// The commands for a lease.
#[derive(Debug, Subcommand)]
pub(super) enum LeaseAction {
    /// Give a running container more or less of its devices
    ///
    /// Nothing is taken from other leases, and no memory that the container's processes use. If a
    /// limit cannot be set, the ledger and all limits stay as they were. Needs root.
    #[command(after_help = RESIZE_AFTER)]
    Resize(Resize),
}

/// Which lease, and its new amounts.
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
    let resized = shares::resize(host, &arguments.id, amounts(arguments)?)?;
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
            .hint("give the amount that the lease shall have of each of its devices"));
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
    let view = LeaseResize::of(resized);
    for note in &view.resized.notes {
        text.push_str(&wrap::line(is_terminal, "note: ", note));
    }
    Answer::of(text, &view)
}

/// A lease's amounts, for instance `0-1:250m, 8Gi each`.
fn held(lease: &Lease) -> String {
    let memory = lease.devices.first().and_then(|device| device.memory_bytes);
    let each = if lease.devices.len() > 1 { " each" } else { "" };
    format!("{}, {}{each}", shares_text(&lease.devices), words::memory_if_known(memory))
}
