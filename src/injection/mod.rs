//! From a grant to an edited `config.json`: pure functions on a JSON tree in memory.
//!
//! [`facts()`] reads the facts that a decision needs, without building a tree. [`Document`] is the
//! tree. [`apply()`] applies an [`Injection`] to it and returns an [`Undo`]; [`revert`] undoes it.
//! [`visibility()`] decides the environment.

#![forbid(unsafe_code)]

mod access;
pub mod apply;
mod chained;
pub mod document;
mod doubt;
pub mod facts;
pub mod fragments;
mod hidden_nodes;
mod lenient;
mod limits;
mod rules;
mod skim;
mod spec_elements;
mod spec_mount;
mod spec_reader;
mod spec_user;
mod target;
pub mod types;
pub mod undo;
mod vendor_hook;
pub mod visibility;

pub use access::Access;
pub use apply::apply;
pub use chained::{amd_id, chained, close, closed};
pub use document::Document;
pub use doubt::Doubt;
pub use facts::{Facts, SpecDevice, SpecHook, facts, is_gpu_node_path};
pub use limits::{limits, mps_mounts, percentage, whole_mib};
pub use rules::Numbers;
pub use spec_user::IdMap;
pub use types::{
    GRANTED_PREFIX, HookEntry, HookStage, HostNode, Injection, MountEntry, READ_WRITE,
    ResolvedNode, SpecMount,
};
pub use undo::{Undo, revert, strip_granted, strip_our_hooks};
pub use vendor_hook::{VendorHooks, is_vendor_hook};
pub use visibility::{process_env, visibility};

/// The hook program's file name. A spec's hooks with this name are ours.
pub const HOOK_NAME: &str = "gpulease-hook";

/// The last component of a path. Hooks are recognised by it, wherever they are installed.
pub(crate) fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
