//! The arguments of `gpulease mig`.

use crate::cli::values::mig_profiles;
use clap::{Args, Subcommand};

pub(in crate::cli) const MIG_AFTER: &str = "\
Example:
  gpulease mig plan --gpu 0 1g.10gb*3 4g.40gb";

const PLAN_AFTER: &str = "\
A set that does not fit is refused, with the reason. A shell can read the
answer: all but the commands is a comment. The commands are comments too for a
GPU that is simulated or not on this node; with --json, `commands` is empty then
and `commands_for_a_real_gpu` has them. `3g.40gb:4` is an instance whose memory
begins at slot 4, in the arguments as in the commands. A reboot removes
instances.

Examples:
  gpulease mig plan --gpu 0 1g.10gb 1g.10gb 3g.40gb
  gpulease mig plan --gpu 0,1 --replace '1g.10gb*7' | sudo sh -e
  gpulease mig plan --model 'A100 80GB' 4g.40gb 2g.20gb 1g.10gb";

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum MigAction {
    /// Print the nvidia-smi commands that divide GPUs into MIG instances
    ///
    /// Runs none of them. NVIDIA's tables for A30, A100, H100, GH200, H200, B200 and GB200 say which
    /// instances fit on a GPU together, and where.
    #[command(after_help = PLAN_AFTER)]
    Plan(PlanOptions),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct PlanOptions {
    /// The GPUs: indices or UUIDs, separated by commas; all are divided in the same way
    #[arg(long, value_name = "GPU", value_delimiter = ',', conflicts_with = "model")]
    pub(super) gpu: Vec<String>,

    /// Plan for a GPU that is not on this node: its model, with the memory where that differs, as
    /// in 'A100 80GB'
    #[arg(long, value_name = "NAME")]
    pub(super) model: Option<String>,

    /// Destroy the present instances first; refused while one is leased
    #[arg(long, conflicts_with = "model")]
    pub(super) replace: bool,

    /// The number of instances of each profile [default: 1]
    #[arg(long, value_name = "N", default_value_t = 1, hide_default_value = true)]
    pub(super) count: u8,

    /// Sizes of instances, as `nvidia-smi mig -lgip` names them; `1g.10gb*7` are seven,
    /// and `3g.40gb:4` begins at slot 4
    #[arg(
        value_name = "PROFILE",
        required = true,
        value_parser = mig_profiles(),
        hide_possible_values = true
    )]
    pub(super) profiles: Vec<String>,
}
