//! The node's devices: the sources that they are read from, and the copy that a container start
//! uses.
//!
//! A container start does not look for GPUs. It reads `inventory.json`, which [`scan()`] made, and
//! checks with [`freshness`] that it is still current: same boot, same sources. Only the `gpulease`
//! command looks for GPUs.

pub mod activity;
#[cfg(feature = "cli")]
pub mod amd;
pub mod cache;
#[cfg(feature = "cli")]
pub mod cdi;
#[cfg(feature = "cli")]
mod driver_files;
#[cfg(feature = "cli")]
pub mod drm;
pub mod error;
#[cfg(test)]
mod fixtures;
#[cfg(feature = "cli")]
mod found;
pub mod missing;
#[cfg(feature = "cli")]
pub mod nvidia;
pub mod pcie;
pub mod profiles;
#[cfg(feature = "cli")]
mod scan;
pub mod stamp;
pub mod static_file;
mod sysfs;
#[cfg(feature = "cli")]
mod usage;

pub use cache::{Inventory, decode, encode, freshness};
pub use error::InventoryError;
#[cfg(feature = "cli")]
pub use scan::{scan, scan_files};
pub use stamp::Look;
#[cfg(feature = "cli")]
pub use usage::usage;
