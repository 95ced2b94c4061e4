//! Finds the runtime in whose state directory a container is.

use super::args::{Invocation, Verb, Words};
use crate::failure::Failure;
use crate::host::Host;
use crate::start::lowlevel::{Choice, RuntimeKind, choose, installed};
use std::path::{Path, PathBuf};

/// The runtime for this call. For an existing container it is the one in whose state directory the
/// container is, so that a change of the configuration never strands a running container. Fails if
/// there is no runtime.
pub(super) fn runtime_of(words: &Words, host: &Host) -> Result<Choice, Failure> {
    let choice = choose(host);
    let preferred = choice.as_ref().ok().map(|choice| RuntimeKind::of(&choice.path));
    match home_of_existing(words, preferred) {
        Some(path) => Ok(Choice { path, fault: choice.map_or_else(Some, |choice| choice.fault) }),
        None => choice,
    }
}

/// The runtime's state directory for this call, absolute.
pub(super) fn root_of(call: &Invocation, kind: RuntimeKind) -> String {
    match &call.root {
        Some(root) if root.starts_with('/') => root.clone(),
        Some(root) => std::env::current_dir()
            .map_or_else(|_| root.clone(), |cwd| cwd.join(root).to_string_lossy().into_owned()),
        None => kind.default_root(),
    }
}

/// The runtime of a container that exists in the state directory of another runtime than the
/// preferred one.
fn home_of_existing(words: &Words, preferred: Option<RuntimeKind>) -> Option<PathBuf> {
    // Each runtime finds the id in the words in its own way.
    let has = |kind: RuntimeKind| {
        let call = words.read(kind);
        let exists_already =
            matches!(call.verb, Verb::Exec | Verb::Delete | Verb::Update | Verb::Other);
        // The runtime refuses an id with a slash. It must not lead to another directory here.
        let id = call.id.as_deref().filter(|id| !id.contains('/') && *id != "." && *id != "..");
        let state = |id: &str| Path::new(&root_of(&call, kind)).join(id).join(kind.state_file());
        id.filter(|_| exists_already).is_some_and(|id| state(id).exists())
    };
    if preferred.is_some_and(has) {
        return None;
    }
    let others =
        [RuntimeKind::Runc, RuntimeKind::Crun].into_iter().filter(|kind| Some(*kind) != preferred);
    others.filter(|kind| has(*kind)).find_map(installed)
}
