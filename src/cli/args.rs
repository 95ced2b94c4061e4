//! The arguments and the help texts.

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
    /// FREE is the compute and the memory that no lease holds; 1000m is a whole device. The leases
    /// of dead holders and leases in their grace do not count, because the next start may have
    /// their devices. MEMORY is all memory but the driver's own reserve. STATE says why a device is
    /// not granted: another device has its UUID or its address (ambiguous), its driver does not
    /// answer for it (unqueryable), it is broken (unhealthy), or processes without a lease compute
    /// on it (busy).
    #[command(after_help = DEVICES_AFTER)]
    Devices {
        /// Show all columns and whole UUIDs
        #[arg(long)]
        wide: bool,
    },

    /// Show how the GPUs reach each other, and which CPUs are near them
    ///
    /// The words in the matrix are those of `nvidia-smi topo -m`. MIG instances are not listed:
    /// they are where their GPU is.
    #[command(after_help = TOPOLOGY_AFTER)]
    Topology,

    /// Show which processes compute on the devices, and by which lease
    ///
    /// A process that belongs to no lease is `outside`. Its devices are busy, and are granted only
    /// as `policy.busy` allows. Only root sees the processes of other users.
    #[command(after_help = PROCESSES_AFTER)]
    Processes,

    /// Show the vendors' drivers, and the files of each that a container gets
    #[command(after_help = DRIVER_AFTER)]
    Driver {
        /// Show each file with the names that it has in a container
        #[arg(long)]
        wide: bool,
    },

    /// Show how much memory each device has, and how much is leased, used and free
    ///
    /// RESERVED is the driver's own memory, which is not leased. USED is the memory in use now,
    /// with and without leases. FREE TO LEASE is the memory that no lease holds, even if it is in
    /// use. A value that cannot be read is `-`.
    #[command(after_help = MEMORY_AFTER)]
    Memory,

    /// Show the leases and their holders
    ///
    /// A lease is `pending` until its container's process exists, then `bound` to it. A lease
    /// whose holder is gone is `dead`: the next container start takes its devices. A lease is
    /// `unjudged` if its holder cannot be judged from here, because an engine in a container has
    /// recorded it. This command changes nothing.
    #[command(after_help = LEASES_AFTER)]
    Leases {
        /// Show also released leases in their grace, in which the same container
        /// may have its devices back
        #[arg(long)]
        all: bool,

        /// Show all columns and whole container ids
        #[arg(long)]
        wide: bool,
    },

    /// Say what a request would get now, or why it would be refused
    ///
    /// The command takes nothing and writes nothing. A KEY is an annotation, with or without its
    /// `gpulease/`. Without arguments the command lists the annotations.
    #[command(after_help = EXPLAIN_AFTER)]
    Explain {
        /// Annotations of the request
        #[arg(
            value_name = "KEY=VALUE",
            value_parser = request_words(),
            hide_possible_values = true
        )]
        words: Vec<String>,

        /// Read the request from the config.json of this bundle; each KEY=VALUE is
        /// added, or replaces one of the bundle
        #[arg(long, value_name = "DIR")]
        bundle: Option<PathBuf>,

        /// The host's id of the container's user, because an MPS daemon serves one
        /// user [default: the bundle's user, else 0]
        #[arg(long, value_name = "UID")]
        user: Option<u32>,
    },

    /// Take a lease back
    ///
    /// As a rule this is not needed: a container's end releases its lease, and the next start takes
    /// the devices of dead holders. Without options only the lease of a dead holder is released, or
    /// one in its grace. The command needs root.
    #[command(after_help = RELEASE_AFTER)]
    Release {
        /// The id of a lease or of a container, or an unambiguous beginning of one
        #[arg(value_name = "ID")]
        id: String,

        /// Release the lease even if its holder is alive or cannot be judged. The
        /// container goes on running and keeps its device nodes. Other containers
        /// can get the devices, and then share them with it unknowingly
        #[arg(long)]
        force: bool,

        /// Release the lease if its holder cannot be judged from here, because an
        /// engine in a container has recorded it, and that container is gone for
        /// good. A lease whose holder is alive is not released. The system's log
        /// gets a line about it
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
    /// The command looks at the configuration, the low-level runtime and its version, gpulease's
    /// programs, the lease directory, the inventory, the GPUs and their drivers, the installed
    /// engines and their hooks, and the cgroups. It changes nothing. A note names each file that
    /// this user cannot read.
    #[command(after_help = DOCTOR_AFTER)]
    Doctor {
        /// Also show the checks that passed
        #[arg(short, long)]
        verbose: bool,

        /// Look at the host whose root is mounted at DIR, for a container that has
        /// it there
        #[arg(long, value_name = "DIR")]
        root: Option<PathBuf>,
    },

    /// Say in one line whether containers can be given devices
    ///
    /// The command is for a health check. It looks at the parts that can break while a node is in
    /// use: the configuration, the hook, the lease directory and its lock, the inventory. It
    /// changes nothing and is done at once.
    #[command(after_help = HEALTH_AFTER)]
    Health {
        /// Look at the host whose root is mounted at DIR, for a container that has
        /// it there
        #[arg(long, value_name = "DIR")]
        root: Option<PathBuf>,
    },

    /// Show or renew the inventory of the node's devices
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

    /// Make an engine use gpulease
    ///
    /// The command adds the runtime `gpulease` to the engine's configuration: gpulease-runtime from
    /// the directory of this program. All else in the file stays as it is. A copy of the file as it
    /// was is kept for `gpulease uninstall`. The command can be run again.
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

    /// Make an engine stop using gpulease
    ///
    /// The command restores the file to the byte if it is unchanged since `gpulease install`.
    /// Otherwise it removes only the additions of gpulease. A default runtime becomes what it was
    /// before. Remove the containers that use the runtime first: their engine cannot start them
    /// again without it.
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
    /// The packages install the completions. For a program that was built by hand, write them to
    /// the files below, where the shell reads them.
    #[command(after_help = COMPLETIONS_AFTER)]
    Completions {
        /// bash, zsh or fish
        #[arg(value_name = "SHELL", value_enum, hide_possible_values = true)]
        shell: Shell,
    },
}

