//! What the node has: where it is read from, and the copy that a container start goes by.
//!
//! A container start does not look for GPUs. It reads `inventory.json`, which [`scan()`] made, and
//! checks with [`freshness`] that it still tells the truth: same boot, same sources. Looking for
//! them is the work of the `gpulease` command alone.

#[cfg(feature = "cli")]
pub mod activity;
#[cfg(feature = "cli")]
pub mod amd;
mod cache;
#[cfg(feature = "cli")]
pub mod cdi;
#[cfg(feature = "cli")]
mod driver_files;
#[cfg(feature = "cli")]
pub mod drm;
mod error;
#[cfg(test)]
#[cfg(feature = "cli")]
mod fixtures;
#[cfg(feature = "cli")]
pub mod nvidia;
#[cfg(feature = "cli")]
pub mod pcie;
#[cfg(feature = "cli")]
pub mod profiles;
#[cfg(feature = "cli")]
mod scan;
mod stamp;
pub mod static_file;
#[cfg(feature = "cli")]
mod sysfs;

pub use cache::{INVENTORY_VERSION, Inventory, Settings, decode, encode, freshness};
pub use error::{InventoryError, StaleReason};
#[cfg(feature = "cli")]
pub use scan::{Found, scan, scan_files};
pub use stamp::{FileLook, Look, Stamp};
