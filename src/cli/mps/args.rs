//! The arguments of `gpulease mps`.

use clap::{ArgGroup, Subcommand};
use std::path::PathBuf;

pub(in crate::cli) const MPS_AFTER: &str = "\
Examples:
  gpulease mps status
  gpulease mps status --json | jq '.daemons[] | select(.state != \"running\")'
  gpulease mps start 0
  gpulease mps stop GPU-5d5ba0d6-1d3f-4a5b-9c9a-5c2b6f0c7d01
  gpulease mps stop --all
  gpulease mps reap --now";

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum MpsAction {
    /// Show the MPS daemons of this host, and the limits of their clients
    ///
    /// INDEX is the device that a daemon serves. LIMIT is the daemon's own limit of each client's
    /// compute, whatever the client's variables say. A `dead` daemon has ended by itself or was
    /// killed: the next start replaces it. A `stale` one was never started, or before the last
    /// boot. A `foreign` one was not started by gpulease: containers use it where it serves their
    /// device, and gpulease never configures or stops it. Needs root.
    #[command(after_help = "Examples:\n  gpulease mps status\n  \
                            gpulease mps status --json | jq .control")]
    Status {
        /// All columns and whole UUIDs, however wide
        #[arg(long)]
        wide: bool,
    },

    /// Start the MPS daemon of a device, and keep it until `gpulease mps stop`
    ///
    /// A container's start does this by itself, and the daemon ends some time after its last lease.
    /// By hand it shows errors before a container needs the daemon, and saves the first container
    /// the time. Needs root.
    #[command(after_help = "Example:\n  gpulease mps start 0")]
    Start {
        /// The device's index or UUID, or the beginning of one
        #[arg(value_name = "DEVICE")]
        device: String,
    },

    /// Stop the MPS daemon of a device, and undo all that was done for it
    ///
    /// Refused while live leases use it. Needs root.
    #[command(
        after_help = "Examples:\n  gpulease mps stop 0\n  gpulease mps stop --all",
        group = ArgGroup::new("which").required(true).args(["device", "all"])
    )]
    Stop {
        /// The device's index or UUID, or the beginning of one; or the daemon's own name
        #[arg(value_name = "DEVICE")]
        device: Option<String>,

        /// All daemons of gpulease
        #[arg(long)]
        all: bool,

        /// Even if live leases use it: their computing fails
        #[arg(long)]
        force: bool,
    },

    /// Have a daemon for a lease, and say where, as a container's start does
    #[command(hide = true)]
    Attach {
        /// The name of the lease's file, without its `.json`
        #[arg(long, value_name = "KEY")]
        key: String,

        /// The lease's nonce
        #[arg(long, value_name = "NONCE")]
        nonce: String,
    },

    /// End the daemons that serve no lease, and lower the limits of the others
    ///
    /// This follows the end of each container with a share by MPS. By hand it is needed where that
    /// was killed. A daemon of `gpulease mps start` stays. Needs root.
    #[command(after_help = "Example:\n  gpulease mps reap --now")]
    Reap {
        /// Without waiting for `mps.stop_grace`, the time that a daemon may be idle
        #[arg(long)]
        now: bool,

        /// Only those of this device, now, and fail if one stays
        #[arg(long, value_name = "UUID")]
        device: Option<String>,

        /// The lease directory, if the configuration names another one by now
        #[arg(long, value_name = "DIR")]
        run_dir: Option<PathBuf>,
    },
}
