//! Everything that talks to the kernel, in small files. The only module that may hold `unsafe`.

pub mod ask;
pub mod atomic;
pub mod cgroup;
pub(crate) mod cgroup_of_others;
pub(crate) mod char_drivers;
pub mod checked;
pub mod clock;
pub mod detached;
pub mod dmem;
pub mod error;
pub mod exec;
pub mod failpoint;
pub mod file_rights;
pub mod gpu_users;
pub mod handed;
pub mod identity;
pub mod in_root;
pub mod kernel_file;
pub mod kmsg;
pub mod lock;
pub mod mount;
pub(crate) mod namespaces;
#[cfg(feature = "cli")]
pub mod nvml;
pub mod patience;
pub mod proc;
pub mod proc_stat;
pub mod programs;
pub mod random;
#[cfg(feature = "rocm-smi")]
pub mod rocm_smi;
pub mod stdio;
pub mod syslog;

pub use error::PathError;
