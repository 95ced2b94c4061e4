//! Processes and use, as they are told at the moment.

use crate::host::Host;
use crate::nodes::{self, MIB};
use gpulease::door::inventory::activity::{GpuProcess, ProcessKind, Usage};
use gpulease::door::inventory::nvidia;
use gpulease::door::model::id::DeviceId;
use gpulease::door::model::quantity::Bytes;
use serde_json::json;

fn id(text: &str) -> DeviceId {
    DeviceId::new(text).unwrap()
}

#[test]
fn processes_of_all_kinds() {
    let mut node = nodes::a100x8_mig();
    // 30 computes by MPS, and is in both lists; 40 draws and computes; of 50 the memory is not known.
    node["gpus"][0]["processes"] = json!({
        "compute": [[20, 512 * MIB], [30, 64 * MIB], [40, 7 * MIB], [50, null]],
        "graphics": [[10, MIB], [40, 7 * MIB]],
        "mps": [[30, 64 * MIB]],
    });
    let many: Vec<_> = (1000..1200).map(|pid| json!([pid, MIB])).collect();
    node["gpus"][2]["mig"]["instances"][2]["processes"] = json!({ "compute": many });
    // A GPU in MIG mode is used by its instances.
    node["gpus"][2]["processes"] = json!({ "compute": [[1000, MIB]] });
    node["gpus"][3]["processes"] = json!({ "compute": [[60, MIB]] });
    node["gpus"][3]["errors"] = json!({ "nvmlDeviceGetMPSComputeRunningProcesses_v3": 3 });
    node["gpus"][4]["processes"] = json!({ "compute": [[70, MIB]] });
    node["gpus"][4]["errors"] = json!({ "*": 15 });
    let host = Host::new(&node);
    let running = nvidia::processes(&host.paths, &host.config).unwrap();
    let process = |device: &str, pid, kind, memory: Option<u64>| GpuProcess {
        device: id(device),
        pid,
        kind,
        memory: memory.map(|mib| Bytes(mib * MIB)),
    };
    use ProcessKind::{Compute, Graphics, Mps};
    let first = nodes::uuid(0);
    let mut expected = vec![
        process(&first, 10, Graphics, Some(1)),
        process(&first, 20, Compute, Some(512)),
        process(&first, 30, Mps, Some(64)),
        process(&first, 40, Compute, Some(7)),
        process(&first, 50, Compute, None),
    ];
    let instance = "MIG-00000002-aaaa-5555-bbbb-cccccccccccc";
    expected.extend((1000..1200).map(|pid| process(instance, pid, Compute, Some(1))));
    expected.push(process(&nodes::uuid(3), 60, Compute, Some(1)));
    assert_eq!(running.processes, expected);
    // All but the one that is lost: a GPU in MIG mode by its instances, and one without MPS.
    let asked = |uuid: &str| running.asked.contains(&id(uuid));
    let silent: Vec<usize> = (0..8).filter(|number| !asked(&nodes::uuid(*number))).collect();
    assert_eq!((silent, asked(instance)), (vec![4], true));
}

#[test]
fn who_does_not_tell_all_is_known() {
    let mut node = nodes::a100x8_mig();
    node["gpus"][0]["processes"] = json!({ "graphics": [[10, MIB]], "compute": [[20, MIB]] });
    let (compute, mps) =
        ("nvmlDeviceGetComputeRunningProcesses_v3", "nvmlDeviceGetMPSComputeRunningProcesses_v3");
    node["gpus"][0]["errors"] = json!({ compute: 999 });
    node["gpus"][1]["errors"] = json!({ mps: 15 });
    node["gpus"][2]["mig"]["instances"][2]["errors"] = json!({ compute: 3 });
    node["gpus"][3]["errors"] = json!({ "nvmlDeviceGetUUID": 999 });
    let host = Host::new(&node);
    let running = nvidia::processes(&host.paths, &host.config).unwrap();
    let drawing: Vec<i32> = running.processes.iter().map(|process| process.pid).collect();
    assert_eq!(drawing, [10]);
    let asked = |uuid: &str| running.asked.contains(&id(uuid));
    // Of the third GPU, one instance does not tell; the other does.
    let told: Vec<usize> = (0..8).filter(|number| asked(&nodes::uuid(*number))).collect();
    assert_eq!(told, [4, 5, 6, 7]);
    let instances = running.asked.iter().filter(|uuid| uuid.as_str().starts_with("MIG-"));
    assert_eq!(instances.count(), 3);

    // As drivers before 510.
    host.play(&nodes::h100x8());
    host.without(compute);
    assert!(nvidia::processes(&host.paths, &host.config).unwrap().asked.is_empty());
}

#[test]
fn use_of_devices() {
    let host = Host::new(&nodes::h100x8());
    let usage = nvidia::usage(&host.paths, &host.config).unwrap();
    assert_eq!(usage.len(), 8);
    assert_eq!(
        usage[7],
        Usage {
            device: id(&nodes::uuid(7)),
            used: Some(Bytes(555 * MIB)),
            busy_percent: Some(97),
            temperature_c: Some(41),
            power_w: Some(345),
        }
    );
    let host = Host::new(&nodes::a100x8_mig());
    let usage = nvidia::usage(&host.paths, &host.config).unwrap();
    // Six GPUs and four instances.
    assert_eq!(usage.len(), 10);
    let instance = usage.iter().find(|usage| usage.device.as_str().starts_with("MIG-00000001"));
    let instance = instance.unwrap();
    assert_eq!((instance.used, instance.busy_percent), (Some(Bytes(5 * MIB)), None));
    assert_eq!((instance.temperature_c, instance.power_w), (None, None));
}

#[test]
fn who_cannot_be_asked_says_so() {
    let mut node = nodes::h100x8();
    node["init"] = json!({ "error": 18 });
    let host = Host::new(&node);
    let error = nvidia::processes(&host.paths, &host.config).unwrap_err();
    assert!(error.to_string().contains("different versions"), "{error}");
    let error = nvidia::usage(&host.paths, &host.config).unwrap_err();
    assert!(error.to_string().contains("different versions"), "{error}");
}
