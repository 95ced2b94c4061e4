//! Whatever NVML, a GPU or the probe does, the node's other devices are found.

use crate::host::{Host, node_paths};
use crate::nodes::{self, MIB};
use gpulease::door::inventory::Inventory;
use gpulease::door::model::device::Device;
use gpulease::door::model::quantity::Bytes;
use serde_json::{Value, json};
use std::fs;
use std::time::{Duration, Instant};

const UNKNOWN: u32 = 999;
const LOST: u32 = 15;
const NOT_SUPPORTED: u32 = 3;

/// Eight GPUs by the kernel's words alone, and a note with this in it.
#[track_caller]
fn is_by_the_kernel(inventory: &Inventory, why: &str) {
    let devices = &inventory.node.devices;
    assert_eq!(devices.len(), 8);
    for (number, gpu) in devices.iter().enumerate() {
        assert_eq!(gpu.uuid.as_str(), nodes::uuid(number));
        assert_eq!(gpu.model, "NVIDIA H100 80GB HBM3");
        assert_eq!((gpu.memory_total_bytes, gpu.memory_reserved_bytes), (None, None));
        assert_eq!((gpu.healthy, &gpu.details.fault), (None, &None));
        assert_eq!(node_paths(gpu), [format!("/dev/nvidia{}", (number + 3) % 8)]);
        assert_eq!(gpu.numa_node, Some(u32::from(number >= 4)));
    }
    assert_eq!(inventory.from, ["/proc/driver/nvidia"]);
    assert_eq!(inventory.drivers[0].version.as_deref(), Some("550.163.01"));
    assert_eq!(inventory.drivers[0].library, None);
    let [note] = &inventory.notes[..] else { panic!("{:?}", inventory.notes) };
    assert!(note.starts_with("NVIDIA's NVML was not used: ") && note.contains(why), "{note}");
}

/// Eight H100 whose library is initialised in this manner.
fn initialised(init: &Value) -> Host {
    let mut node = nodes::h100x8();
    node["init"] = init.clone();
    Host::new(&node)
}

#[test]
fn a_driver_of_another_version_than_its_library() {
    let host = initialised(&json!({ "error": 18 }));
    let why = "the loaded driver and its libraries are of different versions: reboot, or reload the \
               driver; the GPUs are read from /proc/driver/nvidia";
    is_by_the_kernel(&host.scan(), why);
}

#[test]
fn a_library_that_hangs() {
    let mut host = initialised(&json!({ "sleep_ms": 60_000 }));
    host.config.probe_timeout = Duration::from_millis(500);
    let start = Instant::now();
    let inventory = host.scan();
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(500) && took < Duration::from_secs(4), "{took:?}");
    is_by_the_kernel(&inventory, "it did not answer within 500ms");
}

#[test]
fn a_library_that_crashes() {
    let host = initialised(&json!({ "crash": true }));
    is_by_the_kernel(&host.scan(), "the process that asked it ended with signal: 11 (SIGSEGV)");
}

#[test]
fn a_library_that_writes_to_stdout() {
    let host = initialised(&json!({ "print": "NVML: warning" }));
    is_by_the_kernel(&host.scan(), "its answer cannot be read");
    let host = initialised(&json!({ "print": "x".repeat(5 << 20) }));
    is_by_the_kernel(&host.scan(), "its answer is longer than");
}

#[test]
fn a_file_that_is_no_library() {
    let host = Host::new(&nodes::h100x8());
    fs::write(host.library(), "#!/bin/sh\n").unwrap();
    is_by_the_kernel(&host.scan(), "the library cannot be loaded");
    host.without_library();
    is_by_the_kernel(&host.scan(), "there is no libnvidia-ml.so.1 below");
}

impl Host {
    fn without_library(&self) {
        fs::remove_file(self.library()).unwrap();
    }
}

#[test]
fn a_gpu_that_is_lost() {
    let mut node = nodes::h100x8();
    node["gpus"][3]["errors"] = json!({ "*": LOST });
    let inventory = Host::new(&node).scan();
    let devices = &inventory.node.devices;
    assert_eq!(devices.len(), 8);
    let lost = &devices[3];
    assert_eq!(lost.details.fault.as_deref(), Some("it has fallen off the bus"));
    assert_eq!(lost.healthy, Some(false));
    assert_eq!(lost.details.health_reason.as_deref(), Some("the GPU is lost: reset it, or reboot"));
    // What the kernel knows of it.
    assert_eq!(lost.uuid.as_str(), nodes::uuid(3));
    assert_eq!((lost.model.as_str(), lost.memory_total_bytes), ("NVIDIA H100 80GB HBM3", None));
    assert_eq!(node_paths(lost), ["/dev/nvidia6"]);
    assert_eq!(lost.numa_node, Some(0));
    are_sound(devices, 3);
    assert_eq!(inventory.notes, Vec::<String>::new());
    assert!(inventory.node.links.iter().all(|link| link.a != lost.uuid && link.b != lost.uuid));
    assert_eq!(inventory.node.links.iter().filter(|link| link.lanes == 18).count(), 21);
}

