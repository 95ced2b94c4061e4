//! The limits of a share outside the ledger and the spec: the container's seat at an MPS daemon, and
//! the kernel's limit of its cgroup. Both are set here and taken back here.

#[cfg(feature = "cli")]
mod limits;

#[cfg(feature = "cli")]
pub use limits::resize;

use super::ask::Asked;
use crate::claim::{Ctx, DELETE_DEADLINE, bind::update_pending, release};
use crate::failure::Failure;
use crate::host::Host;
use crate::host::facilities::facilities;
use crate::injection::{Facts, SpecMount};
use crate::model::code::Code;
use crate::model::device::Vendor;
use crate::model::facilities::Facilities;
use crate::model::id::{ContainerId, LeaseKey, Nonce};
use crate::model::isolation::Enforcement;
use crate::model::lease::{Attached, Lease, LeaseState, MpsSeat};
use crate::model::order;
use crate::model::variables;
use crate::paths::Paths;
use crate::request::{Amount, Enforce, Request};
use crate::store::Entry;
use crate::store::mps_journal;
use crate::sys::dmem;
use crate::sys::exec::start_detached;
use crate::sys::{identity, programs};
use serde_json::Value;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::time::Duration;

/// The time that `gpulease mps attach` has besides twice the time that a daemon has to start: another
/// start may be working on the same device.
const MARGIN: Duration = Duration::from_secs(15);

fn patience(start_timeout: Duration) -> Duration {
    start_timeout.saturating_mul(2).saturating_add(MARGIN)
}

/// The host's facilities for shares. A whole device needs no limits, so none are looked for.
pub(super) fn facilities_for(asked: &Asked, host: &Host) -> Facilities {
    match asked.request.amount {
        Amount::Whole => Facilities::none("no facility was looked for"),
        Amount::Share { .. } => facilities(&asked.config, &host.paths),
    }
}

/// Has the lease take its seat at an MPS daemon, which is started if there is none. A lease without
/// MPS is returned as it is, after idle daemons of gpulease on its devices have ended. So is one that
/// has its seat already, from Podman's `precreate` hook. Fails with `isolation-failed` if there is no
/// daemon for it, or one in its way, and with `enforcement-unmet` if the daemon is foreign and the
/// request insists on its limit. The lease is still recorded then.
pub(super) fn attach(
    host: &Host,
    ctx: Ctx<'_>,
    asked: &Asked,
    lease: Lease,
) -> Result<Lease, Failure> {
    let Some(seat) = &lease.mps else {
        return end_daemons_on(host, &lease, asked.config.mps.start_timeout).map(|()| lease);
    };
    if seat.pipe.is_some() {
        return Ok(lease);
    }
    let attached = ask(host, &lease, asked.config.mps.start_timeout)?;
    if attached.adopted && insists_on_compute(&asked.request) {
        return Err(Failure::new(
            Code::EnforcementUnmet,
            format!("{FOREIGN}, and the workload could undo its limit of compute"),
        )
        .hint("end that daemon, or ask with `gpulease/enforcement=preferred`"));
    }
    update_pending(ctx, &lease, |lease| take_seat(lease, attached))
}

/// Why the limits of a lease at a foreign daemon do not hold.
const FOREIGN: &str = "the MPS daemon of the device is not gpulease's";

/// Checks that a client of a foreign daemon shares the host's `/dev/shm`, in which it finds its server.
/// Fails with `isolation-failed` if the container has another one: it could not compute at all.
pub(super) fn permit_shm(seat: &MpsSeat, facts: &Facts) -> Result<(), Failure> {
    const SHM: &str = "/dev/shm";
    let is_there = |mount: &&SpecMount| mount.destination.trim_end_matches('/') == SHM;
    let last = facts.mounts.iter().rfind(is_there);
    let is_hosts = last.is_some_and(|m| m.bind && m.source.trim_end_matches('/') == SHM);
    if is_hosts || !seat.adopted {
        return Ok(());
    }
    Err(Failure::new(
        Code::IsolationFailed,
        format!(
            "{FOREIGN}, and its clients need the host's {SHM}, which this container does not have"
        ),
    )
    .hint(
        "stop that daemon, so that gpulease starts its own; or give the container the host's \
         (`--ipc=host`); or ask with `gpulease/isolation=time-slicing`",
    ))
}

/// Whether the request may not start without a limit of compute that holds. The limit of memory is the
/// kernel's, not the daemon's.
const fn insists_on_compute(request: &Request) -> bool {
    matches!(
        (request.enforcement, request.amount),
        (Enforce::Required, Amount::Share { compute: Some(_), .. })
    )
}

