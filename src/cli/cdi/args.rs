//! The arguments of `gpulease cdi`.

use crate::model::device::Vendor;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand, ValueEnum};
use std::path::{Path, PathBuf};
use std::str::FromStr;

pub(in crate::cli) const CDI_AFTER: &str = "\
Specs are read from /etc/cdi, then /var/run/cdi; a device of the second stands
for one of the same name in the first. Engines that know CDI take
`--device nvidia.com/gpu=0`; gpulease adopts what they inject. With
`driver = \"cdi\"` gpulease itself goes by the specs: see gpulease-config(5).

Examples:
  gpulease cdi list
  gpulease cdi generate --vendor amd --output /etc/cdi/gpulease-amd.yaml";

const GENERATE_AFTER: &str = "\
Driver files come under the paths that they have on this host. An image whose
loader looks elsewhere does not find them: a lease by gpulease, which asks for
GPUs by annotation, is the better way then.

Examples:
  gpulease cdi generate
  gpulease cdi generate --output /etc/cdi
  gpulease cdi generate --vendor nvidia --names uuid --format json";

const LIST_AFTER: &str = "\
Examples:
  gpulease cdi list
  gpulease cdi list --json | jq -r '.devices[].name'";

/// What to do with CDI specs.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum CdiAction {
    /// Write a CDI spec of the node's devices
    ///
    /// One spec for a vendor: its devices by index and UUID, and `all`. Device numbers are left
    /// out, as whoever applies the spec reads them from the host. GPUs in MIG mode are left out
    /// for their instances, `0:1`. Write it anew when devices, MIG instances or the driver change.
    #[command(after_help = GENERATE_AFTER)]
    Generate(Generate),

    /// Show the devices of the CDI specs, and which of the node's they are
    ///
    /// With what is wrong with the specs. Changes nothing.
    #[command(after_help = LIST_AFTER)]
    List,
}

/// What to write, and where.
#[derive(Debug, Args)]
pub(in crate::cli) struct Generate {
    /// Whose devices: nvidia, amd or intel; needed where there are several vendors and one file
    #[arg(long, value_name = "VENDOR", value_parser = vendors(), hide_possible_values = true)]
    pub(super) vendor: Option<Vendor>,

    /// The file to write, `-` for stdout, or a directory, for a file `gpulease-VENDOR` in the
    /// format for each vendor [default: -]
    #[arg(long, value_name = "FILE", default_value = "-", hide_default_value = true)]
    pub(super) output: PathBuf,

    /// yaml or json [default: by the file's name, else yaml]
    #[arg(long, value_name = "FORMAT", value_enum, hide_possible_values = true)]
    pub(super) format: Option<Format>,

    /// What the devices are called: index, uuid or both [default: index,uuid]
    #[arg(
        long,
        value_name = "NAMES",
        value_enum,
        value_delimiter = ',',
        default_value = "index,uuid",
        hide_default_value = true,
        hide_possible_values = true
    )]
    pub(super) names: Vec<Name>,

    /// Also of simulated devices, which no program can compute on; the spec says so
    #[arg(long)]
    pub(super) simulated: bool,
}

/// Takes a vendor by its word.
fn vendors() -> impl TypedValueParser<Value = Vendor> {
    let words = Vendor::ALL.map(|vendor| PossibleValue::new(vendor.as_str()).help(vendor.name()));
    PossibleValuesParser::new(words)
        .try_map(|word| Vendor::from_str(&word).map_err(|()| "it is no vendor"))
}

/// How a spec is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// YAML
    Yaml,
    /// JSON
    Json,
}

impl Format {
    /// The end of a file's name, by which readers know it.
    pub(super) const fn extension(self) -> &'static str {
        match self {
            Self::Yaml => "yaml",
            Self::Json => "json",
        }
    }

    /// That of a file with this name.
    pub(super) fn of(path: &Path) -> Option<Self> {
        ValueEnum::from_str(path.extension()?.to_str()?, false).ok()
    }
}

/// By what a device is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Name {
    /// `0`, `0:1`
    Index,
    /// `GPU-…`
    Uuid,
}
