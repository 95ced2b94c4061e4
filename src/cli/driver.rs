//! `gpulease driver`: the vendors' drivers, and the files of them that a container gets.

use super::output::{Answer, Output, Paint};
use super::words;
use crate::config::DriverSetting;
use crate::failure::Failure;
use crate::host::Host;
use crate::inventory::Inventory;
use crate::model::device::Vendor;
use crate::model::driver::{Capability, Driver, DriverFile};
use crate::model::text::{shown, shown_line};
use crate::paths::Paths;
use crate::start::lowlevel::{choose, vendor_of};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;

/// The capabilities that a file can have.
fn capabilities() -> impl Iterator<Item = Capability> {
    Capability::ALL.into_iter().filter(|capability| *capability != Capability::All)
}

pub(super) fn driver(host: &Host, wide: bool, output: &Output) -> Result<Answer, Failure> {
    let config = host.config()?;
    let inventory = host.inventory_now(config)?;
    let module = Module::look(&host.paths);
    let vendor = choose(host).ok().and_then(|choice| vendor_of(&choice.path));
    let (way, resolved) = (config.driver, resolved(config.driver, vendor, &inventory));
    let drivers = drivers(&inventory, module.as_ref());
    let json = json!({
        "drivers": drivers.iter().map(|driver| to_json(driver, module.as_ref())).collect::<Vec<_>>(),
        "setting": way.as_str(),
        "way": resolved.as_str(),
        "notes": inventory.notes,
    });
    let mut text = String::new();
    for driver in &drivers {
        text.push_str(&paragraph(driver, module.as_ref(), wide, output));
        text.push('\n');
    }
    if drivers.is_empty() {
        text.push_str("no driver: no vendor's kernel module was found\n\n");
    }
    text.push_str(&words::wrapped("driver = ", &meaning(way, resolved, &inventory)));
    text.push_str(&notes(&inventory, output));
    text.push_str(&words::simulated_footer(&inventory.node.devices, output));
    Ok(Answer::new(text, json))
}

/// What the inventory has to say besides its devices.
pub(super) fn notes(inventory: &Inventory, output: &Output) -> String {
    inventory
        .notes
        .iter()
        .map(|note| output.line(Paint::Cyan, "note:", &shown_line(note)))
        .collect()
}

/// What it comes to on this node; each container may do without, by what is in its image.
fn resolved(way: DriverSetting, vendor: Option<Vendor>, inventory: &Inventory) -> DriverSetting {
    let has_files = inventory.drivers.iter().any(|driver| !driver.files.is_empty());
    way.comes_to(vendor.is_some(), has_files, !inventory.cdi.is_empty())
}

/// The setting, and what it comes to.
fn meaning(way: DriverSetting, resolved: DriverSetting, inventory: &Inventory) -> String {
    let has_files = inventory.drivers.iter().any(|driver| !driver.files.is_empty());
    let brings = match resolved {
        DriverSetting::Native if !has_files => {
            "there are no driver files, and containers with NVIDIA's GPUs are refused"
        }
        DriverSetting::Cdi if inventory.cdi.is_empty() => {
            "no CDI spec describes a device of this node, and containers with GPUs are refused"
        }
        DriverSetting::Auto | DriverSetting::None => {
            "containers get device nodes and variables, and no driver files"
        }
        DriverSetting::Native => "gpulease puts NVIDIA's driver files into containers",
        DriverSetting::Cdi => "the host's CDI specs say which driver files containers get",
        DriverSetting::Chain => "the vendor's runtime puts the driver files into containers",
    };
    let comes_to = if way == resolved { String::new() } else { format!(" comes to {resolved}") };
    format!("{way}{comes_to}: {brings}")
}

/// NVIDIA's kernel module, as procfs tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Module {
    version: String,
    /// Whether it is the one whose source is open.
    open: bool,
}

impl Module {
    fn look(paths: &Paths) -> Option<Self> {
        Self::parse(&fs::read_to_string(paths.proc.join("driver/nvidia/version")).ok()?)
    }