fn take_seat(lease: &mut Lease, attached: Attached) {
    let Some(seat) = &mut lease.mps else { return };
    (seat.pipe, seat.shm, seat.adopted) = (Some(attached.pipe), attached.shm, attached.adopted);
    seat.process = Some(attached.process);
    if !seat.adopted {
        return;
    }
    seat.pinned = false;
    let record = &mut lease.isolation;
    record.missing.push(format!("{FOREIGN}: it limits its clients as its owner likes"));
    if record.compute_enforcement.holds() {
        record.compute_enforcement = Enforcement::Advisory;
    }
    let enforcement = record.enforcement();
    if let Some(said) = lease.env.get_mut(variables::ENFORCEMENT) {
        *said = Some(enforcement);
    }
}

/// Ends the daemons that earlier leases have left on devices that are now used without MPS: a server
/// keeps memory, and the compute mode may keep other processes from computing. A node without MPS
/// costs a look for one directory.
fn end_daemons_on(host: &Host, lease: &Lease, start_timeout: Duration) -> Result<(), Failure> {
    let mps = host.paths.run.join(mps_journal::DIRECTORY);
    if !mps.exists() {
        return Ok(());
    }
    for device in lease.devices.iter().filter(|device| device.vendor == Vendor::Nvidia) {
        let gpu = device.mig.as_ref().map_or(&device.uuid, |instance| &instance.parent);
        if !mps.join(gpu.as_str()).exists() {
            continue;
        }
        let run_dir = host.paths.run.as_os_str();
        let words = ["mps", "reap", "--device", gpu.as_str(), "--run-dir"].map(OsStr::new);
        let hint = format!("`gpulease mps stop {gpu}` ends it; `gpulease mps status` shows it");
        let in_the_way = |what: &str| {
            let message = format!("an MPS daemon is in the way: {what}");
            Failure::new(Code::IsolationFailed, message)
        };
        host.ask_command(&[&words[..], &[run_dir]].concat(), patience(start_timeout), in_the_way)
            .map_err(|failure| failure.hint(hint))?;
    }
    Ok(())
}

fn ask(host: &Host, lease: &Lease, start_timeout: Duration) -> Result<Attached, Failure> {
    let fault = |what: &str| {
        Failure::new(Code::IsolationFailed, format!("no place at an MPS daemon: {what}")).hint(
            "`gpulease mps status` shows the daemons; their logs are below `mps/` in `run_dir`",
        )
    };
    let key = lease.key()?;
    let words = ["mps", "attach", "--key", &key.file_stem(), "--nonce", lease.nonce.as_str()];
    let answer = host.ask_command(&words.map(OsStr::new), patience(start_timeout), fault)?;
    parse(&answer).ok_or_else(|| fault("`gpulease mps attach` gives an answer of another version"))
}

/// The answer, if its paths can be the sources of mounts. It is read as a tree, because the code for
/// that is in the program already.
fn parse(answer: &[u8]) -> Option<Attached> {
    let mut answer: Value = serde_json::from_slice(answer).ok()?;
    let process = serde_json::from_value(answer.get_mut("process")?.take()).ok()?;
    let path = |value: &Value| {
        let is_path = |path: &&str| path.starts_with('/') && !path.contains(char::is_control);
        value.as_str().filter(is_path).map(str::to_owned)
    };
    let shm = match answer.get("shm")? {
        Value::Null => None,
        other => Some(path(other)?),
    };
    let (pipe, adopted) = (path(answer.get("pipe")?)?, answer.get("adopted")?.as_bool()?);
    Some(Attached { pipe, shm, adopted, process })
}

/// Undoes a start that failed: takes back the lease, and then ends the daemon that was started for it.
/// The failure names what fails of that as well. The lease then ends with this process.
pub(super) fn undo(host: &Host, lease: &Lease, failure: Failure) -> Failure {
    let ctx = Ctx::of(host);
    let failure = match release::abandon(ctx, lease) {
        Ok(()) => failure,
        Err(error) => failure.and(&format!("its lease stays until the next sweep: {error}")),
    };
    if !may_leave_daemon(lease) {
        return failure;
    }
    match reap(host.own_arguments(), &host.paths) {
        Ok(()) => failure,
        Err(error) => failure.and(&error.message),
    }
}

