//! Removes the grant from a bundle after the container's end.
//!
//! Engines write `config.json` anew for each start. But Podman's `container restore` uses the
//! existing file, and crun restores without running a hook. A container that is restored so would
//! have its devices without a lease.

use super::container;
use super::state::State;
use crate::failure::Failure;
use crate::injection::{self, Document, revert, strip_our_hooks};
use crate::model::id::Nonce;
use crate::start::bad_bundle;
use crate::start::bundle::read_limited;
use crate::store::Store;
use crate::sys::atomic;

/// Removes this start's edits from a bundle of Podman's. A bundle that was written again since, or
/// whose edits are unknown, is left alone. Fails if `config.json` cannot be read or written.
pub(super) fn unedit(store: &Store, state: &State, nonce: &Nonce) -> Result<(), Failure> {
    let bundle = state.bundle.as_deref().filter(|dir| container::of_bundle(dir).is_some());
    let Some(dir) = bundle else { return Ok(()) };
    let config = dir.join("config.json");
    let text = match read_limited(&config) {
        Ok(text) => text,
        Err(error) if error.is_missing() => return Ok(()),
        Err(error) => return Err(bad_bundle(&error)),
    };
    let facts = injection::facts(&text).map_err(|error| bad_bundle(&error))?;
    let record = store.bundle(dir);
    let undo = record.as_ref().and_then(|record| record.undo_of(nonce));
    let Some(undo) = undo.filter(|_| facts.our_nonces() == [nonce.clone()]) else { return Ok(()) };
    let mut document = Document::parse(&text).map_err(|error| bad_bundle(&error))?;
    revert(&mut document, undo);
    strip_our_hooks(&mut document);
    Ok(atomic::replace_keeping_owner(&config, &document.to_bytes())?)
}
