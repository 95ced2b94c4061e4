//! The largest values that a devices file may have.

/// The most devices that a node may have.
pub const DEVICES_MAX: usize = 256;

/// The most memory that one device may have, in MiB: 16 TiB, so that sums stay far from overflow.
pub const MEMORY_MIB_MAX: u64 = 16 << 20;

/// The largest major number: `dev_t` has 12 bits for it (`MINORBITS`, linux/kdev_t.h).
pub const MAJOR_MAX: u32 = (1 << 12) - 1;

/// The largest minor number: `dev_t` has 20 bits for it.
pub const MINOR_MAX: u32 = (1 << 20) - 1;

/// The longest path of a device node.
pub const NODE_PATH_MAX: usize = 128;

/// The longest name of a model, in characters.
pub const MODEL_MAX: usize = 64;

/// The most compute units, dies and shader engines. [`crate::model::cu_set::CuSet`] has numbers up
/// to 4095.
pub const UNITS_MAX: u32 = 4096;
