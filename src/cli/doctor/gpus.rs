//! Checks the real devices: those that are never granted, and settings of their drivers that cause
//! surprises.

use super::finding::{Findings, first_and_more};
use crate::claim::Ctx;
use crate::claim::busy::BusyProcesses;
use crate::claim::sweep::survey;
use crate::cli::words;
use crate::config::{Config, DriverSetting};
use crate::host::Host;
use crate::inventory::Inventory;
use crate::model::device::{Device, Node, Vendor};
use crate::model::driver::Driver;
use crate::model::text::{shown, shown_line};
use crate::request::policy::Busy;
use crate::sys::gpu_users;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// The permission bits that let every user read and write a device node.
const FOR_ALL: u32 = 0o006;

pub(super) fn check(inventory: &Inventory, host: &Host, config: &Config, found: &mut Findings) {
    let node = &inventory.node;
    if node.devices.iter().all(|device| device.simulated) {
        return;
    }
    let before = found.list.len();
    told_apart(node, found);
    queryable(node, found);
    healthy(node, found);
    busy(node, host, config, found);
    persistence(node, found);
    for driver in &inventory.drivers {
        versions(driver, found);
    }
    driver_files(inventory, config, found);
    groups(node, host, found);
    for note in &inventory.notes {
        found.note(
            "inventory-note",
            shown_line(note),
            "`gpulease driver`, or for CDI specs `gpulease cdi list`, says more",
        );
    }
    if found.is_clean_since(before) {
        found.ok("gpus", "no fault of the devices' drivers is known");
    }
}

/// The real devices that pass the test.
fn real(node: &Node, test: impl Fn(&Device) -> bool) -> Vec<&Device> {
    node.devices.iter().filter(|device| !device.simulated && test(device)).collect()
}

/// `GPU 0 (why), GPU 3`.
fn listed<'a>(devices: &[&'a Device], why: impl Fn(&'a Device) -> Option<String>) -> String {
    let one = |device: &&'a Device| match why(device) {
        Some(why) => format!("GPU {} ({})", device.place(), words::short(&why)),
        None => format!("GPU {}", device.place()),
    };
    devices.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn told_apart(node: &Node, found: &mut Findings) {
    let twins = real(node, |device| device.details.ambiguous.is_some());
    if !twins.is_empty() {
        let which = listed(&twins, |device| device.details.ambiguous.clone());
        found.warning(
            "device-ambiguous",
            format!(
                "cannot be told apart from another device: {which}; neither of them is granted"
            ),
            "see `gpulease devices --json`; give each cloned virtual GPU a UUID of its own, and \
             each device in the devices file its own nodes; then run `gpulease inventory refresh`",
        );
    }
}

fn queryable(node: &Node, found: &mut Findings) {
    let mute = real(node, |device| device.details.fault.is_some());
    if let Some(first) = mute.first() {
        let fix = match first.vendor {
            Vendor::Nvidia => "see `dmesg`; `nvidia-smi --gpu-reset -i PCI`, or reboot",
            Vendor::Amd => "see `dmesg`; `amd-smi reset --gpureset -g INDEX`, or reboot",
            Vendor::Intel => "see `dmesg`; reboot",
        };
        let which = listed(&mute, |device| device.details.fault.clone());
        let text = format!("the driver does not answer for {which}: such a device is not granted");
        found.warning("device-unqueryable", text, fix);
    }
}

fn healthy(node: &Node, found: &mut Findings) {
    let ill = real(node, |d| d.healthy == Some(false) && d.details.fault.is_none());
    if !ill.is_empty() {
        let which = listed(&ill, |device| device.details.health_reason.clone());
        found.warning(
            "device-unhealthy",
            format!("reported unhealthy: {which}; such a device is not granted"),
            "see `dmesg`, and have the GPU repaired or reset; then `gpulease inventory refresh`",
        );
    }
}

