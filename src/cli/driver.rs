//! `gpulease driver`: the vendors' drivers, and the files of them that a container gets.

use super::output::{Answer, Output, Paint};
use super::{words, wrap};
use crate::config::DriverSetting;
use crate::failure::Failure;
use crate::host::Host;
use crate::inventory::nvidia::KernelModule;
use crate::model::driver::DriverFile;
use crate::model::text::shown;
use crate::view::driver::{DriverView, DriversView};
use std::collections::BTreeSet;

pub(super) fn driver(host: &Host, wide: bool, output: &Output) -> Result<Answer, Failure> {
    let inventory = host.inventory_now(host.config()?)?;
    let module = KernelModule::look(&host.paths);
    let view = DriversView::of(host, &inventory, module.as_ref())?;
    let mut text = String::new();
    for driver in &view.drivers {
        text.push_str(&paragraph(driver, wide, output));
        text.push('\n');
    }
    if view.drivers.is_empty() {
        text.push_str("no driver: no vendor's kernel module was found\n\n");
    }
    text.push_str(&wrap::wrapped("driver = ", &meaning(&view)));
    text.push_str(&words::notes(view.notes, output));
    text.push_str(&words::simulated_footer(&inventory.node.devices, output));
    Ok(Answer::of(text, &view))
}

/// The setting, the mode that it comes to, and what that means for containers.
fn meaning(view: &DriversView<'_>) -> String {
    let (setting, mode) = (view.setting, view.way);
    let effect = match mode {
        DriverSetting::Native if !view.has_files() => {
            "there are no driver files, and containers with NVIDIA's GPUs are refused"
        }
        DriverSetting::Cdi if !view.has_cdi => {
            "no CDI spec describes a device of this node, and containers with GPUs are refused"
        }
        DriverSetting::Auto | DriverSetting::None => {
            "containers get device nodes and variables, and no driver files"
        }
        DriverSetting::Native => "gpulease puts NVIDIA's driver files into containers",
        DriverSetting::Cdi => "the host's CDI specs say which driver files containers get",
        DriverSetting::Chain => "the vendor's runtime puts the driver files into containers",
    };
    let comes_to = if setting == mode { String::new() } else { format!(" comes to {mode}") };
    format!("{setting}{comes_to}: {effect}")
}

fn paragraph(driver: &DriverView<'_>, wide: bool, output: &Output) -> String {
    let version = match driver.version {
        Some(version) => shown(version),
        None => "no kernel module".to_owned(),
    };
    let kind = match driver.open {
        Some(true) => " (open kernel module)",
        Some(false) => " (proprietary kernel module)",
        None => "",
    };
    let name = output.paint(Paint::Bold, driver.vendor.name());
    let mut text = format!("{name} {version}{kind}\n");
    let mut line = |title: &str, value: &str| {
        text.push_str(&wrap::wrapped(&format!("  {title:<7}"), value));
    };
    for (title, value) in [("CUDA:", driver.cuda), ("NVML:", driver.library)] {
        if let Some(value) = value {
            line(title, &shown(value));
        }
    }
    line("root:", &shown(driver.root));
    let counts = driver.counts.each().into_iter().filter(|(_, count)| *count > 0);
    let counts = counts.map(|(capability, count)| format!("{count} {capability}"));
    match driver.files.len() {
        0 => line("files:", "none that a container needs of the host"),
        all => line("files:", &format!("{all}: {}", counts.collect::<Vec<_>>().join(", "))),
    }
    for file in driver.files.iter().filter(|_| wide) {
        text.push_str(&in_full(file));
    }
    text
}

/// A file with the names that it has in a container, where they differ from its path.
fn in_full(file: &DriverFile) -> String {
    let capabilities: Vec<&str> = file.capabilities.iter().map(|c| c.as_str()).collect();
    let mut text = format!("    {}  {}\n", shown(&file.path), capabilities.join(","));
    let names: BTreeSet<&str> = file.names.iter().map(String::as_str).collect();
    for name in names.into_iter().filter(|name| *name != file.path) {
        text.push_str(&format!("      {}\n", shown(name)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::device::Vendor;
    use crate::model::driver::{Capability, Driver, FileKind};
    use serde_json::{Value, json};

    #[test]
    fn a_driver_is_shown_with_its_files() {
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
        let module = KernelModule { version: "550.54.15".to_owned(), open: true };
        let output = Output::of_width(None);
        let view = DriverView::of(&driver, Some(&module));
        let text = paragraph(&view, false, &output);
        assert_eq!(
            text,
            "NVIDIA 550.54.15 (open kernel module)\n  CUDA:  12.4\n  root:  /run/nvidia/driver\n  \
             files: 2: 2 compute, 1 video\n"
        );
        let wide = paragraph(&DriverView::of(&driver, None), true, &output);
        assert!(wide.contains("    /a/libcuda.so.550.54.15  compute\n      libcuda.so.1\n"));
        assert!(!wide.contains('\u{1b}') && !wide.contains("kernel module"), "{wide}");
        let told = serde_json::to_value(&view).unwrap();
        assert_eq!((&told["counts"]["compute"], &told["open"]), (&json!(2), &json!(true)));
        let amd = Driver { vendor: Vendor::Amd, ..driver };
        let told = serde_json::to_value(DriverView::of(&amd, Some(&module))).unwrap();
        assert_eq!(told["open"], Value::Null);
    }
}
