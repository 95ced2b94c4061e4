//! A container's spec as it comes to a start: what it says, without what an earlier start of
//! ours wrote into it.

use crate::failure::Failure;
use crate::host::Host;
use crate::injection::{
    self, Document, Facts, GRANTED_PREFIX, SpecHook, revert, strip_granted, strip_our_hooks,
};
use crate::model::code::Code;
use crate::model::device::Vendor;
use crate::model::id::Nonce;
use crate::store::RecordedEdit;
use std::path::Path;

/// A spec, and what is to become of it.
pub struct EditableSpec {
    pub bytes: Vec<u8>,
    pub facts: Facts,
    /// The starts whose hooks the spec carries.
    pub nonces: Vec<Nonce>,
    /// The tree, once something is to be changed in it.
    pub edited: Option<Document>,
    /// The edits of an earlier start, as they were found.
    pub earlier: Option<RecordedEdit>,
    /// There are edits of an earlier start of which we have no record.
    pub unknown_edits: bool,
}

impl EditableSpec {
    pub(super) fn new(
        host: &Host,
        bundle: Option<&Path>,
        bytes: Vec<u8>,
        facts: Facts,
    ) -> Result<Self, Failure> {
        let nonces = facts.our_nonces();
        let mut spec =
            Self { bytes, facts, nonces, edited: None, earlier: None, unknown_edits: false };
        if is_edited(&spec.facts) {
            spec.undo_earlier_edits(host, bundle)?;
        }
        if spec.facts.granted_keys {
            let mut document = spec.document()?;
            strip_granted(&mut document);
            spec.edited = Some(document);
        }
        Ok(spec)
    }

    /// The tree as it stands now.
    pub(super) fn document(&mut self) -> Result<Document, Failure> {
        match self.edited.take() {
            Some(document) => Ok(document),
            None => Document::parse(&self.bytes).map_err(|error| bad_bundle(&error)),
        }
    }

    /// A bundle that ran before carries the edits of its earlier grant. They are taken out by our
    /// own record of them, if it is of the start whose nonce the hooks carry. Where that record
    /// is gone (a reboot), our hooks and annotations are taken out, and the nodes are withheld
    /// later; but mounts of driver files, masked paths and what CDI specs brought cannot be told
    /// from the author's own.
    fn undo_earlier_edits(&mut self, host: &Host, bundle: Option<&Path>) -> Result<(), Failure> {
        let store = host.store();
        // Podman's hook only knows the directory by its real name.
        let record = bundle
            .and_then(|dir| store.bundle(dir).or_else(|| store.bundle(&dir.canonicalize().ok()?)));
        let mut document = self.document()?;
        self.unknown_edits = self.nonces.is_empty();
        for nonce in &self.nonces {
            match record.as_ref().and_then(|record| record.undo_of(nonce)) {
                Some(undo) => {
                    revert(&mut document, undo);
                    self.earlier = Some(RecordedEdit { nonce: nonce.clone(), undo: undo.clone() });
                }
                None => self.unknown_edits = true,
            }
        }
        if self.unknown_edits && self.has_driver_files() {
            return Err(Failure::new(
                Code::BadBundle,
                "config.json carries the driver files of an earlier lease, and gpulease's record of them is gone, as after a reboot",
            )
            .hint("write config.json anew; engines do so at each start"));
        }
        strip_our_hooks(&mut document);
        let facts = injection::facts(&document.to_bytes()).map_err(|error| bad_bundle(&error))?;
        let Facts { named, annotations, .. } = std::mem::replace(&mut self.facts, facts);
        self.facts.named = named;
        // An explanation may be asked for more than the file says.
        let own = annotations.into_iter().filter(|(key, _)| !key.starts_with(GRANTED_PREFIX));
        self.facts.annotations.extend(own);
        self.edited = Some(document);
        Ok(())
    }

    /// Whether an earlier grant says that we put in more than nodes and variables.
    fn has_driver_files(&self) -> bool {
        let said = self.facts.annotations.get(&format!("{GRANTED_PREFIX}driver"));
        said.is_some_and(|way| way == "native" || way == "cdi")
    }

    /// Keeps a vendor's runtime, which may read what we cannot edit, from giving GPUs without a lease.
    pub(super) fn close(&mut self, vendor: Vendor) -> Result<(), Failure> {
        let was_edited = self.edited.is_some();
        let mut document = self.document()?;
        let closed = injection::close(&mut document, vendor, &self.facts);
        let closed = closed.map_err(|error| bad_bundle(&error))?;
        self.edited = (closed || was_edited).then_some(document);
        Ok(())
    }
}

pub(super) fn is_edited(facts: &Facts) -> bool {
    facts.hooks.iter().any(SpecHook::is_ours)
}

pub fn bad_bundle(error: &dyn std::error::Error) -> Failure {
    Failure::of(Code::BadBundle, error)
}
