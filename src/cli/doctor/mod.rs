//! `gpulease doctor` and `gpulease health`: what is wrong with this node, and how to set it right.
//!
//! A check looks and changes nothing: no file is made, no lease touched, no lock kept. It works on
//! what is broken, because that is when it is run: what cannot be read is a finding of its own, and
//! the other checks go on. All that is looked at is found through `Paths`.

mod cdi_specs;
mod cgroups;
mod configuration;
mod default_request;
mod engines;
mod finding;
mod gpus;
mod hooks_dirs;
mod inventory;
mod limits;
mod lowlevel;
mod mps;
mod nvidia;
mod programs;
mod records;
mod report;
mod run_dir;
mod trackers;

use super::output::{Answer, Output};
use crate::failure::Failure;
use crate::host::{ConfigState, Host};
use crate::model::code::Code;
use finding::{Findings, quoted};
use std::path::{Path, PathBuf};

pub(super) fn doctor(
    config: Option<&Path>,
    root: Option<&Path>,
    verbose: bool,
    output: &Output,
) -> Result<Answer, Failure> {
    let mut found = Findings::default();
    let host = examine(config, root, &mut found)?;
    let config = host.config().ok();
    let has_essentials = host.known() != ConfigState::Nothing;
    let runtime = has_essentials.then(|| lowlevel::runtime(&host, &mut found)).flatten();
    lowlevel::systemd(&host, &mut found);
    let wired = engines::check(&host, &mut found);
    programs::check(&host, config, &wired, &mut found);
    if has_essentials {
        run_dir::check(&host, &mut found);
        records::check(&host, &mut found);
        mps::check(&host, &mut found);
    }
    if let Some(config) = config {
        mps::check_means(&host, config, &mut found);
        if let Some(scanned) = inventory::check(&host, config, &mut found) {
            nvidia::check(&scanned, &host, config, &mut found);
            gpus::check(&scanned, &host, config, &mut found);
        }
        runtime.inspect(|runtime| default_request::check(&host, runtime, &mut found));
    }
    trackers::check(&host, &mut found);
    cdi_specs::check(&host, &mut found);
    hooks_dirs::check(&host, &wired.hooks_dirs, &mut found);
    cgroups::check(&host, &mut found);
    Ok(report::doctor(&found, verbose, output))
}

/// `health`: what can go wrong while a node is in use, and is cheap to look at.
pub(super) fn health(
    config: Option<&Path>,
    root: Option<&Path>,
    output: &Output,
) -> Result<Answer, Failure> {
    let mut found = Findings::default();
    let host = examine(config, root, &mut found)?;
    let has_essentials = host.known() != ConfigState::Nothing;
    let runtime = has_essentials.then(|| lowlevel::usable(&host, &mut found)).flatten();
    if let Ok(config) = host.config() {
        programs::check_hook(&host, config, &mut found);
        run_dir::check(&host, &mut found);
        let _ = inventory::check(&host, config, &mut found);
        runtime.inspect(|runtime| default_request::check(&host, runtime, &mut found));
    }
    Ok(report::health(&found, &host, output))
}

/// Looks at the host below `root`, or at this one. Fails if the directory is no host's root.
fn examine(
    config: Option<&Path>,
    root: Option<&Path>,
    found: &mut Findings,
) -> Result<Host, Failure> {
    let absolute = |root: &Path| std::path::absolute(root).unwrap_or_else(|_| root.into());
    let root: PathBuf = root.map_or_else(|| "/".into(), absolute);
    if !root.join("etc").is_dir() {
        let text =
            format!("{} is not the root of a host: it has no directory `etc`", quoted(&root));
        return Err(Failure::new(Code::BadRequest, text)
            .hint("name the directory in which the host's `/` is mounted"));
    }
    let host = Host::below(config, &root);
    configuration::check(&host, found);
    Ok(host)
}
