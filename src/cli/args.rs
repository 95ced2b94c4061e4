//! The arguments, and with them the help texts.

use super::cdi::{CDI_AFTER, CdiAction};
use super::examples::{
    COMPLETIONS_AFTER, DEVICES_AFTER, DOCTOR_AFTER, DRIVER_AFTER, EXPLAIN_AFTER, HEALTH_AFTER,
    INVENTORY_AFTER, LEASES_AFTER, MEMORY_AFTER, PROCESSES_AFTER, RELEASE_AFTER, TOP_AFTER,
    TOPOLOGY_AFTER, UNINSTALL_AFTER, UNINSTALL_PRECREATE,
};
use super::install;
use super::lease::{LEASE_AFTER, LeaseAction};
use super::mig::{MIG_AFTER, MigAction};
use super::mps::{MPS_AFTER, MpsAction};
use super::output::Color;
use super::values::{Shell, profiles, request_words};
use crate::engines::{Engine, EngineFile};
use clap::{Args, Parser, Subcommand};
use std::path::{Path, PathBuf};

/// Leases GPUs to containers: shows what the node has and who holds it, explains what a request
/// would get, and takes leases back.
#[derive(Debug, Parser)]
#[command(
    name = "gpulease",
    version = crate::VERSION,
    about = "Leases GPUs to containers",
    after_help = TOP_AFTER,
    max_term_width = 80,
    subcommand_required = true,
    arg_required_else_help = true,
    infer_long_args = false,
    propagate_version = false
)]
pub(super) struct Cli {
    /// The configuration file [env: GPULEASE_CONFIG] [default: /etc/gpulease/config.toml]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    pub(super) gpulease_config: Option<PathBuf>,

    /// Answer in JSON on stdout, errors too
    #[arg(long, global = true, help_heading = "Global options")]
    pub(super) json: bool,

