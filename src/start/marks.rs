//! The annotations and hooks that a grant adds to a spec. Annotations describe the grant, and hooks
//! tie the lease to the container.

use crate::config::Config;
use crate::failure::Failure;
use crate::host::Host;
use crate::injection::{self, HOOK_NAME, HookEntry, HookStage};
use crate::model::code::Code;
use crate::model::lease::{Lease, LeasedDevice};
use crate::sys::{failpoint, programs};
use std::collections::BTreeMap;

/// Seconds after which the low-level runtime kills one of our hooks. A hook waits for the ledger
/// for less than that.
const HOOK_TIMEOUT: u32 = 10;

/// The annotations that describe the grant to the container and its administrator.
pub(super) fn annotations(lease: &Lease) -> BTreeMap<String, String> {
    let list = |f: &dyn Fn(&LeasedDevice) -> String| {
        lease.devices.iter().map(f).collect::<Vec<_>>().join(",")
    };
    let mut annotations = BTreeMap::new();
    let mut set = |key: &str, value: String| {
        annotations.insert(format!("{}{key}", injection::GRANTED_PREFIX), value);
    };
    set("lease", lease.id.to_string());
    set("devices", list(&|device| device.uuid.to_string()));
    set("compute", list(&|device| device.milli.to_string()));
    set(
        "memory",
        list(&|device| match device.memory_bytes {
            Some(bytes) => bytes.0.to_string(),
            None => "unknown".to_owned(),
        }),
    );
    set("isolation", lease.isolation.effective.to_string());
    set("enforcement", lease.isolation.enforcement());
    if lease.devices.iter().any(|device| device.simulated) {
        set("simulated", "true".into());
    }
    annotations
}

/// The hook beside this program, unless the configuration names another. It must exist, because a
/// runtime that cannot find a hook fails the start with a message that does not help.
fn hook_path(config: &Config) -> Result<String, Failure> {
    let path = config.hook.clone().or_else(|| programs::beside(HOOK_NAME));
    match path {
        Some(path) if path.is_file() => Ok(path.display().to_string()),
        other => Err(Failure::new(
            Code::BadConfig,
            format!("the hook program `{}` is not a file", other.unwrap_or_default().display()),
        )
        .hint("install gpulease-hook beside gpulease-runtime, or set `hook` in the configuration")),
    }
}

/// The two hooks of this start.
pub(super) fn hooks(
    host: &Host,
    config: &Config,
    lease: &Lease,
) -> Result<Vec<HookEntry>, Failure> {
    let path = hook_path(config)?;
    let key = lease.key()?;
    let hook = |stage, verb: &str| {
        let mut args = vec![HOOK_NAME.to_owned(), verb.to_owned()];
        args.extend(["--run-dir".to_owned(), host.paths.run.display().to_string()]);
        args.extend(["--key".to_owned(), key.file_stem()]);
        args.extend(["--nonce".to_owned(), lease.nonce.to_string()]);
        args.extend(host.own_arguments().iter().map(|word| word.display().to_string()));
        let mut env = vec!["PATH=/usr/sbin:/usr/bin:/sbin:/bin".to_owned()];
        env.extend(failpoint::for_hooks());
        HookEntry { stage, path: path.clone(), args, env, timeout: Some(HOOK_TIMEOUT) }
    };
    Ok(vec![
        hook(HookStage::CreateRuntime, "create-runtime"),
        hook(HookStage::Poststop, "poststop"),
    ])
}