/// Starts the command that ends MPS daemons without leases. It runs on its own, for it waits. By `args`
/// it reads the same configuration as this process, which may name another lease directory by now.
/// Fails if the command cannot be started.
pub(crate) fn reap(mut args: Vec<OsString>, paths: &Paths) -> Result<(), Failure> {
    let fault = |what: String| {
        Failure::new(
            Code::IsolationFailed,
            format!("MPS daemons without leases cannot be ended: {what}"),
        )
        .hint("run `gpulease mps reap`")
    };
    let program = programs::command()
        .ok_or_else(|| fault("the `gpulease` command is not installed".to_owned()))?;
    args.extend(["mps", "reap", "--run-dir"].map(OsString::from));
    args.push(paths.run.clone().into());
    start_detached(&program, &args)
        .map_err(|error| fault(format!("`{}`: {error}", program.display())))
}

/// Whether a daemon of gpulease may run for this lease alone.
pub(crate) fn may_leave_daemon(lease: &Lease) -> bool {
    lease.mps.as_ref().is_some_and(|seat| !seat.adopted)
}

/// The lease of this start, if it is held and its release has limits to take back.
pub(crate) fn held(ctx: Ctx<'_>, key: &LeaseKey, nonce: &Nonce) -> Option<Lease> {
    match ctx.store.entry(key) {
        Ok(Some(Entry::Lease(lease)))
            if lease.nonce == *nonce
                && lease.state != LeaseState::Grace
                && (may_leave_daemon(&lease) || !regions(&lease).is_empty()) =>
        {
            Some(*lease)
        }
        _ => None,
    }
}

/// Takes back the limits of a lease that has just been released. `args` as for [`reap`]. Fails if a
/// limit or a daemon may be left.
pub(crate) fn end(ctx: Ctx<'_>, lease: &Lease, args: Vec<OsString>) -> Result<(), Failure> {
    let lifted = lift(ctx, lease);
    if may_leave_daemon(lease) {
        reap(args, ctx.paths)?;
    }
    lifted
}

/// The limits of a lease's device memory in bytes, by the kernel's name of the region.
pub(crate) fn regions(lease: &Lease) -> BTreeMap<String, u64> {
    let limit = |region: &Option<String>, bytes| Some((region.clone()?, bytes));
    let devices = lease.devices.iter();
    order::map(devices.filter_map(|d| limit(&d.dmem_region, d.memory_bytes?.0)))
}

/// Limits the device memory of a bound lease's container. Fails with `isolation-failed`, which
/// names the file and the value.
pub(crate) fn limit(ctx: Ctx<'_>, lease: &Lease) -> Result<(), Failure> {
    let limits = regions(lease);
    if limits.is_empty() {
        return Ok(());
    }
    let Some(cgroup) = lease.cgroup.as_deref().filter(|_| lease.state == LeaseState::Bound) else {
        return Err(Failure::new(
            Code::IsolationFailed,
            "the container has no cgroup of its own in which its device memory could be limited",
        )
        .hint("let the engine give it one: a `cgroupsPath` that no other container has"));
    };
    dmem::set(ctx.paths, Path::new(cgroup), &limits)
        .map_err(|why| Failure::new(Code::IsolationFailed, why))
}

/// Lifts the kernel's limits. As a rule the cgroup is gone, and nothing is done. Nothing is done either
/// if it may be another lease's cgroup, for instance that of the container's next start. A lease is
/// recorded before its limits are set, so the ledger shows it.
fn lift(ctx: Ctx<'_>, lease: &Lease) -> Result<(), Failure> {
    let (limits, Some(dir)) = (regions(lease), lease.cgroup.as_deref()) else { return Ok(()) };
    if limits.is_empty() || !Path::new(dir).is_dir() {
        return Ok(());
    }
    // A path that was recorded in another pid namespace may be of another tree of cgroups.
    if identity::pid_namespace(ctx.paths).ok() != Some(lease.owner.pid_namespace) {
        return Ok(());
    }
    let same =
        |root: &str, id: &ContainerId| root == lease.runtime_root && *id == lease.container_id;
    let is_of_another = |entry: &Entry| match entry {
        Entry::Lease(other) if other.nonce != lease.nonce && other.state != LeaseState::Grace => {
            let cgroup = other.cgroup.as_deref();
            // A pending container without an expected cgroup may get this one.
            let is_unknown = cgroup.is_none() && other.state == LeaseState::Pending;
            same(&other.runtime_root, &other.container_id) || cgroup == Some(dir) || is_unknown
        }
        Entry::Lease(_) => false,
        Entry::Corrupt(corrupt) => same(&corrupt.key.runtime_root, &corrupt.key.container_id),
    };
    let ledger = ctx.store.lock(DELETE_DEADLINE, ctx.paths)?;
    if ledger.entries()?.iter().any(is_of_another) {
        return Ok(());
    }
    dmem::clear(ctx.paths, Path::new(dir), limits.keys().map(String::as_str))
        .map_err(|why| Failure::new(Code::IsolationFailed, why))
}

#[cfg(test)]
mod tests;
