//! What can go wrong in a transaction.

use super::liveness::Unjudged;
use crate::allocator::Refusal;
use crate::model::code::Code;
use crate::store::{Corrupt, StoreError};
use crate::sys::PathError;
use crate::sys::lock::LockError;
use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// Why a transaction did not happen. Nothing is left of it then.
#[derive(Debug, Error)]
pub enum ClaimError {
    /// The allocator said no.
    #[error("{}", .0.one_line())]
    Refused(Box<Refusal>),
    /// A container of this id runs and holds a lease.
    #[error("container {container} already holds lease {lease}, and {state}")]
    AlreadyLeased {
        container: String,
        lease: String,
        /// What is known of the holder.
        state: String,
    },
    /// The record of this very container cannot be read, and it may be alive.
    #[error(
        "the lease record `{path}` of this container is unreadable ({why}) and the container may be alive"
    )]
    Corrupt {
        path: String,
        /// What is wrong with it.
        why: String,
    },
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The configuration names another lease directory than the one in which leases are held.
    #[error(
        "`run_dir` is `{}` in `{}`, but {leases} lease{} held in `{}`, where that file granted before",
        to.display(), config.display(), if *leases == 1 { " is" } else { "s are" }, from.display()
    )]
    Moved {
        config: PathBuf,
        /// Where leases are held.
        from: PathBuf,
        /// What the file says now.
        to: PathBuf,
        leases: usize,
    },
    #[error(transparent)]
    Path(#[from] PathError),
    #[error("the kernel gives no random numbers")]
    Random(#[source] io::Error),
    /// A hook came for a lease that is no longer there.
    #[error("{0}")]
    Stale(String),
    /// No lease of that name.
    #[error("no lease `{0}`")]
    Unknown(String),
    /// A name that several leases begin with.
    #[error("`{0}` is the beginning of the names of several leases")]
    Ambiguous(String),
    /// A lease whose amounts cannot be changed.
    #[error("lease {lease} keeps its size: {why}")]
    Unresizable {
        lease: String,
        /// What stands against it.
        why: String,
        /// What to do instead.
        hint: &'static str,
    },
    /// A limit of a running container could not be changed. It is as it was, unless more is said.
    #[error("{0}")]
    Limit(String),
    /// The holder of a lease that was to be released lives.
    #[error(
        "lease {lease} is held by container {container}, whose process {pid} or cgroup is alive"
    )]
    HolderAlive { lease: String, container: String, pid: i32 },
    /// Whether the holder of a lease that was to be released lives, is not known.
    #[error("lease {lease} is held by container {container}, which {why}")]
    HolderUnknown { lease: String, container: String, why: Unjudged },
}

impl ClaimError {
    pub fn code(&self) -> Code {
        match self {
            Self::Refused(refusal) => refusal.code,
            Self::AlreadyLeased { .. } => Code::AlreadyLeased,
            Self::Corrupt { .. } => Code::CorruptLease,
            Self::Store(StoreError::Lock(LockError::Timeout { .. })) => Code::LockTimeout,
            Self::Store(StoreError::Namespaced(_)) => Code::RootlessUnsupported,
            Self::Store(_) | Self::Path(_) | Self::Random(_) => Code::StateUnavailable,
            Self::Stale(_) => Code::StaleHook,
            Self::Moved { .. } => Code::BadConfig,
            Self::Unknown(_) | Self::Ambiguous(_) => Code::UnknownLease,
            Self::HolderAlive { .. } => Code::HolderAlive,
            Self::HolderUnknown { .. } => Code::HolderUnknown,
            Self::Unresizable { .. } => Code::ResizeUnsupported,
            Self::Limit(_) => Code::IsolationFailed,
        }
    }

    /// That a record cannot be read.
    pub fn corrupt(record: &Corrupt) -> Self {
        Self::Corrupt { path: record.path.display().to_string(), why: record.why.clone() }
    }

    /// Whether another user, as a rule root, could have done it.
    pub fn is_denied(&self) -> bool {
        matches!(
            self,
            Self::Path(error) | Self::Store(StoreError::Path(error))
                if error.source.kind() == io::ErrorKind::PermissionDenied
        )
    }

    /// What to do about it, where that is not plain.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Store(StoreError::Lock(LockError::Timeout { holders, .. })) => {
                return holders.way_out();
            }
            Self::AlreadyLeased { .. } => "delete the container first",
            Self::Corrupt { .. } => "stop the container, then start it again",
            Self::Store(StoreError::Insecure { .. }) => {
                "give the directory to root and let only root write to it, or remove it while no lease is held"
            }
            Self::Store(StoreError::Path(_)) => {
                "see whether the file system of the lease directory is full or read-only"
            }
            Self::HolderAlive { .. } => {
                "stop the container; --force drops the lease and leaves the container running with its devices"
            }
            Self::HolderUnknown { .. } => {
                "release it where it was recorded; where that is gone for good, --assume-dead takes it back"
            }
            Self::Moved { .. } => {
                "set `run_dir` back, or stop the containers that hold these leases first"
            }
            Self::Unknown(_) => "`gpulease leases --all` lists them",
            Self::Ambiguous(_) => "give more of the id",
            Self::Unresizable { hint, .. } => hint,
            Self::Limit(_) => "`gpulease doctor` tells what is wrong with what limits the lease",
            _ => return None,
        };
        Some(hint.to_owned())
    }
}