    /// `NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.54.15  Release Build …`
    fn parse(text: &str) -> Option<Self> {
        let line = text.lines().find(|line| line.starts_with("NVRM version:"))?;
        let is_version = |word: &&str| {
            word.contains('.') && word.split('.').all(|part| part.parse::<u32>().is_ok())
        };
        let version = line.split_whitespace().find(is_version)?.to_owned();
        Some(Self { version, open: line.contains("Open Kernel Module") })
    }
}

/// Those of the inventory; and NVIDIA's where its module is loaded and nothing was found of the rest.
fn drivers(inventory: &Inventory, module: Option<&Module>) -> Vec<Driver> {
    let mut drivers = inventory.drivers.clone();
    let is_known = drivers.iter().any(|driver| driver.vendor == Vendor::Nvidia);
    if let Some(module) = module.filter(|_| !is_known) {
        drivers.push(Driver {
            vendor: Vendor::Nvidia,
            version: Some(module.version.clone()),
            cuda: None,
            library: None,
            root: "/".to_owned(),
            files: Vec::new(),
        });
    }
    drivers
}

/// Whether the kernel module is the open one; only of NVIDIA are there two.
fn is_open(driver: &Driver, module: Option<&Module>) -> Option<bool> {
    module.filter(|_| driver.vendor == Vendor::Nvidia).map(|module| module.open)
}

fn count(driver: &Driver, capability: Capability) -> usize {
    let has = |file: &&DriverFile| file.capabilities.contains(&capability);
    driver.files.iter().filter(has).count()
}

fn paragraph(driver: &Driver, module: Option<&Module>, wide: bool, output: &Output) -> String {
    let version = match &driver.version {
        Some(version) => shown(version),
        None => "no kernel module".to_owned(),
    };
    let kind = match is_open(driver, module) {
        Some(true) => " (open kernel module)",
        Some(false) => " (proprietary kernel module)",
        None => "",
    };
    let name = output.paint(Paint::Bold, driver.vendor.name());
    let mut text = format!("{name} {version}{kind}\n");
    let mut line = |title: &str, value: &str| {
        text.push_str(&words::wrapped(&format!("  {title:<7}"), value));
    };
    for (title, value) in [("CUDA:", &driver.cuda), ("NVML:", &driver.library)] {
        if let Some(value) = value {
            line(title, &shown(value));
        }
    }
    line("root:", &shown(&driver.root));
    let counts = capabilities().filter_map(|capability| {
        let count = count(driver, capability);
        (count > 0).then(|| format!("{count} {}", capability.as_str()))
    });
    let counts = counts.collect::<Vec<_>>().join(", ");
    match driver.files.len() {
        0 => line("files:", "none that a container needs of the host"),
        all => line("files:", &format!("{all}: {counts}")),
    }
    for file in driver.files.iter().filter(|_| wide) {
        text.push_str(&in_full(file));
    }
    text
}

/// A file with the names that it has in a container, where these differ.
fn in_full(file: &DriverFile) -> String {
    let capabilities: Vec<&str> = file.capabilities.iter().map(|c| c.as_str()).collect();
    let mut text = format!("    {}  {}\n", shown(&file.path), capabilities.join(","));
    let names: BTreeSet<&str> = file.names.iter().map(String::as_str).collect();
    for name in names.into_iter().filter(|name| *name != file.path) {
        text.push_str(&format!("      {}\n", shown(name)));
    }
    text
}

