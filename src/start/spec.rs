//! A container's spec at its start, without the edits of an earlier start.

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

/// A spec, with its facts and its edits.
pub struct EditableSpec {
    pub bytes: Vec<u8>,
    pub facts: Facts,
    /// The starts whose hooks the spec has.
    pub nonces: Vec<Nonce>,
    /// The tree, as soon as an edit is needed.
    pub edited: Option<Document>,
    /// The edits of an earlier start, as they were found.
    pub earlier: Option<RecordedEdit>,
    /// The spec has edits of an earlier start that are not recorded.
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

    /// The tree with the edits so far.
    pub(super) fn document(&mut self) -> Result<Document, Failure> {
        match self.edited.take() {
            Some(document) => Ok(document),
            None => Document::parse(&self.bytes).map_err(|error| bad_bundle(&error)),
        }
    }

    /// Undoes the edits of an earlier grant. They are undone by our own record if it belongs to the
    /// nonce in the hooks. If the record is gone (after a reboot), our hooks and annotations are
    /// removed, and nodes are withheld later. But mounts of driver files, masked paths and edits
    /// from CDI specs cannot be told from the author's own.
    fn undo_earlier_edits(&mut self, host: &Host, bundle: Option<&Path>) -> Result<(), Failure> {
        let store = host.store();
        // Podman's hook knows the directory only by its real path.
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
                "config.json has the driver files of an earlier lease, and gpulease's record of \
                 them is gone, for instance after a reboot",
            )
            .hint("write config.json again; engines do so at each start"));
        }
        strip_our_hooks(&mut document);
        let facts = injection::facts(&document.to_bytes()).map_err(|error| bad_bundle(&error))?;
        let Facts { named, annotations, .. } = std::mem::replace(&mut self.facts, facts);
        self.facts.named = named;
        // An explanation may add annotations to those of the file.
        let own = annotations.into_iter().filter(|(key, _)| !key.starts_with(GRANTED_PREFIX));
        self.facts.annotations.extend(own);
        self.edited = Some(document);
        Ok(())
    }

    /// Whether an annotation of an earlier grant says that driver files were mounted.
    fn has_driver_files(&self) -> bool {
        let said = self.facts.annotations.get(&format!("{GRANTED_PREFIX}driver"));
        said.is_some_and(|way| way == "native" || way == "cdi")
    }

    /// Keeps a vendor's runtime from giving GPUs without a lease. Such a runtime may also read
    /// requests that cannot be edited.
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