/// All but one have nothing wrong with them.
#[track_caller]
fn are_sound(devices: &[Device], but: usize) {
    for (number, gpu) in devices.iter().enumerate().filter(|(number, _)| *number != but) {
        let facts = (gpu.healthy, &gpu.details.fault, &gpu.details.health_reason);
        assert_eq!(facts, (Some(true), &None, &None), "{number}");
        assert_eq!(gpu.memory_total_bytes, Some(Bytes(81_559 * MIB)), "{number}");
    }
}

/// The third GPU with these errors of its functions; all others are sound.
fn third(errors: &Value) -> Device {
    let mut node = nodes::h100x8();
    node["gpus"][2]["errors"] = errors.clone();
    let inventory = Host::new(&node).scan();
    are_sound(&inventory.node.devices, 2);
    inventory.node.devices[2].clone()
}

#[test]
fn each_failure_is_its_own() {
    let fault = |function: &str, code| third(&json!({ function: code })).details.fault;
    let unknown = "an internal driver error occurred";
    assert_eq!(fault("nvmlDeviceGetUUID", UNKNOWN), Some(format!("its UUID: {unknown}")));
    assert_eq!(fault("nvmlDeviceGetName", UNKNOWN), Some(format!("its name: {unknown}")));
    assert_eq!(
        fault("nvmlDeviceGetMinorNumber", UNKNOWN),
        Some(format!("its minor number: {unknown}"))
    );
    assert_eq!(fault("nvmlDeviceGetBrand", LOST), Some("it has fallen off the bus".to_owned()));
    assert_eq!(
        fault("nvmlDeviceGetEccMode", 10),
        Some("its ECC mode: the provided timeout was reached".to_owned())
    );
    // What the kernel tells stands in.
    let gpu = third(&json!({ "nvmlDeviceGetUUID": UNKNOWN, "nvmlDeviceGetName": UNKNOWN,
                             "nvmlDeviceGetMinorNumber": UNKNOWN }));
    assert_eq!(
        (gpu.uuid.as_str(), gpu.model.as_str()),
        (nodes::uuid(2).as_str(), "NVIDIA H100 80GB HBM3")
    );
    assert_eq!((node_paths(&gpu), gpu.healthy), (vec!["/dev/nvidia5"], None));
    // The address itself.
    let gpu = third(&json!({ "nvmlDeviceGetPciInfo_v3": UNKNOWN }));
    assert_eq!(gpu.details.fault.as_deref(), Some(unknown));
}

#[test]
fn what_a_gpu_does_not_have_is_no_fault() {
    let gpu = third(&json!({
        "nvmlDeviceGetMemoryInfo_v2": NOT_SUPPORTED, "nvmlDeviceGetMemoryInfo": NOT_SUPPORTED,
        "nvmlDeviceGetCudaComputeCapability": UNKNOWN, "nvmlDeviceGetBrand": NOT_SUPPORTED,
        "nvmlDeviceGetNumGpuCores": NOT_SUPPORTED, "nvmlDeviceGetComputeMode": NOT_SUPPORTED,
        "nvmlDeviceGetPersistenceMode": NOT_SUPPORTED, "nvmlDeviceGetEccMode": NOT_SUPPORTED,
        "nvmlDeviceGetTotalEccErrors": NOT_SUPPORTED, "nvmlDeviceGetRemappedRows": UNKNOWN,
        "nvmlDeviceGetMigMode": NOT_SUPPORTED, "nvmlDeviceGetNvLinkState": NOT_SUPPORTED,
    }));
    let cuda = Some("12.4".to_owned());
    let known = gpulease::door::model::device::Details { cuda, ..Default::default() };
    assert_eq!(gpu.details, known, "what is the driver's");
    assert_eq!((gpu.memory_total_bytes, gpu.memory_reserved_bytes), (None, None));
    assert_eq!(gpu.healthy, Some(true));
    // One that it ought to have.
    let gpu = third(&json!({
        "nvmlDeviceGetMemoryInfo_v2": UNKNOWN, "nvmlDeviceGetMemoryInfo": UNKNOWN,
    }));
    let fault = "its memory: an internal driver error occurred";
    assert_eq!((gpu.details.fault.as_deref(), gpu.memory_total_bytes), (Some(fault), None));
}

