//! What each caller answers, in one form.

use crate::hosts::{Call, Setting};
use crate::support::{CLI, HOOK, SHIM, stderr};
use gpulease::door::allocator::Grant;
use gpulease::door::failure::Failure;
use gpulease::door::host::Host;
use gpulease::door::model::lease::{Lease, LeaseState};
use gpulease::door::start::{self, Launch, lowlevel};
use gpulease::door::store::{Entry, Store};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// The container of every bundle here, but Podman's.
pub const CONTAINER: &str = "web";

/// Podman's, which has an id like this.
pub const OF_PODMAN: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It starts without a lease.
    Untouched,
    Refused {
        code: String,
        hint: Option<String>,
    },
    /// Each device with its share of compute and memory.
    Granted(Vec<String>),
}

impl Answer {
    pub fn code(&self) -> &str {
        match self {
            Self::Refused { code, .. } => code,
            _ => "",
        }
    }

    /// What is not the same in both.
    pub fn differs(&self, other: &Self) -> Option<&'static str> {
        match (self, other) {
            (Self::Untouched, Self::Untouched) => None,
            (Self::Granted(one), Self::Granted(two)) => (one != two).then_some("devices"),
            (
                Self::Refused { code, hint },
                Self::Refused { code: other_code, hint: other_hint },
            ) => {
                let by_code = (code != other_code).then_some("code");
                by_code.or((hint != other_hint).then_some("hint"))
            }
            _ => Some("verdict"),
        }
    }
}

fn text(value: &Value) -> Option<String> {
    value.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

fn device(device: &Value) -> String {
    let word = |key: &str| device[key].to_string();
    format!("{} {} {}", device["uuid"].as_str().unwrap(), word("milli"), word("memory_bytes"))
}

/// What decides, called as the shim does it.
pub fn decide(call: &Call, setting: &Setting) -> Answer {
    let host = Host::look(Some(&setting.config));
    let (runtime, fault) = match lowlevel::choose(&host) {
        Ok(choice) => (choice.path, choice.fault),
        Err(fault) => (PathBuf::new(), Some(fault)),
    };
    let launch = Launch {
        bundle: Some(&call.bundle),
        runtime: &runtime,
        vendor: lowlevel::vendor_of(&runtime),
        fault,
        inventory: Host::inventory_now,
        by_root: false,
    };
    match granted(&host, &launch, &call.spec) {
        Ok(None) => Answer::Untouched,
        Ok(Some(grant)) => {
            let grant = serde_json::to_value(&grant.devices).unwrap();
            Answer::Granted(grant.as_array().unwrap().iter().map(device).collect())
        }
        Err(Failure { code, hint, .. }) => Answer::Refused { code: code.to_string(), hint },
    }
}

fn granted(host: &Host, launch: &Launch<'_>, spec: &[u8]) -> Result<Option<Grant>, Failure> {
    let Some(facts) = start::concerns_us(spec, launch.vendor)? else { return Ok(None) };
    match start::interpret_facts(host, launch, spec.to_vec(), facts)? {
        start::Interpretation::Untouched(_) | start::Interpretation::Cleaned(_) => Ok(None),
        start::Interpretation::Ask(mut ask) => {
            let requester = ask.requester(host);
            start::foresee(host, launch, &mut ask, requester).map(Some)
        }
    }
}

/// `gpulease explain --bundle DIR --json`.
pub fn explain(call: &Call, setting: &Setting) -> Answer {
    let mut command = Command::new(CLI);
    command.arg("--gpulease-config").arg(&setting.config).args(["explain", "--json", "--bundle"]);
    let output = command.arg(&call.bundle).stdin(Stdio::null()).output().unwrap();
    let told: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("explain: {error}: {}", stderr(&output)));
    let refused = [&told["error"], &told["refusal"]].into_iter().find(|found| found.is_object());
    assert_eq!(output.status.success(), refused.is_none(), "{}: {told}", call.name);
    if let Some(refused) = refused {
        let code = refused["code"].as_str().unwrap().to_owned();
        return Answer::Refused { code, hint: text(&refused["hint"]) };
    }
    match told["grant"]["devices"].as_array() {
        Some(devices) => Answer::Granted(devices.iter().map(device).collect()),
        None => {
            assert!(told.is_object() && told["request"].is_null(), "{told}");
            Answer::Untouched
        }
    }
}

