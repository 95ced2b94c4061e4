//! Everything that talks to the kernel, in small files. The only module that may hold `unsafe`.

pub mod atomic;
pub mod cgroup;
pub mod checked;
pub mod clock;
pub mod error;
pub mod exec;
pub mod failpoint;
pub mod gpu_users;
pub mod identity;
pub mod in_root;
pub mod lock;
pub mod mount;
pub mod proc;
pub mod random;
pub mod stdio;
pub mod syslog;

pub use error::PathError;
