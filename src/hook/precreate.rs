//! `precreate`: Podman passes the spec of every container that it starts, and accepts another one
//! (containers-common, `oci-hooks(5)`). The hook does what the shim does in `create`, where there
//! is no shim.
//!
//! It is called for every container of the node. The spec of a container without a request is
//! passed on unchanged, whatever state gpulease is in. A container with a request gets a lease and
//! an edited spec on stdout, or neither. Then the exit status has the reason, because Podman drops
//! stderr.

use super::args::Precreate;
use super::container;
use crate::claim::{Ctx, precreate};
use crate::failure::Failure;
use crate::failure::one_line;
use crate::host::Host;
use crate::injection::Facts;
use crate::model::code::Code;
use crate::model::id::LeaseKey;
use crate::model::lease::{Lease, Owner};
use crate::paths::Paths;
use crate::start::bundle::MAX_BYTES;
use crate::start::lowlevel::RuntimeKind;
use crate::start::{self, Launch, StartOutcome, Starter};
use crate::sys::{exec::Capability, exec::drop_privileges_but, failpoint, proc, stdio, syslog};
use nix::unistd::getppid;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

/// The tag in the system log.
const TAG: &str = crate::injection::HOOK_NAME;

/// Runs the hook. The exit status is that of the code, since Podman shows nothing else.
pub(super) fn main(call: &Precreate) -> ExitCode {
    let dir = std::env::current_dir().ok();
    let Err(failure) = run(call, dir.as_deref()) else { return ExitCode::SUCCESS };
    let line = one_line(&failure);
    let _ = writeln!(io::stderr(), "{line}");
    let id = dir.as_deref().and_then(container::of_bundle);
    let whose = id.map_or_else(String::new, |id| format!("container {id}: "));
    syslog::error(&Paths::default().dev.join("log"), TAG, &format!("{whose}{line}"));
    ExitCode::from(failure.code.exit_status())
}

fn run(call: &Precreate, dir: Option<&Path>) -> Result<(), Failure> {
    let parent = getppid().as_raw();
    let spec = stdio::read_input(MAX_BYTES).map_err(|error| start::bad_bundle(&error))?;
    failpoint::hit("precreate.read");
    // For most containers this is all.
    let Some(facts) = start::concerns_us(&spec, None)? else { return hand_on(&spec) };
    // The check for busy GPUs looks at the processes of all users.
    let kept = [Capability::CAP_SYS_PTRACE, Capability::CAP_DAC_READ_SEARCH];
    let dropped = drop_privileges_but(&kept).map_err(|error| {
        Failure::new(Code::StateUnavailable, format!("cannot drop capabilities: {error}"))
    });
    let host = Host::look(call.config.as_deref());
    let hook = Hook {
        dir: dir.unwrap_or(Path::new("")),
        runtime: RuntimeKind::likely(host.runtime()),
        podman: dropped.and_then(|()| podman(parent, &host.paths)),
    };
    let launch = Launch {
        bundle: Some(hook.dir),
        fault: hook.fault(call),
        ..Launch::by(Path::new(hook.runtime.name()))
    };
    let answer = start::interpret_facts(&host, &launch, spec, facts)?;
    match start::prepare(&host, &launch, &hook, answer)? {
        StartOutcome::Untouched(spec) => hand_on(&spec)?,
        StartOutcome::Cleaned | StartOutcome::Granted(_) => {}
    }
    Ok(())
}

/// The process that called the hook, which is our parent as long as it lives.
fn podman(parent: i32, paths: &Paths) -> Result<Owner, Failure> {
    let owner = proc::describe(parent, paths)?;
    if getppid().as_raw() == parent {
        return Ok(owner);
    }
    Err(Failure::new(Code::StaleHook, "the podman that called the hook is gone"))
}

fn hand_on(spec: &[u8]) -> Result<(), Failure> {
    stdio::write_output(spec).map_err(|error| {
        let text = format!("cannot hand the container's spec to Podman: {error}");
        Failure::new(Code::BadBundle, text)
    })?;
    failpoint::hit("precreate.written");
    Ok(())
}

struct Hook<'a> {
    dir: &'a Path,
    runtime: RuntimeKind,
    /// The calling process, or why it is unknown. An error concerns only containers with a request.
    podman: Result<Owner, Failure>,
}

impl Hook<'_> {
    /// Why nothing can be granted in this call, whatever is requested.
    fn fault(&self, call: &Precreate) -> Option<Failure> {
        if let Some(fault) = &call.fault {
            return Some(
                Failure::new(Code::BadConfig, format!("the hook's arguments: {fault}"))
                    .hint("correct `args` in the file by which Podman calls it; gpulease-hook(8) names it"),
            );
        }
        if stdio::output_is_lost() {
            let text = "stdout leads nowhere, so the edited spec would be lost";
            return Some(Failure::new(Code::BadBundle, text).hint("let Podman call this hook"));
        }
        self.podman.as_ref().err().cloned()
    }
}

impl Starter for Hook<'_> {
    /// The key that the shim would use, if it is installed too. Podman names no root, and makes
    /// crun use root's.
    fn key(&self, facts: &Facts) -> Result<LeaseKey, Failure> {
        let id = container::identify(Some(self.dir), facts.cgroups_path.as_deref())?;
        LeaseKey::new(&self.runtime.system_root(), id)
            .map_err(|error| Failure::of(Code::BadBundle, &error))
    }

    fn engine(&self, _: &Facts) -> &'static str {
        "podman"
    }

    fn pid_file(&self) -> Option<String> {
        container::pid_file(self.dir).map(|path| path.display().to_string())
    }

    fn make_way(&self, ctx: Ctx<'_>, key: &LeaseKey) -> Result<(), Failure> {
        precreate::supersede(ctx, key, self.podman.as_ref().map_err(Failure::clone)?)
    }

    fn write(&self, ctx: Ctx<'_>, lease: Option<&Lease>, spec: &[u8]) -> Result<(), Failure> {
        if let Some(lease) = lease {
            precreate::hand_over(ctx, lease, self.podman.as_ref().map_err(Failure::clone)?)?;
        }
        hand_on(spec)
    }
}