fn to_json(driver: &Driver, module: Option<&Module>) -> Value {
    let counts = capabilities();
    let counts: serde_json::Map<String, Value> =
        counts.map(|c| (c.as_str().to_owned(), json!(count(driver, c)))).collect();
    json!({
        "vendor": driver.vendor,
        "version": driver.version,
        "open": is_open(driver, module),
        "cuda": driver.cuda,
        "library": driver.library,
        "root": driver.root,
        "counts": counts,
        "files": driver.files,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::model::driver::FileKind;

    #[test]
    fn the_open_module_is_told_from_the_other() {
        let of = |text| Module::parse(text).map(|module| (module.version, module.open));
        let open = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.54.15  Release \
                    Build  (dvs-builder@U16-I2)\nGCC version:  gcc version 12.2.0\n";
        assert_eq!(of(open), Some(("550.54.15".to_owned(), true)));
        let closed = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  470.223.02  Sat Oct  7 \
                      15:39:11 UTC 2023\n";
        assert_eq!(of(closed), Some(("470.223.02".to_owned(), false)));
        assert_eq!(of("NVRM version: none\n"), None);
        assert_eq!(of("GCC version:  gcc version 12.2.0\n"), None);
    }

    #[test]
    fn auto_comes_to_what_this_host_has() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::below(dir.path());
        fs::create_dir_all(paths.proc.join("sys/kernel/random")).unwrap();
        fs::write(paths.proc.join("sys/kernel/random/boot_id"), "5f1c09ab-77de\n").unwrap();
        let config = Config::of(&paths);
        let mut inventory = crate::inventory::scan(&paths, &config).unwrap();
        let file = DriverFile {
            path: "/a/libcuda.so.1.2".into(),
            kind: FileKind::Library,
            names: Vec::new(),
            capabilities: vec![Capability::Compute],
        };
        let files = vec![file];
        let (root, version) = ("/".to_owned(), Some("1.2".to_owned()));
        let vendor = Vendor::Nvidia;
        inventory.drivers =
            vec![Driver { vendor, version, cuda: None, library: None, root, files }];
        let of = |way, inventory: &Inventory| resolved(way, None, inventory);
        assert_eq!(of(DriverSetting::Auto, &inventory), DriverSetting::Native);
        assert_eq!(of(DriverSetting::None, &inventory), DriverSetting::None);
        assert_eq!(resolved(DriverSetting::Auto, Some(vendor), &inventory), DriverSetting::Chain);
        inventory.drivers.clear();
        assert_eq!(of(DriverSetting::Auto, &inventory), DriverSetting::None);
        assert_eq!(of(DriverSetting::Native, &inventory), DriverSetting::Native);
    }

    #[test]
    fn a_driver_is_told_with_its_files() {
        let file = |path: &str, names: &[&str], capabilities: &[Capability]| DriverFile {
            path: path.to_owned(),
            kind: FileKind::Library,
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            capabilities: capabilities.to_vec(),
        };
        let driver = Driver {
            vendor: Vendor::Nvidia,
            version: Some("550.54.15".to_owned()),
            cuda: Some("12.4".to_owned()),
            library: None,
            root: "/run/nvidia/driver".to_owned(),
            files: vec![
                file("/a/libcuda.so.550.54.15", &["libcuda.so.1"], &[Capability::Compute]),
                file("/a/\u{1b}x.so", &[], &[Capability::Compute, Capability::Video]),
            ],
        };
        let module = Module { version: "550.54.15".to_owned(), open: true };
        let output = Output::of_width(None);
        let text = paragraph(&driver, Some(&module), false, &output);
        assert_eq!(
            text,
            "NVIDIA 550.54.15 (open kernel module)\n  CUDA:  12.4\n  root:  /run/nvidia/driver\n  \
             files: 2: 2 compute, 1 video\n"
        );
        let wide = paragraph(&driver, None, true, &output);
        assert!(wide.contains("    /a/libcuda.so.550.54.15  compute\n      libcuda.so.1\n"));
        assert!(!wide.contains('\u{1b}') && !wide.contains("kernel module"), "{wide}");
        let told = to_json(&driver, Some(&module));
        assert_eq!((&told["counts"]["compute"], &told["open"]), (&json!(2), &json!(true)));
        let amd = Driver { vendor: Vendor::Amd, ..driver };
        assert_eq!(to_json(&amd, Some(&module))["open"], Value::Null);
    }
}
