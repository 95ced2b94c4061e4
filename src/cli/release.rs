//! `gpulease release`: takes a lease back by hand.

use super::output::Answer;
use crate::claim::release::Insistence;
use crate::failure::Failure;
use crate::host::Host;
use crate::model::code::Code;
use crate::model::text::shown;
use crate::start::release::{ReleasedByHand, release_by_hand};
use crate::store::Entry;
use crate::view::release::Release;

pub(super) fn release(host: &Host, id: &str, insistence: Insistence) -> Result<Answer, Failure> {
    let done = release_by_hand(host, id, insistence).map_err(|failure| match failure.code {
        Code::CorruptLease => failure.hint(
            "stop the container; --force moves the record aside, and the devices that it stood \
             for can be given to others",
        ),
        _ => failure,
    })?;
    Ok(match &done.entry {
        Entry::Lease(lease) => {
            let view = Release::released(lease, &done.holder, insistence);
            Answer::of(format!("{}\n{}", done.text, warnings(&done)), &view)
        }
        Entry::Corrupt(corrupt) => {
            let directory = host.paths.run.join("corrupt");
            let text = format!("{} into {}\n", done.text, directory.display());
            Answer::of(text, &Release::set_aside(corrupt, insistence))
        }
    })
}

/// Says that the container may still have the devices.
fn warnings(done: &ReleasedByHand) -> String {
    let Entry::Lease(lease) = &done.entry else { return String::new() };
    let container = shown(lease.container_id.as_str());
    let mut text = String::new();
    if done.is_alive() {
        text.push_str(&format!(
            "warning: container {container} (process {}) still runs and keeps its device nodes\n",
            lease.owner.pid
        ));
    }
    if let Some(why) = done.holder.unjudged() {
        text.push_str(&format!(
            "warning: container {container} {why}; if it runs, it keeps its device nodes\n"
        ));
    }
    text
}
