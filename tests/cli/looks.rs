//! `topology`, `processes`, `driver`, `memory` and `devices --wide`, on simulated nodes.

use super::support::{Host, STUB, needs_root, ok};
use super::{row, says, tells};
use serde_json::Value;
use std::path::Path;

const SIMULATED: &str = "\nsimulated: these devices do not exist\n";

#[test]
fn the_topology_is_a_matrix_with_its_legend() {
    needs_root!();
    let host = Host::new("h100x8");
    let text = says(&host, &["topology"]);
    assert!(text.ends_with(SIMULATED), "{text}");
    assert!(text.contains("\nGPU0  X     NV18  NV18"), "{text}");
    assert_eq!(row(&text, "GPU7").last(), Some(&"X"));
    assert!(text.contains("\nNV#   NVLink, by # links\n"), "{text}");
    assert!(!text.contains("SYS") && !text.contains("XGMI"), "only what is there: {text}");
    assert!(text.lines().all(|line| line.len() <= 100), "{text}");
    let told = tells(&host, &["topology"]);
    assert_eq!(told["pairs"].as_array().unwrap().len(), 8 * 7 / 2);
    assert_eq!(
        (&told["pairs"][0]["path"], &told["pairs"][0]["lanes"]),
        (&"NV18".into(), &18.into())
    );
    // A simulated device is near none of this host's CPUs.
    assert_eq!(
        (&told["devices"][0]["cpus"], &told["devices"][0]["numa_node"]),
        (&Value::Null, &0.into())
    );

    let mixed = says(&Host::new("mixed4"), &["topology"]);
    assert!(mixed.contains("XGMI  AMD Infinity Fabric"), "{mixed}");
}

#[test]
fn instances_are_where_their_gpu_is() {
    needs_root!();
    let told = tells(&Host::new("a100x4"), &["topology"]);
    assert_eq!(told["devices"].as_array().unwrap().len(), 4);
}

#[test]
fn a_simulated_device_is_never_busy() {
    needs_root!();
    let host = Host::new("mixed4");
    let text = says(&host, &["processes"]);
    assert_eq!(text, format!("no process computes on the node's devices\n{SIMULATED}"));
    let told = tells(&host, &["processes"]);
    assert_eq!(
        (&told["processes"], &told["notes"]),
        (&Value::Array(vec![]), &Value::Array(vec![]))
    );
    assert_eq!(tells(&host, &["devices"])["devices"][0]["busy"], Value::Array(vec![]));
}

#[test]
fn intels_devices_are_not_looked_at_and_that_is_said() {
    needs_root!();
    let toml = "[[device]]\nuuid = 'GPU-1'\nvendor = 'intel'\nmodel = 'M'\nmemory_mib = 1024\n\
                pci = '0000:01:00.0'\nnodes = ['/dev/dri/renderD128']\n";
    let host = Host::with_devices(toml, Path::new(STUB));
    assert!(says(&host, &["processes"]).contains("note: processes on Intel's devices are not"));
    assert_eq!(tells(&host, &["devices"])["devices"][0]["busy"], Value::Null);
}

#[test]
fn the_driver_setting_is_shown_without_a_driver() {
    needs_root!();
    let host = Host::new("mixed4");
    let told = tells(&host, &["driver"]);
    assert_eq!(told["drivers"], Value::Array(vec![]));
    assert_eq!((&told["setting"], &told["way"]), (&"auto".into(), &"none".into()));
    for wide in [&["driver"][..], &["driver", "--wide"]] {
        let text = says(&host, wide);
        assert!(text.starts_with("no driver: ") && text.ends_with(SIMULATED), "{text}");
        assert!(text.contains("\ndriver = auto comes to none: "), "{text}");
    }
}

#[test]
fn memory_is_what_there_is_and_what_leases_leave() {
    needs_root!();
    let host = Host::new("mixed4");
    let share = [("gpulease/memory", "8Gi"), ("gpulease/devices", "0")];
    ok(host.start("web", &share));
    let text = says(&host, &["memory"]);
    assert!(text.ends_with(SIMULATED), "{text}");
    let told = tells(&host, &["memory"])["devices"].take();
    let first = &told[0];
    let keys: Vec<&str> = first.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = "uuid index mig_index model total_bytes reserved_bytes leased_bytes used_bytes \
                    free_to_lease_bytes busy_percent temperature_c power_w simulated";
    assert_eq!(keys, expected.split_whitespace().collect::<Vec<_>>());
    assert_eq!(first["leased_bytes"], 8_u64 << 30);
    assert_eq!(first["used_bytes"], Value::Null, "nothing is in use of what does not exist");
    for key in ["busy_percent", "temperature_c", "power_w"] {
        assert_eq!(first[key], Value::Null, "{key}");
    }
    let bytes = |key: &str| first[key].as_u64().unwrap();
    let sum = bytes("reserved_bytes") + bytes("leased_bytes") + bytes("free_to_lease_bytes");
    assert_eq!(sum, bytes("total_bytes"));
    assert!(row(&text, "0").windows(2).any(|two| two == ["8Gi", "-"]), "{text}");
    assert_eq!(told[1]["leased_bytes"], 0);

    // A GPU in MIG mode has nothing to lease, its instances have.
    let mig = tells(&Host::new("a100x4"), &["memory"]);
    let mig = mig["devices"].as_array().unwrap();
    let gpu = mig.iter().position(|one| one["mig_index"] == 0).unwrap() - 1;
    assert_eq!(mig[gpu]["free_to_lease_bytes"], Value::Null);
    assert!(mig[gpu + 1]["free_to_lease_bytes"].as_u64().unwrap() > 0);
}

#[test]
fn arch_and_partition_are_for_the_wide_table() {
    needs_root!();
    let host = Host::new("mixed4");
    let narrow = says(&host, &["devices"]);
    let wide = says(&host, &["devices", "--wide"]);
    for title in ["ARCH", "PARTITION"] {
        assert!(wide.contains(title) && !narrow.contains(title), "{wide}{narrow}");
    }
    assert_eq!(
        row(&wide, "0").iter().rev().take(3).rev().collect::<Vec<_>>(),
        [&"8.9", &"-", &"simulated"]
    );
    assert_eq!(tells(&host, &["devices"])["devices"][0]["queryable"], true);
}