/// Reports nothing if the leases cannot be read, because another check reports that.
fn busy(node: &Node, host: &Host, config: &Config, found: &mut Findings) {
    let policy = config.policy.busy;
    if policy == Busy::Ignore {
        return;
    }
    let users = gpu_users::look(node, &host.paths);
    let ctx = Ctx::of(host);
    let Some(swept) = (!users.is_empty()).then(|| survey(ctx).ok()).flatten() else { return };
    let computing = swept.busy_devices(BusyProcesses { users: &users, policy }, ctx);
    let busy = real(node, |device| !computing.of(device).is_empty());
    if busy.is_empty() {
        return;
    }
    let pids = |device| {
        let pids: Vec<String> =
            computing.of(device).iter().map(|process| process.pid.to_string()).collect();
        Some(format!("process {}", pids.join(", ")))
    };
    let granted = match policy {
        Busy::Refuse => "they are not granted",
        Busy::Avoid | Busy::Ignore => "they are granted only to requests that name them",
    };
    found.note(
        "device-busy",
        format!("processes without a lease may compute on {}: {granted}", listed(&busy, pids)),
        "`gpulease processes` shows them; end them, or run them with a lease",
    );
}

/// Without persistence mode the driver releases an unused GPU and takes seconds to come back.
fn persistence(node: &Node, found: &mut Findings) {
    let off = real(node, |device| device.details.persistence == Some(false));
    if !off.is_empty() {
        let which = listed(&off, |_| None);
        found.warning(
            "persistence-off",
            format!(
                "NVIDIA's persistence mode is off for {which}: the first use after a pause takes \
                 seconds, and settings of the GPU are lost in between"
            ),
            "run nvidia-persistenced, or `nvidia-smi -pm 1`",
        );
    }
}

/// If the configuration demands a driver mode that this host does not have, starts are refused.
fn driver_files(inventory: &Inventory, config: &Config, found: &mut Findings) {
    let has_files = inventory.drivers.iter().any(|driver| !driver.files.is_empty());
    let has_nvidia = !real(&inventory.node, |d| d.vendor == Vendor::Nvidia).is_empty();
    let unnamed = real(&inventory.node, |d| inventory.cdi.device(&d.uuid).is_none());
    match config.driver {
        DriverSetting::Native if has_nvidia && !has_files => found.fault(
            "driver-files-missing",
            "`driver` is `native`, and there are no files of NVIDIA's driver: containers with its \
             GPUs are refused",
            "install the driver's libraries, correct `driver_root`, or set `driver` to another \
             mode",
        ),
        DriverSetting::Cdi if !unnamed.is_empty() => found.fault(
            "cdi-missing",
            format!(
                "`driver` is `cdi`, and no CDI spec describes {}: containers with it are refused",
                listed(&unnamed, |_| None)
            ),
            "`nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml`, `amd-ctk cdi generate`, or \
             set `driver` to another mode",
        ),
        _ => {}
    }
}

/// A start that needs the driver's files is refused.
fn versions(driver: &Driver, found: &mut Findings) {
    if let Some(text) = driver.misfit() {
        found.fault(
            "driver-mismatch",
            format!("{text}: CUDA and nvidia-smi fail with \"driver/library version mismatch\""),
            "after an upgrade, reboot, or unload the module while it is not in use and load it \
             again",
        );
    }
}

/// Reports which users can open the nodes without gpulease. A container of a rootless engine has
/// the rights of the engine's user.
fn groups(node: &Node, host: &Host, found: &mut Findings) {
    let mut by_group: BTreeMap<u32, Vec<&str>> = BTreeMap::new();
    for node in node.nodes().filter(|node| node.simulated.is_none()) {
        let Ok(metadata) = fs::metadata(host.paths.on_host(Path::new(&node.path))) else {
            continue;
        };
        let is_for_few = metadata.mode() & FOR_ALL != FOR_ALL;
        if metadata.file_type().is_char_device() && is_for_few && metadata.gid() != 0 {
            by_group.entry(metadata.gid()).or_default().push(&node.path);
        }
    }
    for (gid, nodes) in by_group {
        let group = group(gid, host);
        let which = first_and_more(&nodes);
        found.note(
            "node-group",
            format!(
                "{which} is for root and the group {group}: a container gets the group with its \
                 lease; other users have to be members"
            ),
            format!(
                "nothing has to be done; `usermod -aG {group} USER` adds a user who needs GPUs \
                 without a lease"
            ),
        );
    }
}

