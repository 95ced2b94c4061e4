//! `gpulease doctor` and `gpulease health`: what is wrong with this node, and how to set it right.
//!
//! A check looks and changes nothing: no file is made, no lease touched, no lock kept. It works on
//! what is broken, because that is when it is run: what cannot be read is a finding of its own, and
//! the other checks go on. All that is looked at is found through [`Paths`].

mod cdi_specs;
mod cgroups;
mod configuration;
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
mod subject;
mod trackers;

use super::output::{Answer, Output};
use crate::paths::Paths;
use finding::Findings;
use std::path::{Path, PathBuf};
use subject::{Known, Subject};

pub(super) fn doctor(
    config: Option<&Path>,
    root: Option<&Path>,
    verbose: bool,
    output: &Output,
) -> Answer {
    let mut found = Findings::default();
    let subject = examine(config, root, &mut found);
    let (essentials, all) = (subject.known != Known::Nothing, subject.known == Known::All);
    if essentials {
        lowlevel::runtime(&subject, &mut found);
    }
    lowlevel::systemd(&subject, &mut found);
    let wired = engines::check(&subject, &mut found);
    programs::check(&subject, &wired, &mut found);
    if essentials {
        run_dir::check(&subject, &mut found);
        records::check(&subject, &mut found);
        mps::check(&subject, &mut found);
    }
    if all {
        mps::check_means(&subject, &mut found);
    }
    if all && let Some(scanned) = inventory::check(&subject, &mut found) {
        nvidia::check(&scanned, &subject, &mut found);
        gpus::check(&scanned, &subject, &mut found);
    }
    trackers::check(&subject, &mut found);
    cdi_specs::check(&subject, &mut found);
    hooks_dirs::check(&subject, &wired.hooks_dirs, &mut found);
    cgroups::check(&subject, &mut found);
    report::doctor(&found, verbose, output)
}

/// `health`: what can go wrong while a node is in use, and is cheap to look at.
pub(super) fn health(config: Option<&Path>, root: Option<&Path>, output: &Output) -> Answer {
    let mut found = Findings::default();
    let subject = examine(config, root, &mut found);
    if subject.known != Known::Nothing {
        let _ = lowlevel::usable(&subject, &mut found);
    }
    if subject.known == Known::All {
        programs::check_hook(&subject, &mut found);
        run_dir::check(&subject, &mut found);
        let _ = inventory::check(&subject, &mut found);
    }
    report::health(&found, &subject, output)
}

fn examine(config: Option<&Path>, root: Option<&Path>, found: &mut Findings) -> Subject {
    let absolute = |root: &Path| std::path::absolute(root).unwrap_or_else(|_| root.into());
    let root: PathBuf = root.map_or_else(|| "/".into(), absolute);
    let subject = Subject::look(config, Paths::below(&root));
    configuration::check(&subject, found);
    subject
}