/// The real `create`, ready to run. The low-level runtime fails, so that no process stays.
pub fn create_command(call: &Call, setting: &Setting) -> Command {
    let mut command = Command::new(SHIM);
    command.arg("--gpulease-config").arg(&setting.config).arg("--root").arg(&call.root);
    command.args(["create", "--bundle"]).arg(&call.bundle).arg(CONTAINER);
    command.env("STUB_FAIL", "create").stdin(Stdio::null());
    command
}

/// What became of a `create`.
pub fn created(output: &Output, call: &Call, setting: &Setting) -> Answer {
    let spec = fs::read(call.bundle.join("config.json")).unwrap();
    let own = lease(CONTAINER, call, setting);
    match output.status.code() {
        Some(1) => refused(output, own.as_ref(), call, &spec),
        // As the stub fails.
        Some(3) => started(own, call, setting, &spec),
        other => panic!("{other:?}: {}", stderr(output)),
    }
}

fn refused(output: &Output, own: Option<&Vec<String>>, call: &Call, spec: &[u8]) -> Answer {
    let said = stderr(output);
    let line = said.trim_end().strip_prefix("gpulease: ").expect("a refusal of gpulease's");
    let (code, rest) = line.split_once(": ").unwrap();
    assert_eq!(own, None, "{} is refused and holds nothing: {line}", call.name);
    assert!(spec == call.spec, "{} is refused and not edited: {line}", call.name);
    let hint = rest.split_once("; hint: ").map(|(_, hint)| hint.to_owned());
    Answer::Refused { code: code.to_owned(), hint }
}

/// What pretends to be ours is taken out of a spec, and a vendor's runtime is told to give none.
fn started(own: Option<Vec<String>>, call: &Call, setting: &Setting, spec: &[u8]) -> Answer {
    let speaks_of_us = || String::from_utf8_lossy(&call.spec).contains("gpulease");
    let is_cleaned = own.is_some() || setting.is_vendors || speaks_of_us();
    assert!(spec == call.spec || is_cleaned, "{} is untouched, byte for byte", call.name);
    own.map_or(Answer::Untouched, Answer::Granted)
}

pub fn create(call: &Call, setting: &Setting) -> Answer {
    created(&create_command(call, setting).output().unwrap(), call, setting)
}

/// Podman's `precreate` hook, which has the spec on stdin and gives another one.
pub fn precreate(call: &Call, setting: &Setting) -> Answer {
    let mut command = Command::new(HOOK);
    command.args(["precreate", "--gpulease-config"]).arg(&setting.config).env_clear();
    command
        .current_dir(&call.bundle)
        .stdin(fs::File::open(call.bundle.join("config.json")).unwrap());
    let output = command.output().unwrap();
    let own = lease(OF_PODMAN, call, setting);
    match output.status.success() {
        true => started(own, call, setting, &output.stdout),
        false => refused(&output, own.as_ref(), call, &call.spec),
    }
}

/// What the container holds by this start.
fn lease(container: &str, call: &Call, setting: &Setting) -> Option<Vec<String>> {
    let own = |lease: &Lease| {
        lease.state == LeaseState::Pending && Some(&lease.id) != call.earlier.as_ref()
    };
    let lease = serde_json::to_value(recorded(container, setting).filter(own)?).unwrap();
    Some(lease["devices"].as_array().unwrap().iter().map(device).collect())
}

/// The lease that is recorded for a container.
pub fn recorded(container: &str, setting: &Setting) -> Option<Lease> {
    let entries = Store::at(&setting.run_dir).entries().unwrap_or_default().into_iter();
    let mut leases = entries.filter_map(|entry| match entry {
        Entry::Lease(lease) => Some(*lease),
        Entry::Corrupt(_) => None,
    });
    leases.find(|lease| lease.container_id.as_str() == container)
}
