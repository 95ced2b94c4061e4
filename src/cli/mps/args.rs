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
    /// Show the MPS daemons, ours and others', and what they limit their clients to
    ///
    /// INDEX is the device that it serves. LIMIT is what the daemon itself holds every client to, whatever the client's variables say.
    /// A daemon that is `dead` has ended by itself or was killed: the next start puts it right. One
    /// that is `stale` was never started, or before the last boot. A `foreign` one is somebody
    /// else's: it is used where it serves a device, and never configured or stopped. Needs root.
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
    /// By hand it shows what is wrong, and saves the first container the time. Needs root.
    #[command(after_help = "Example:\n  gpulease mps start 0")]
    Start {
        /// The device's index or UUID, or the beginning of one
        #[arg(value_name = "DEVICE")]
        device: String,
    },

    /// Stop the MPS daemon of a device, and undo what was done for it
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

        /// Even if live leases use it: what computes by it fails
        #[arg(long)]
        force: bool,
    },

    /// Have a daemon for a lease, and say where: what a container's start does
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
    /// What follows the end of each container with a share by MPS. By hand it is for what was killed
    /// before it could do that. A daemon of `mps start` stays. Needs root.
    #[command(after_help = "Example:\n  gpulease mps reap --now")]
    Reap {
        /// Without waiting for as long as a daemon may be idle
        #[arg(long)]
        now: bool,

        /// Only those of this device, now, and fail if one stays
        #[arg(long, value_name = "UUID")]
        device: Option<String>,

        /// The lease directory, where the configuration may name another one by now
        #[arg(long, value_name = "DIR")]
        run_dir: Option<PathBuf>,
    },
}