    /// When to use colour: auto (on a terminal, unless NO_COLOR is
    /// set), always or never
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        value_enum,
        default_value_t = Color::Auto,
        hide_possible_values = true,
        hide_default_value = true,
        help_heading = "Global options"
    )]
    pub(super) color: Color,

    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show the node's devices and what is free of them
    ///
    /// FREE is the compute (1000m is a whole device) and the memory that nobody holds. MEMORY is
    /// what can be leased: all but the driver's own reserve. Dead holders do not count, and
    /// neither do leases in their grace: the next start may have what they had. STATE says why a
    /// device is not granted: another has its UUID or its place (ambiguous), its driver does not
    /// answer for it (unqueryable), it is broken (unhealthy), or processes without a lease compute on it (busy).
    #[command(after_help = DEVICES_AFTER)]
    Devices {
        /// All columns and whole UUIDs, however wide
        #[arg(long)]
        wide: bool,
    },

    /// Show how the GPUs reach each other, and which CPUs are near them
    ///
    /// The words in the matrix are those of `nvidia-smi topo -m`. MIG instances are where their GPU
    /// is, and are not listed.
    #[command(after_help = TOPOLOGY_AFTER)]
    Topology,

    /// Show which processes compute on the devices, and by which lease
    ///
    /// A process that belongs to no lease is `outside`: its devices are busy, and are granted only
    /// as `policy.busy` says. Other users' processes are seen by root alone.
    #[command(after_help = PROCESSES_AFTER)]
    Processes,

    /// Show the vendors' drivers, and what of them a container gets
    #[command(after_help = DRIVER_AFTER)]
    Driver {
        /// Each file, with the names that it has in a container
        #[arg(long)]
        wide: bool,
    },

    /// Show how much memory each device has, and what is leased, used and free of it
    ///
    /// RESERVED is the driver's own and leased to nobody. USED is in use at this moment, by whomever;
    /// FREE TO LEASE is what leases leave, used or not. What nobody can say is `-`.
    #[command(after_help = MEMORY_AFTER)]
    Memory,

    /// Show who holds what
    ///
    /// A lease is `pending` until its container's process exists, then `bound` to it. A lease
    /// whose holder is gone is shown as `dead`; the next container start takes its devices. One
    /// that another pid namespace recorded, as an engine in a container has, is `unjudged` where
    /// its holder cannot be judged from here. This command takes nothing away.
    #[command(after_help = LEASES_AFTER)]
    Leases {
        /// Also released leases in their grace, in which the same container may
        /// have its devices back
        #[arg(long)]
        all: bool,

        /// All columns and whole container ids, however wide
        #[arg(long)]
        wide: bool,
    },

    /// Say what a request would get now, or why it would be refused
    ///
    /// Takes nothing and writes nothing. A KEY is an annotation, with or without its
    /// `gpulease/`. Without any, the annotations are listed.
    #[command(after_help = EXPLAIN_AFTER)]
    Explain {
        /// Annotations of the request
        #[arg(
            value_name = "KEY=VALUE",
            value_parser = request_words(),
            hide_possible_values = true
        )]
        words: Vec<String>,

        /// Read the request out of the config.json of this bundle; KEY=VALUE adds
        /// to it and replaces
        #[arg(long, value_name = "DIR")]
        bundle: Option<PathBuf>,

        /// The id, on the host, of the user that the container's processes run as: an MPS daemon
        /// serves one user [default: the bundle's, else 0]
        #[arg(long, value_name = "UID")]
        user: Option<u32>,
    },

    /// Take a lease back
    ///
    /// Needed only where nothing else does it: a container's end releases its lease, and the
    /// next start takes what dead holders left. A lease whose holder is alive is not released,
    /// unless with --force; one whose holder cannot be judged from here, unless with
    /// --assume-dead or --force. Ends a grace too. Needs root.
    #[command(after_help = RELEASE_AFTER)]
    Release {
        /// The id of a lease or of a container, or an unambiguous beginning of one
        #[arg(value_name = "ID")]
        id: String,

        /// Release even if the holder is alive or cannot be judged: the container keeps its device
        /// nodes and goes on running, and the devices can be given to others, who then share
        /// them with it unknowingly
        #[arg(long)]
        force: bool,

        /// Release if the holder cannot be judged from here: it was recorded in another pid
        /// namespace, as by an engine in a container, and that is gone for good. One that is
        /// known to be alive is not released. The system's log is told
        #[arg(long, conflicts_with = "force")]
        assume_dead: bool,
    },

    /// Change a lease while its container runs
    #[command(after_help = LEASE_AFTER, arg_required_else_help = true)]
    Lease {
        #[command(subcommand)]
        action: LeaseAction,
    },

    /// Find what is wrong with this node, and say how to set it right
    ///
    /// Looks at the configuration, the low-level runtime and its version, gpulease's programs, the
    /// lease directory, the inventory, the GPUs and their drivers, the engines that are installed
    /// and their hooks, and the cgroups. Changes nothing. What cannot be looked at, as by another
    /// user than root, is said.
    #[command(after_help = DOCTOR_AFTER)]
    Doctor {
        /// Also show the checks that passed
        #[arg(short, long)]
        verbose: bool,

        /// Look at the host whose file system lies below DIR, as in a container that
        /// has it mounted there
        #[arg(long, value_name = "DIR")]
        root: Option<PathBuf>,
    },

    /// Say in one line whether containers can be given devices
    ///
    /// Looks at what can break while a node is in use: the configuration, the hook, the lease
    /// directory and its lock, the inventory. For a health check: changes nothing and
    /// is done at once.
    #[command(after_help = HEALTH_AFTER)]
    Health {
        /// Look at the host whose file system lies below DIR, as in a container that
        /// has it mounted there
        #[arg(long, value_name = "DIR")]
        root: Option<PathBuf>,
    },

    /// Show or renew what gpulease knows of the node's devices
    #[command(after_help = INVENTORY_AFTER, arg_required_else_help = true)]
    Inventory {
        #[command(subcommand)]
        action: InventoryAction,
    },

    /// Show the host's CDI specs, or write one of the node's devices
    #[command(after_help = CDI_AFTER, arg_required_else_help = true)]
    Cdi {
        #[command(subcommand)]
        action: CdiAction,
    },

    /// Show, start and stop the MPS daemons that hold shares of NVIDIA's GPUs apart
    #[command(after_help = MPS_AFTER, arg_required_else_help = true)]
    Mps {
        #[command(subcommand)]
        action: MpsAction,
    },

    /// Plan how GPUs are divided into MIG instances
    #[command(after_help = MIG_AFTER, arg_required_else_help = true)]
    Mig {
        #[command(subcommand)]
        action: MigAction,
    },

    /// Have an engine use gpulease
    ///
    /// Adds the runtime `gpulease` to the engine's configuration: gpulease-runtime from the
    /// directory of this program. All else in the file stays as it is. The file as it was is
    /// kept, for `gpulease uninstall`. Can be run again; where nothing is to do, nothing is done.
    #[command(after_help = install::after_help())]
    Install {
        /// docker, podman, containerd or crio
        #[arg(value_name = "ENGINE", value_enum, hide_possible_values = true)]
        engine: Engine,

        /// Make it the runtime of containers that name none
        #[arg(long, conflicts_with = "precreate")]
        default_runtime: bool,

        #[command(flatten)]
        options: InstallOptions,
    },

    /// Have an engine not use gpulease any more
    ///
    /// Restores the file to the byte if nobody has changed it since `gpulease install`, and
    /// otherwise takes out only what gpulease put in. A default runtime becomes what it was
    /// before. Remove the containers that use the runtime first: their engine cannot start
    /// them again without it.
    #[command(after_help = UNINSTALL_AFTER, mut_arg("precreate", |arg| arg.help(UNINSTALL_PRECREATE)))]
    Uninstall {
        /// docker, podman, containerd or crio
        #[arg(value_name = "ENGINE", value_enum, hide_possible_values = true)]
        engine: Option<Engine>,

        /// Undo every `install` that left a record, of all engines
        #[arg(long, conflicts_with_all = ["engine", "config", "precreate"])]
        recorded: bool,

        #[command(flatten)]
        options: InstallOptions,
    },

    /// Print the completions of a shell
    ///
    /// The packages bring them along; for a program that was built by hand, the shell reads them
    /// from the files below.
    #[command(after_help = COMPLETIONS_AFTER)]
    Completions {
        /// bash, zsh or fish
        #[arg(value_name = "SHELL", value_enum, hide_possible_values = true)]
        shell: Shell,
    },
}

