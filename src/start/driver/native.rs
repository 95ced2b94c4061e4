//! Adds the host's driver files as read-only mounts, where the container's own loader finds them.
//!
//! Nothing runs in the container's file system and nothing is written to it. The low-level runtime
//! makes the mounts, and resolves their paths safely. The loader's cache is not rebuilt, since each
//! library is mounted by all its names in a directory that the loader searches anyway.

use super::DriverRequest;
use super::library_dir;
use super::places::Places;
use super::require;
use crate::failure::Failure;
use crate::injection::{Injection, MountEntry, ResolvedNode};
use crate::model::code::Code;
use crate::model::device::{Device, DeviceNode};
use crate::model::driver::Capability::{self, All, Compute, Display, Graphics, Utility, Video};
use crate::model::driver::{Driver, DriverFile, FileKind};
use crate::model::machine;
use crate::model::order;
use crate::model::variables::NVIDIA_CAPABILITIES;
use crate::paths::Paths;
use crate::start::device_nodes;
use crate::sys::checked::fault_of;
use std::fs;
use std::os::unix::fs::FileTypeExt;

/// Adds the mounts, and removes the control nodes that nothing needs. Returns the value of the
/// annotation.
pub(super) fn add(
    injection: &mut Injection,
    request: &DriverRequest<'_>,
) -> Result<String, Failure> {
    let gpus = request.gpus();
    let Some(driver) = request.driver() else { return Ok("none".to_owned()) };
    let asked = request.ask.asked.request.capabilities.as_deref();
    let features = features(asked, &request.facts().env);
    if features.is_empty() {
        return Ok("none: by request".to_owned());
    }
    check_version(driver)?;
    require::check(&request.facts().env, driver, &gpus)?;
    injection.nodes.retain(|node| is_needed(&node.path, &features));
    if [Graphics, Display, Video].iter().any(|feature| has(&features, *feature)) {
        add_drawing_nodes(&mut injection.nodes, &gpus, request.paths);
    }
    let Some(mut places) = places(request)? else {
        return Ok("none: no C library in the image".to_owned());
    };
    let files = driver.files.iter();
    for file in files.filter(|f| f.capabilities.iter().any(|feature| has(&features, *feature))) {
        add_mounts(&mut injection.mounts, file, &mut places)?;
    }
    Ok("native".to_owned())
}

fn check_version(driver: &Driver) -> Result<(), Failure> {
    let Some(text) = driver.misfit() else { return Ok(()) };
    let hint = "load the module of the libraries' version, or reboot";
    Err(Failure::new(Code::StaleInventory, text).hint(hint))
}

/// The requested capabilities: those of the request, else those of the container's variable. The
/// variable's last value counts, and unknown words do not.
fn features(asked: Option<&[Capability]>, env: &[(String, String)]) -> Vec<Capability> {
    if let Some(asked) = asked {
        return asked.to_vec();
    }
    let said = env.iter().rev().find(|(name, _)| name == NVIDIA_CAPABILITIES);
    let words = said.map_or("", |(_, value)| value.as_str()).split(',');
    let known: Vec<Capability> = words.filter_map(|word| word.trim().parse().ok()).collect();
    if known.is_empty() { vec![Compute, Utility] } else { known }
}

fn has(features: &[Capability], feature: Capability) -> bool {
    features.contains(&All) || features.contains(&feature)
}

/// Whether a requested capability needs a granted node: CUDA needs unified memory, displays need
/// mode setting.
fn is_needed(path: &str, features: &[Capability]) -> bool {
    match path {
        "/dev/nvidia-uvm" | "/dev/nvidia-uvm-tools" => has(features, Compute),
        "/dev/nvidia-modeset" => has(features, Graphics) || has(features, Display),
        _ => true,
    }
}

/// The DRM nodes of the granted GPUs, as sysfs lists them below the PCI device. A
/// MIG instance has none.
fn add_drawing_nodes(nodes: &mut Vec<ResolvedNode>, gpus: &[&Device], paths: &Paths) {
    for gpu in gpus.iter().filter(|gpu| gpu.mig.is_none()) {
        let directory = paths.sys.join(format!("bus/pci/devices/{}/drm", gpu.pci));
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<String> =
            names.filter(|name| name.starts_with("card") || name.starts_with("renderD")).collect();
        order::sort(&mut names);
        for name in names {
            let node = DeviceNode { path: format!("/dev/dri/{name}"), simulated: None };
            let is_there = nodes.iter().any(|there| there.path == node.path);
            // Without the node only drawing fails.
            if let Ok(node) = device_nodes::real(&node, paths)
                && !is_there
            {
                nodes.push(node);
            }
        }
    }
}

/// The places for the files; `None` if no program in the image can load a library, or if there is
/// no bundle.
fn places(request: &DriverRequest<'_>) -> Result<Option<Places>, Failure> {
    let (Some(machine), Some(bundle)) = (machine::HOST, request.launch.bundle) else {
        return Ok(None);
    };
    let Some(root) = request.facts().root.as_deref().filter(|root| !root.is_empty()) else {
        return Err(Failure::new(Code::BadBundle, "the spec names no root file system"));
    };
    let root = library_dir::open(&bundle.join(root))?;
    let directory = library_dir::find(&root, machine)?;
    Ok(directory.map(|directory| Places::new(root, directory, request.facts())))
}

fn add_mounts(
    mounts: &mut Vec<MountEntry>,
    file: &DriverFile,
    places: &mut Places,
) -> Result<(), Failure> {
    check(file)?;
    for name in &file.names {
        if let Some(destination) = places.free(file.kind, name)? {
            mounts.push(mount(file, destination));
        }
    }
    Ok(())
}

fn mount(file: &DriverFile, destination: String) -> MountEntry {
    let mut options = vec!["bind", "ro", "nosuid", "nodev", "private"];
    if file.kind == FileKind::Socket {
        options.push("noexec");
    }
    MountEntry {
        source: file.path.clone(),
        destination,
        kind: "bind".to_owned(),
        options: options.into_iter().map(str::to_owned).collect(),
    }
}

/// Fails if a driver file is not what the inventory says, or if another user could have written it.
fn check(file: &DriverFile) -> Result<(), Failure> {
    let stale = |what: String| {
        Failure::new(Code::StaleInventory, format!("the driver's file `{}` {what}", file.path))
            .hint("run `gpulease inventory refresh`")
    };
    let metadata = fs::symlink_metadata(&file.path)
        .map_err(|error| stale(format!("cannot be used: {error}")))?;
    let kind = metadata.file_type();
    let fits = match file.kind {
        FileKind::Library | FileKind::Binary | FileKind::Config => kind.is_file(),
        FileKind::Firmware => kind.is_file() || kind.is_dir(),
        FileKind::Socket => kind.is_socket(),
    };
    if !fits {
        return Err(stale("is of another kind than it was".to_owned()));
    }
    match fault_of(&metadata) {
        // A socket belongs to the user of its service.
        Some(fault) if file.kind != FileKind::Socket => {
            Err(stale(format!("is not put into containers: {fault}")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