#[test]
fn a_driver_that_has_not_all_functions() {
    let host = Host::new(&nodes::h100x8());
    for function in [
        "nvmlDeviceGetMemoryInfo_v2",
        "nvmlDeviceGetRemappedRows",
        "nvmlDeviceGetNumGpuCores",
        "nvmlDeviceGetNvLinkRemoteDeviceType",
        "nvmlShutdown",
    ] {
        host.without(function);
    }
    let inventory = host.scan();
    assert_eq!(inventory.notes, Vec::<String>::new());
    let gpu = &inventory.node.devices[0];
    // The first version of the function knows no reserve.
    assert_eq!(gpu.memory_total_bytes, Some(Bytes(81_559 * MIB)));
    assert_eq!(gpu.memory_reserved_bytes, None);
    assert_eq!((gpu.healthy, &gpu.details.fault), (Some(true), &None));
    assert_eq!(gpu.details.compute_units, None);
    // An end that is no GPU is no link.
    assert!(inventory.node.links.iter().all(|link| link.lanes == 1));
}

#[test]
fn what_ails_a_gpu() {
    let ailment = |key: &str, value: Value| {
        let mut node = nodes::h100x8();
        node["gpus"][5][key] = value;
        let inventory = Host::new(&node).scan();
        are_sound(&inventory.node.devices, 5);
        let gpu = &inventory.node.devices[5];
        assert_eq!((gpu.healthy, &gpu.details.fault), (Some(false), &None));
        gpu.details.health_reason.clone().unwrap()
    };
    assert_eq!(
        ailment("uncorrected", json!(3)),
        "uncorrectable ECC errors since the driver was loaded: 3"
    );
    assert_eq!(
        ailment("remapped", json!([0, 1, 1, 0])),
        "a row of memory is to be remapped: reset the GPU"
    );
    assert_eq!(
        ailment("remapped", json!([0, 9, 0, 1])),
        "a row of memory could not be remapped: replace the GPU"
    );
    assert_eq!(
        ailment("retired_pending", json!(1)),
        "a page of memory is to be retired: reset the GPU"
    );
}

#[test]
fn an_error_in_the_kernels_log() {
    let host = Host::new(&nodes::h100x8());
    host.put(
        "dev/kmsg",
        "6,1,1,-;NVRM: loading NVIDIA UNIX x86_64 Kernel Module  550.163.01\n\
         4,2,2,-;NVRM: Xid (PCI:0000:52:00): 31, pid=99, name=python, MMU Fault\n\
         4,3,3,-;NVRM: Xid (PCI:0000:9d:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen \
         off the bus.\n",
    );
    let inventory = host.scan();
    are_sound(&inventory.node.devices, 4);
    let gpu = &inventory.node.devices[4];
    assert_eq!(gpu.healthy, Some(false));
    let ailment = gpu.details.health_reason.as_deref().unwrap();
    assert!(ailment.starts_with("XID 79: "), "{ailment}");
    assert!(ailment.ends_with("GPU has fallen off the bus."), "{ailment}");
    // It still answers, and all else is known of it.
    assert_eq!(gpu.details.fault, None);
    assert_eq!(gpu.details.arch.as_deref(), Some("9.0"));
}

#[test]
fn gpus_that_only_one_side_knows() {
    let mut node = nodes::h100x8();
    let host = Host::new(&node);
    // NVML has one less than the kernel.
    node["gpus"].as_array_mut().unwrap().remove(7);
    host.play(&node);
    let inventory = host.scan();
    assert_eq!(inventory.node.devices.len(), 8);
    assert!(inventory.node.devices[7].details.fault.is_some());
    are_sound(&inventory.node.devices, 7);
    // The kernel has one less than NVML, as in some virtual machines.
    let gone = host.path("proc/driver/nvidia/gpus/0000:1b:00.0");
    fs::remove_dir_all(gone).unwrap();
    let devices = host.scan().node.devices;
    assert_eq!((devices.len(), devices[0].uuid.as_str()), (8, nodes::uuid(0).as_str()));
    assert_eq!((devices[0].healthy, node_paths(&devices[0])), (Some(true), vec!["/dev/nvidia3"]));
}

#[test]
fn a_gpu_of_which_nothing_is_known_is_named() {
    let mut node = nodes::h100x8();
    node["gpus"][3]["errors"] = json!({ "nvmlDeviceGetHandleByIndex_v2": UNKNOWN });
    let host = Host::new(&node);
    // By its address it has a handle.
    let inventory = host.scan();
    are_sound(&inventory.node.devices, 8);
    assert_eq!((inventory.node.devices.len(), inventory.notes.len()), (8, 0));
    fs::remove_dir_all(host.path("proc/driver/nvidia/gpus/0000:61:00.0")).unwrap();
    let inventory = host.scan();
    are_sound(&inventory.node.devices, 8);
    assert_eq!(inventory.node.devices.len(), 7);
    assert_eq!(inventory.notes, ["NVML's device 3: an internal driver error occurred"]);
}

#[test]
fn a_library_of_somebody_else_is_not_loaded() {
    crate::support::needs_root!();
    let host = initialised(&json!({ "crash": true }));
    std::os::unix::fs::chown(host.library(), Some(12345), None).unwrap();
    is_by_the_kernel(&host.scan(), "its owner is user 12345");
}