/// The options of both `install` and `uninstall`.
#[derive(Debug, Clone, Args)]
pub(super) struct InstallOptions {
    /// The engine's configuration, where it is not in its usual place
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,

    /// For Podman without the shim: make it call the hook `gpulease-hook
    /// precreate` for every container, whatever its runtime
    #[arg(long)]
    pub(super) precreate: bool,

    /// Show what would change, and change nothing
    #[arg(long)]
    pub(super) dry_run: bool,

    /// Make the engine read the file, by systemctl; otherwise the command is
    /// printed
    #[arg(long, conflicts_with = "dry_run")]
    pub(super) reload: bool,

    /// The directory for the copies of files as they were [default:
    /// /var/lib/gpulease/install]
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
    /// A container start does this by itself when the inventory is missing or out of date. By hand
    /// it shows what is wrong with the devices file. Leases are not touched. The command needs
    /// root.
    #[command(after_help = "Example:\n  gpulease inventory refresh")]
    Refresh,

    /// Show the inventory, and whether it is up to date
    ///
    /// An inventory that is out of date is shown with the reason. It is no error: the next
    /// container start renews it. The command changes nothing.
    #[command(after_help = "Examples:\n  gpulease inventory show\n  \
                            gpulease inventory show --json | jq .state")]
    Show,

    /// Print a devices file that simulates a node
    ///
    /// Such a file is for a trial on a host without GPUs. Simulated devices are marked wherever
    /// they are shown: no program can compute on them.
    #[command(after_help = "Examples:\n  gpulease inventory example\n  \
                            gpulease inventory example h100x8 > /etc/gpulease/devices.toml\n  \
                            gpulease inventory refresh")]
    Example {
        /// The node to simulate; without it the profiles are listed
        #[arg(value_name = "PROFILE", value_parser = profiles(), hide_possible_values = true)]
        profile: Option<String>,
    },
}
