//! The nodes that the fake library plays, with the values that such GPUs tell.

use serde_json::{Value, json};

pub const MIB: u64 = 1 << 20;

/// A node of these GPUs with driver 550.
pub fn node(gpus: &[Value]) -> Value {
    json!({ "driver": "550.163.01", "nvml": "12.550.163.01", "cuda": 12_040, "gpus": gpus })
}

/// The n-th UUID.
pub fn uuid(number: usize) -> String {
    format!("GPU-{number:08x}-0000-1111-2222-333333333333")
}

/// Eight H100: each with 18 links to switches, two on each PCIe switch, four on each processor. Their
/// minor numbers are not in the order of their places.
pub fn h100x8() -> Value {
    let buses = ["1b", "43", "52", "61", "9d", "c3", "d1", "df"];
    let gpu = |(number, bus): (usize, &str)| {
        json!({
            "pci": format!("0000:{bus}:00.0"), "uuid": uuid(number), "minor": (number + 3) % 8,
            "numa": number / 4, "name": "NVIDIA H100 80GB HBM3",
            "memory": [81_559 * MIB, 551 * MIB, 4 * MIB], "cc": [9, 0], "brand": 14,
            "cores": 16_896, "compute_mode": 0, "persistence": 1, "ecc": 1, "uncorrected": 0,
            "remapped": [2, 0, 0, 0], "mig": { "mode": 0, "instances": [] },
            "nvlinks": vec!["switch"; 18],
            "utilization": 97, "temperature": 41, "power": 345_678,
            "processes": { "compute": [[4711, 500 * MIB]] },
        })
    };
    let mut node = node(&buses.into_iter().enumerate().map(gpu).collect::<Vec<_>>());
    let mut levels = serde_json::Map::new();
    for one in 0..8 {
        for other in one + 1..8 {
            let level = match (one / 2 == other / 2, one / 4 == other / 4) {
                (true, _) => 10,
                (_, true) => 30,
                _ => 50,
            };
            levels.insert(format!("{one}-{other}"), json!(level));
        }
    }
    node["levels"] = levels.into();
    node
}

/// An A100, joined by twelve links to switches.
fn a100(number: usize) -> Value {
    json!({
        "pci": format!("0000:{:02x}:00.0", 0x10 + number), "uuid": uuid(number), "minor": number,
        "numa": 0, "name": "NVIDIA A100-SXM4-40GB",
        "memory": [40_536 * MIB, 400 * MIB, 0], "cc": [8, 0], "brand": 14, "cores": 6912,
        "compute_mode": 0, "persistence": 0, "ecc": 1, "uncorrected": 0, "remapped": [0, 0, 0, 0],
        "mig": { "mode": 0, "instances": [] }, "nvlinks": vec!["switch"; 12],
    })
}

/// A MIG device as NVML tells it.
pub fn instance(number: u32, gi: u32, profile: &str, size: [u64; 4]) -> Value {
    json!({
        "uuid": format!("MIG-{number:08x}-aaaa-5555-bbbb-cccccccccccc"), "gi": gi, "ci": 0,
        "name": format!("NVIDIA A100-SXM4-40GB MIG {profile}"),
        "memory": [size[3] * MIB, 5 * MIB, 0], "attributes": size,
    })
}

/// Eight A100, of which the third and the seventh are divided. Between the positions of the third's
/// instances is a gap.
pub fn a100x8_mig() -> Value {
    let mut gpus: Vec<Value> = (0..8).map(a100).collect();
    gpus[2]["mig"] = json!({ "mode": 1, "instances": [
        instance(1, 9, "1g.5gb", [14, 1, 1, 4864]),
        null,
        instance(2, 2, "3g.20gb", [42, 3, 3, 19_968]),
    ]});
    gpus[6]["mig"] = json!({ "mode": 1, "instances": [
        instance(3, 1, "3g.20gb", [42, 3, 3, 19_968]),
        instance(4, 2, "3g.20gb", [42, 3, 3, 19_968]),
    ]});
    for gpu in [2, 6] {
        gpus[gpu]["nvlinks"] = json!([]);
    }
    node(&gpus)
}

/// One T4: no links, no MIG, no remapping of rows, a driver's process that draws.
pub fn t4() -> Value {
    node(&[json!({
        "pci": "0000:00:1e.0", "uuid": uuid(0), "minor": 0, "numa": -1, "name": "Tesla T4",
        "memory": [15_360 * MIB, 256 * MIB, 100 * MIB], "cc": [7, 5], "brand": 2, "cores": 2560,
        "compute_mode": 3, "persistence": 0, "ecc": 0, "uncorrected": 0, "retired_pending": 0,
        "utilization": 0, "temperature": 30, "power": 9000,
    })])
}

/// Four V100 in a ring of links: two to the next, one to the one across.
pub fn v100x4() -> Value {
    let pci = |number: usize| format!("0000:{:02x}:00.0", 4 + number % 4);
    let gpu = |number: usize| {
        json!({
            "pci": pci(number), "uuid": uuid(number), "minor": number, "numa": 0,
            "name": "Tesla V100-SXM2-16GB", "memory": [16_160 * MIB, 230 * MIB, 0],
            "cc": [7, 0], "brand": 2, "cores": 5120, "compute_mode": 2, "persistence": 1, "ecc": 1,
            "uncorrected": 0, "retired_pending": 0,
            "nvlinks": [pci(number + 1), null, pci(number + 3), pci(number + 1), pci(number + 2),
                        pci(number + 3)],
        })
    };
    let mut node = node(&(0..4).map(gpu).collect::<Vec<_>>());
    node["levels"] = json!({ "*": 20, "0-3": 0, "1-2": 40 });
    node
}
