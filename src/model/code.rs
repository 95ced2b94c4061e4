//! Stable codes for every way in which gpulease refuses or fails.
//!
//! A code is a promise: it stands in messages, in `--json`, in exit statuses and in the manual. A
//! code is never renamed, and its exit status never changes.

use super::spelled::spelled;

spelled! {
    /// Why something was refused or failed.
    pub enum Code {
        /// The request itself is wrong: unknown key, value out of range, contradiction.
        BadRequest = "bad-request",
        /// The request is well-formed, but needs something that this version does not have.
        NotSupportedYet = "not-supported-yet",
        /// The administrator's policy forbids the request.
        PolicyDenied = "policy-denied",
        /// No device of the node matches the request, leased or not.
        NoMatch = "no-match",
        /// Enough devices match, but too few of them are free now.
        NoCapacity = "no-capacity",
        /// Devices match, but the limits that the request requires can be held on none of them.
        EnforcementUnmet = "enforcement-unmet",
        /// A limit could not be set: the MPS daemon does not start, or the kernel does not accept
        /// `dmem.max`.
        IsolationFailed = "isolation-failed",
        /// The limit of a lease cannot be changed while its container runs.
        ResizeUnsupported = "resize-unsupported",
        /// The container already holds a live lease under this id.
        AlreadyLeased = "already-leased",
        /// The configuration file cannot be used.
        BadConfig = "bad-config",
        /// The inventory is missing, belongs to another boot, or could not be refreshed.
        StaleInventory = "stale-inventory",
        /// The source of the inventory contains something that cannot be true.
        BadInventory = "bad-inventory",
        /// The lease directory could not be locked in time.
        LockTimeout = "lock-timeout",
        /// A state file could not be written or read.
        StateUnavailable = "state-unavailable",
        /// A lease record is unreadable, and its container may be alive.
        CorruptLease = "corrupt-lease",
        /// The bundle's `config.json` could not be read or edited.
        BadBundle = "bad-bundle",
        /// The container's C library is not the one that the driver's libraries are made for.
        LibcMismatch = "libc-mismatch",
        /// The image requires a driver version, a CUDA version or a device that this node does not
        /// have.
        RequirementUnmet = "requirement-unmet",
        /// The program runs in a user namespace, or as a user other than root.
        RootlessUnsupported = "rootless-unsupported",
        /// A container with a GPU request cannot be restored from a checkpoint.
        RestoreUnsupported = "restore-unsupported",
        /// No low-level runtime was found or it could not be executed.
        NoRuntime = "no-runtime",
        /// No lease has this id.
        UnknownLease = "unknown-lease",
        /// The lease's holder is alive.
        HolderAlive = "holder-alive",
        /// It cannot be told from here whether the lease's holder is alive.
        HolderUnknown = "holder-unknown",
        /// A hook was called for a lease that is gone or belongs to a later start.
        StaleHook = "stale-hook",
    }
}

impl Code {
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
