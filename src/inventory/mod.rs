//! What the node has: where it is read from, and the copy that a container start goes by.
//!
//! A container start does not look for GPUs. It reads `inventory.json`, which [`scan`] made, and
//! checks with [`freshness`] that it still tells the truth: same boot, same sources.

mod cache;
mod error;
pub mod profiles;
mod source;
pub mod static_file;

pub use cache::{INVENTORY_VERSION, Inventory, decode, encode, freshness, scan};
pub use error::{InventoryError, StaleReason};
pub use source::{SourceKind, SourceStamp};