/// The name of a group, if this is the host that has it.
fn group(gid: u32, host: &Host) -> String {
    let is_here = host.paths.are_own();
    let group = is_here.then(|| nix::unistd::Group::from_gid(nix::unistd::Gid::from_raw(gid)));
    let name = group.and_then(Result::ok).flatten().map(|group| shown(&group.name));
    name.unwrap_or_else(|| gid.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::static_file;
    use crate::model::driver::{DriverFile, FileKind};

    fn node() -> Node {
        let device = |number: u32| {
            format!(
                "[[device]]\nuuid = 'GPU-{number}'\nvendor = 'nvidia'\nmodel = 'M'\n\
                 memory_mib = 1\npci = '0000:0{number}:00.0'\nnodes = ['/dev/nvidia{number}']\n"
            )
        };
        static_file::parse(&(device(1) + &device(2))).unwrap()
    }

    /// Code and message of each finding of a check.
    fn told(check: impl FnOnce(&mut Findings)) -> Vec<(&'static str, String)> {
        let mut found = Findings::default();
        check(&mut found);
        assert!(found.list.iter().all(|finding| finding.fix.is_some()));
        found.list.into_iter().map(|finding| (finding.code, finding.message)).collect()
    }

    #[test]
    fn a_device_that_does_not_answer_is_told_once() {
        let mut node = node();
        assert!(told(|found| queryable(&node, found)).is_empty());
        node.devices[1].details.fault = Some("XID 79: GPU has fallen\u{1b}off the bus".into());
        node.devices[1].healthy = Some(false);
        let all = told(|found| {
            queryable(&node, found);
            healthy(&node, found);
        });
        let [(code, message)] = &all[..] else { panic!("{all:?}") };
        assert_eq!(*code, "device-unqueryable");
        assert!(message.contains("GPU 1 (XID 79: GPU has fallen\\u{1b}off"), "{message}");
        node.devices[1].simulated = true;
        assert!(told(|found| queryable(&node, found)).is_empty());
    }

    #[test]
    fn devices_that_cannot_be_told_apart_are_told() {
        let mut node = node();
        assert!(told(|found| told_apart(&node, found)).is_empty());
        for device in &mut node.devices[..2] {
            device.details.ambiguous = Some("it has a twin".into());
        }
        let all = told(|found| told_apart(&node, found));
        let [("device-ambiguous", message)] = &all[..] else { panic!("{all:?}") };
        assert!(message.contains("GPU 0 (it has a twin), GPU 1 (it has a twin)"), "{message}");
    }

    #[test]
    fn unknown_persistence_is_not_reported() {
        let mut node = node();
        assert!(told(|found| persistence(&node, found)).is_empty());
        node.devices[0].details.persistence = Some(true);
        assert!(told(|found| persistence(&node, found)).is_empty());
        node.devices[1].details.persistence = Some(false);
        let all = told(|found| persistence(&node, found));
        assert!(all[0].0 == "persistence-off" && all[0].1.contains("for GPU 1:"), "{all:?}");
    }

    #[test]
    fn libraries_must_have_the_modules_version() {
        let path = "/a/libcuda.so.550.54.15".to_owned();
        let (kind, names, capabilities) = (FileKind::Library, Vec::new(), Vec::new());
        let files = vec![DriverFile { path, kind, names, capabilities }];
        let (version, root) = (Some("550.90.07".to_owned()), "/".to_owned());
        let (vendor, cuda, library) = (Vendor::Nvidia, None, None);
        let driver = Driver { vendor, version, cuda, library, root, files };
        let all = told(|found| versions(&driver, found));
        let [("driver-mismatch", message)] = &all[..] else { panic!("{all:?}") };
        assert!(message.contains("version 550.90.07, its libraries have 550.54.15:"), "{message}");
    }
}