/// What `install` and `uninstall` have in common.
#[derive(Debug, Clone, Args)]
pub(super) struct InstallOptions {
    /// The engine's configuration, where it is not in its usual place
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,

    /// Podman without the shim: have it call the hook `gpulease-hook precreate` for every
    /// container, whatever its runtime
    #[arg(long)]
    pub(super) precreate: bool,

    /// Show what would change, and change nothing
    #[arg(long)]
    pub(super) dry_run: bool,

    /// Have the engine read the file, by systemctl; else the command is printed
    #[arg(long, conflicts_with = "dry_run")]
    pub(super) reload: bool,

    /// Where the file as it was is kept [default: /var/lib/gpulease/install]
    #[arg(
        long,
        value_name = "DIR",
        default_value = "/var/lib/gpulease/install",
        hide_default_value = true
    )]
    pub(super) state_dir: PathBuf,

    /// The programs are about to be removed.
    #[arg(skip)]
    pub(super) for_good: bool,
}

impl InstallOptions {
    /// The file to edit.
    pub(super) fn path_of(&self, file: EngineFile) -> &Path {
        self.config.as_deref().unwrap_or_else(|| file.default_path())
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum InventoryAction {
    /// Read the node's devices anew and replace the inventory
    ///
    /// A container start does this by itself when the inventory is missing or out of date; by
    /// hand it shows what is wrong with the devices file. Leases are not touched. Needs root.
    #[command(after_help = "Example:\n  gpulease inventory refresh")]
    Refresh,

    /// Show what the inventory says, and whether it still holds
    ///
    /// An inventory that is out of date is shown with the reason, and is no error: the next
    /// container start renews it. Changes nothing.
    #[command(after_help = "Examples:\n  gpulease inventory show\n  \
                            gpulease inventory show --json | jq .state")]
    Show,

    /// Print a devices file that simulates a node
    ///
    /// To try gpulease on a host without GPUs. Simulated devices are marked as such wherever
    /// they are shown: no program can compute on them.
    #[command(after_help = "Examples:\n  gpulease inventory example\n  \
                            gpulease inventory example h100x8 > /etc/gpulease/devices.toml\n  \
                            gpulease inventory refresh")]
    Example {
        /// Which node; without it the profiles are listed
        #[arg(value_name = "PROFILE", value_parser = profiles(), hide_possible_values = true)]
        profile: Option<String>,
    },
}
