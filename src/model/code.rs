//! Stable codes for every way in which gpulease says no.
//!
//! A code is a promise: it appears in messages, in `--json`, in exit statuses and in the man
//! page, so a code is never renamed and its exit status never changes.

use std::fmt;

/// Why something was refused or failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Code {
    /// The request itself is wrong: unknown key, value out of range, contradiction.
    BadRequest,
    /// The request is well-formed, but asks for machinery that this version does not have.
    NotSupportedYet,
    /// The administrator's policy forbids the request.
    PolicyDenied,
    /// No device has what was asked for, whether leased or not.
    NoMatch,
    /// Devices match, but not enough of them is free now.
    NoCapacity,
    /// Devices match, and on none can the limits be held that the request requires.
    EnforcementUnmet,
    /// A limit could not be set: the MPS daemon does not start, the kernel takes no `dmem.max`.
    IsolationFailed,
    /// The limit of a lease cannot be changed while its container runs.
    ResizeUnsupported,
    /// The container already holds a live lease under this id.
    AlreadyLeased,
    /// The configuration file cannot be used.
    BadConfig,
    /// The inventory is missing, belongs to another boot, or could not be refreshed.
    StaleInventory,
    /// The inventory's source describes something that cannot be true.
    BadInventory,
    /// The lease directory could not be locked in time.
    LockTimeout,
    /// A state file could not be written or read.
    StateUnavailable,
    /// A lease record is unreadable and its container may be alive.
    CorruptLease,
    /// The bundle's `config.json` could not be read or edited.
    BadBundle,
    /// The container's C library is not the one that the driver's libraries are made for.
    LibcMismatch,
    /// The image requires a driver, CUDA version or device that this node does not have.
    RequirementUnmet,
    /// Called from a user namespace or by a user other than root.
    RootlessUnsupported,
    /// A checkpoint cannot be restored with a lease.
    RestoreUnsupported,
    /// No low-level runtime was found or it could not be executed.
    NoRuntime,
    /// No lease has this id.
    UnknownLease,
    /// The lease's holder is alive.
    HolderAlive,
    /// Whether the lease's holder is alive cannot be told from here.
    HolderUnknown,
    /// A hook was called for a lease that is gone or belongs to a later start.
    StaleHook,
}

impl Code {
    #[cfg(any(test, feature = "failpoints"))]
    pub const ALL: &[Self] = &[
        Self::BadRequest,
        Self::NotSupportedYet,
        Self::PolicyDenied,
        Self::NoMatch,
        Self::NoCapacity,
        Self::EnforcementUnmet,
        Self::IsolationFailed,
        Self::ResizeUnsupported,
        Self::AlreadyLeased,
        Self::BadConfig,
        Self::StaleInventory,
        Self::BadInventory,
        Self::LockTimeout,
        Self::StateUnavailable,
        Self::CorruptLease,
        Self::BadBundle,
        Self::LibcMismatch,
        Self::RequirementUnmet,
        Self::RootlessUnsupported,
        Self::RestoreUnsupported,
        Self::NoRuntime,
        Self::UnknownLease,
        Self::HolderAlive,
        Self::HolderUnknown,
        Self::StaleHook,
    ];

    /// The spelling in messages and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad-request",
            Self::NotSupportedYet => "not-supported-yet",
            Self::PolicyDenied => "policy-denied",
            Self::NoMatch => "no-match",
            Self::NoCapacity => "no-capacity",
            Self::EnforcementUnmet => "enforcement-unmet",
            Self::IsolationFailed => "isolation-failed",
            Self::ResizeUnsupported => "resize-unsupported",
            Self::AlreadyLeased => "already-leased",
            Self::BadConfig => "bad-config",
            Self::StaleInventory => "stale-inventory",
            Self::BadInventory => "bad-inventory",
            Self::LockTimeout => "lock-timeout",
            Self::StateUnavailable => "state-unavailable",
            Self::CorruptLease => "corrupt-lease",
            Self::BadBundle => "bad-bundle",
            Self::LibcMismatch => "libc-mismatch",
            Self::RequirementUnmet => "requirement-unmet",
            Self::RootlessUnsupported => "rootless-unsupported",
            Self::RestoreUnsupported => "restore-unsupported",
            Self::NoRuntime => "no-runtime",
            Self::UnknownLease => "unknown-lease",
            Self::HolderAlive => "holder-alive",
            Self::HolderUnknown => "holder-unknown",
            Self::StaleHook => "stale-hook",
        }
    }

    /// The exit status of the `gpulease` command and of the `precreate` hook for this code. (The
    /// shim and the other hooks always exit with 1, as engines expect of an OCI runtime.)
    pub const fn exit_status(self) -> u8 {
        match self {
            Self::BadRequest
            | Self::NotSupportedYet
            | Self::PolicyDenied
            | Self::ResizeUnsupported => 2,
            Self::NoMatch | Self::NoCapacity | Self::EnforcementUnmet | Self::RequirementUnmet => 3,
            Self::BadConfig | Self::BadInventory | Self::StaleInventory => 4,
            Self::LockTimeout
            | Self::StateUnavailable
            | Self::CorruptLease
            | Self::IsolationFailed => 5,
            Self::UnknownLease => 6,
            Self::HolderAlive | Self::HolderUnknown | Self::AlreadyLeased => 7,
            Self::BadBundle
            | Self::LibcMismatch
            | Self::RootlessUnsupported
            | Self::RestoreUnsupported
            | Self::NoRuntime
            | Self::StaleHook => 1,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
