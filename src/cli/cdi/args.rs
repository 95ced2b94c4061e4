//! The arguments of `gpulease cdi`.

use crate::model::device::Vendor;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand, ValueEnum};
use std::path::{Path, PathBuf};
use std::str::FromStr;

pub(in crate::cli) const CDI_AFTER: &str = "\
Specs are read from /etc/cdi and /var/run/cdi; a device of the second replaces
one of the same name in the first. Engines that support CDI take
`--device nvidia.com/gpu=0`; gpulease leases what they inject. With
`driver = \"cdi\"` gpulease itself uses the specs: see gpulease-config(5).

Examples:
  gpulease cdi list
  gpulease cdi generate --vendor amd --output /etc/cdi/gpulease-amd.yaml";

const GENERATE_AFTER: &str = "\
Driver files have the paths that they have on this host. An image whose loader
looks elsewhere does not find them: request GPUs by annotation for it.

Examples:
  gpulease cdi generate
  gpulease cdi generate --output /etc/cdi
  gpulease cdi generate --vendor nvidia --names uuid --format json";

const LIST_AFTER: &str = "\
Examples:
  gpulease cdi list
  gpulease cdi list --json | jq -r '.devices[].name'";

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum CdiAction {
    /// Write a CDI spec of the node's devices
    ///
    /// One spec for each vendor: its devices by index and UUID, and `all`. Device numbers are left
    /// out, because the engine reads them from the host. In the place of a GPU in MIG mode there
    /// are its instances, `0:1`. Write it anew when devices, MIG instances or the driver change.
    #[command(after_help = GENERATE_AFTER)]
    Generate(GenerateOptions),

    /// Show the devices of the CDI specs, and which of the node's they are
    ///
    /// Also shows what is wrong with the specs. Changes nothing.
    #[command(after_help = LIST_AFTER)]
    List,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct GenerateOptions {
    /// The vendor of the devices: nvidia, amd or intel; needed where there are several vendors and
    /// one file
    #[arg(long, value_name = "VENDOR", value_parser = vendors(), hide_possible_values = true)]
    pub(super) vendor: Option<Vendor>,

    /// The file to write, `-` for stdout, or a directory, for a file `gpulease-VENDOR` in the
    /// format for each vendor [default: -]
    #[arg(long, value_name = "FILE", default_value = "-", hide_default_value = true)]
    pub(super) output: PathBuf,

    /// yaml or json [default: by the file's name, else yaml]
    #[arg(long, value_name = "FORMAT", value_enum, hide_possible_values = true)]
    pub(super) format: Option<SpecFormat>,

    /// The names of the devices: index, uuid or both [default: index,uuid]
    #[arg(
        long,
        value_name = "NAMES",
        value_enum,
        value_delimiter = ',',
        default_value = "index,uuid",
        hide_default_value = true,
        hide_possible_values = true
    )]
    pub(super) names: Vec<NameKind>,

    /// Write a spec of simulated devices too; it says that no program can compute on them
    #[arg(long)]
    pub(super) simulated: bool,
}

/// Takes a vendor by its word.
fn vendors() -> impl TypedValueParser<Value = Vendor> {
    let words = Vendor::ALL.map(|vendor| PossibleValue::new(vendor.as_str()).help(vendor.name()));
    PossibleValuesParser::new(words)
        .try_map(|word| Vendor::from_str(&word).map_err(|()| "not a vendor"))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum SpecFormat {
    /// YAML
    Yaml,
    /// JSON
    Json,
}

impl SpecFormat {
    /// The extension by which readers recognise the format.
    pub(super) const fn extension(self) -> &'static str {
        match self {
            Self::Yaml => "yaml",
            Self::Json => "json",
        }
    }

    /// The format of a file of this name.
    pub(super) fn of(path: &Path) -> Option<Self> {
        ValueEnum::from_str(path.extension()?.to_str()?, false).ok()
    }
}

/// The kind of name that a device has in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum NameKind {
    /// `0`, `0:1`
    Index,
    /// `GPU-…`
    Uuid,
}
