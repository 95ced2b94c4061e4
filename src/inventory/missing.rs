//! Words for a node without devices.

use crate::config::{Config, Source};
use crate::model::device::Vendor;
use crate::model::text::shown;

/// The way out on a node without devices. Only the source `static` reads a file that simulates some.
pub fn find_devices(config: &Config) -> &'static str {
    if config.sources.is_empty() {
        return "leave `sources` out of the configuration for its default, or list some";
    }
    if !config.sources.contains(&Source::Static) {
        return "load the GPUs' driver (nvidia, amdgpu), then run `gpulease inventory refresh`; \
                without GPUs, list `static` in `sources`, and `gpulease inventory example` \
                simulates some";
    }
    "load the GPUs' driver (nvidia, amdgpu), then run `gpulease inventory refresh`; without GPUs, \
     `gpulease inventory example` simulates some"
}

/// Says where devices were looked for in vain: `no devices: …`.
pub fn no_devices(config: &Config) -> String {
    let file = config.devices_file.display().to_string();
    let file = match config.devices_file.exists() {
        true => format!("`{}` has none", shown(&file)),
        false => format!("`{}` is not there", shown(&file)),
    };
    let vendors = [
        (Source::Nvidia, Vendor::Nvidia),
        (Source::Amd, Vendor::Amd),
        (Source::Intel, Vendor::Intel),
    ];
    let vendors = vendors.into_iter().filter(|(source, _)| config.sources.contains(source));
    let names: Vec<&str> = vendors.map(|(_, vendor)| vendor.name()).collect();
    let found = format!("no GPU of {} was found", names.join(" or "));
    let all = [
        config.sources.contains(&Source::Static).then_some(file),
        (!names.is_empty()).then_some(found),
    ];
    match all.into_iter().flatten().collect::<Vec<_>>().join(", and ") {
        none if none.is_empty() => "no devices: `sources` in the configuration is empty".to_owned(),
        why => format!("no devices: {why}"),
    }
}
