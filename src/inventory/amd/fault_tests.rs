//! Files that are missing, that fail, and that say what they cannot mean.

use crate::inventory::fixtures::Sys;
use crate::inventory::fixtures::amd_machines::{
    MI210_MEMORY, MI300X_MEMORY, TOPOLOGY, mi210x8, mi300x_spx,
};
use crate::model::device::Device;

fn first(sys: &Sys) -> Device {
    sys.found().devices.into_iter().next().unwrap()
}

fn gpu(file: &str) -> String {
    format!("bus/pci/devices/0000:03:00.0/{file}")
}

fn properties(node: u32) -> String {
    format!("{TOPOLOGY}/nodes/{node}/properties")
}

#[test]
fn an_uncorrectable_error_concerns_one_gpu() {
    let sys = mi210x8();
    sys.write(&gpu("ras/umc_err_count"), "ue: 2\nce: 7");
    sys.write(&gpu("ras/gfx_err_count"), "ue: 1\nce: 0\nde: 0");
    sys.fail_with_eio(&gpu("ras/sdma_err_count"));
    let found = sys.found();
    let healthy: Vec<_> = found.devices.iter().map(|device| device.healthy).collect();
    assert_eq!(healthy, [[Some(false)].as_slice(), &[Some(true); 7]].concat());
    let health_reason = found.devices[0].details.health_reason.as_deref();
    assert_eq!(health_reason, Some("uncorrectable errors (RAS): gfx: 1, umc: 2"));
    assert_eq!(found.devices[0].details.fault, None);
}

#[test]
fn counters_that_say_nothing_are_no_health() {
    let sys = mi210x8();
    for file in ["umc_err_count", "gfx_err_count"] {
        sys.write(&gpu(&format!("ras/{file}")), "not supported");
    }
    assert_eq!(first(&sys).healthy, None);
    sys.remove(&gpu("ras"));
    assert_eq!(first(&sys).healthy, None);
}

#[test]
fn a_gpu_whose_files_fail_is_listed_with_its_fault() {
    for file in ["mem_info_vram_total", "unique_id", "product_name", "current_compute_partition"] {
        let sys = mi210x8();
        sys.fail_with_eio(&gpu(file));
        let found = sys.found();
        assert_eq!(found.devices.len(), 8, "{file}");
        let fault = found.devices[0].details.fault.clone().unwrap();
        let said = format!("its driver does not answer: `{file}`: Input/output error");
        assert!(fault.starts_with(&said), "{fault}");
        assert!(found.devices[1..].iter().all(|device| device.details.fault.is_none()));
        // KFD still knows both.
        assert_eq!(found.devices[0].uuid.as_str(), "GPU-93bb3629c01aea1c");
        assert_eq!(found.devices[0].memory_total_bytes.unwrap().0, MI210_MEMORY);
    }
}

#[test]
fn a_gpu_with_a_broken_kfd_node_is_read_from_pci() {
    let sys = mi210x8();
    sys.fail_with_eio(&properties(2));
    let found = sys.found();
    assert_eq!(found.devices.len(), 8);
    let device = found.devices.iter().find(|device| device.pci.bus == 3).unwrap();
    assert_eq!(device.uuid.as_str(), "GPU-93bb3629c01aea1c", "sysfs has the same id");
    let fault = device.details.fault.as_deref().unwrap();
    assert!(fault.starts_with("KFD does not answer for it: Input/output error"), "{fault}");
    assert_eq!((device.kfd_node, device.details.arch.as_ref()), (None, None));
    assert_eq!(device.memory_total_bytes.unwrap().0, MI210_MEMORY);
    assert_eq!(device.nodes[0].path, "/dev/dri/renderD128");
    assert_eq!(found.notes.len(), 1, "{:?}", found.notes);
    assert!(found.notes[0].starts_with("KFD node 2 cannot be read: Input/output"));
    // Its links are not known; the other hive's are, and the other three's.
    assert_eq!(found.links.iter().filter(|l| l.kind.as_str() == "xgmi").count(), 3 + 6);
}

#[test]
fn a_node_that_is_hidden_is_no_device_and_said_to_be() {
    let sys = mi210x8();
    sys.fail_with_eacces(&properties(3));
    let found = sys.found();
    assert_eq!(found.devices.len(), 7);
    assert!(found.notes[0].starts_with("KFD node 3 is hidden, by a device cgroup it seems: "));
    assert_eq!(
        found.notes[1],
        "AMD GPU 0000:06:00.0 cannot be leased: the driver has it, but KFD does not know it"
    );
    assert_eq!(found.notes.len(), 2);
}

#[test]
fn properties_that_are_no_numbers_are_not_known() {
    let sys = mi210x8();
    for (from, to) in [
        ("simd_count 416", "simd_count many"),
        ("simd_per_cu 4", "simd_per_cu 0"),
        ("unique_id 10645161697164847644", "unique_id -1"),
        ("device_id 29711", "device_id 0x740f"),
        ("num_xcc 1", "num_xcc 99999999999999999999999"),
        ("array_count 8", "array_count eight"),
        ("hive_id", "hive_id\u{1b}[31m"),
    ] {
        sys.edit(&properties(2), from, to);
    }
    for file in ["unique_id", "product_name", "mem_info_vram_total", "numa_node"] {
        sys.write(&gpu(file), "\u{1b}[31mzzz");
    }
    let device = first(&sys);
    assert_eq!(device.uuid.as_str(), "GPU-0000-03-00.0");
    assert_eq!((device.details.compute_units, device.details.xccs), (None, None));
    assert_eq!(device.details.shader_engines, None);
    assert_eq!(device.model, "\\u{1b}[31mzzz", "shown without control characters");
    assert_eq!((device.numa_node, device.memory_total_bytes.unwrap().0), (None, MI210_MEMORY));
    assert_eq!(device.details.fault, None);
}

#[test]
fn huge_values_never_wrap() {
    let sys = mi210x8();
    let max = u64::MAX.to_string();
    sys.edit(&properties(2), "unique_id 10645161697164847644", &format!("unique_id {max}"));
    sys.edit(&properties(2), "simd_count 416", &format!("simd_count {max}"));
    sys.edit(&properties(2), "gfx_target_version 90010", &format!("gfx_target_version {max}"));
    let bank = format!("{TOPOLOGY}/nodes/2/mem_banks");
    for number in [0, 1] {
        let text = format!("heap_type {}\nsize_in_bytes {max}", number + 1);
        sys.write(&format!("{bank}/{number}/properties"), &text);
    }
    let link = format!("{TOPOLOGY}/nodes/2/io_links");
    sys.write(&format!("{link}/900/properties"), &format!("type 11\nnode_to {max}"));
    sys.write(&format!("{link}/901/properties"), "type 11\nnode_to 4000000000");
    sys.write(&format!("{link}/902/properties"), "type 11\nnode_to 2");
    let found = sys.found();
    let device = &found.devices[0];
    assert_eq!(device.uuid.as_str(), "GPU-ffffffffffffffff");
    assert_eq!(device.memory_total_bytes.unwrap().0, u64::MAX, "a sum that stops at the end");
    assert_eq!(device.details.compute_units, None, "more than any u32");
    assert_eq!(device.details.arch, None);
    assert_eq!(found.links.len(), 12, "links to nowhere are none");
}

#[test]
fn a_render_node_that_is_missing_makes_no_device() {
    let sys = mi210x8();
    sys.edit(&properties(2), "drm_render_minor 128", "drm_render_minor 0");
    sys.edit(&properties(3), "drm_render_minor 129", "drm_render_minor 250");
    let found = sys.found();
    assert_eq!(found.devices.len(), 6);
    assert_eq!(
        found.notes,
        [
            "AMD GPU 0000:03:00.0 (KFD node 2) cannot be leased: KFD names no render node of it",
            "AMD GPU 0000:06:00.0 (KFD node 3) cannot be leased: there is no renderD250",
        ]
    );
}

#[test]
fn an_id_that_two_gpus_have_names_neither() {
    let sys = mi210x8();
    let id = "unique_id 10645161697164847644";
    sys.edit(&properties(4), "unique_id 10645161697164847646", id);
    let found = sys.found();
    let uuids: Vec<&str> = found.devices.iter().map(|device| device.uuid.as_str()).collect();
    assert_eq!(uuids[..3], ["GPU-0000-03-00.0", "GPU-93bb3629c01aea1d", "GPU-0000-43-00.0"]);
    assert_eq!(found.notes.len(), 1);
    assert!(found.notes[0].contains("0000:03:00.0, 0000:43:00.0 all say"), "{}", found.notes[0]);
}

#[test]
fn without_memory_banks_sysfs_has_the_memory() {
    let sys = mi300x_spx();
    let dir = "bus/pci/devices/0000:05:00.0";
    sys.remove(&format!("{TOPOLOGY}/nodes/2/mem_banks"));
    assert_eq!(first(&sys).memory_total_bytes.unwrap().0, MI300X_MEMORY);
    sys.write(&format!("{dir}/mem_info_vram_total"), "0");
    assert_eq!(first(&sys).memory_total_bytes, None);
    sys.remove(&format!("{dir}/mem_info_vram_total"));
    assert_eq!(first(&sys).memory_total_bytes, None);
}

#[test]
fn files_that_are_gone_are_not_known_and_stop_nothing() {
    let sys = mi210x8();
    for file in ["product_name", "unique_id", "numa_node", "mem_info_vram_total", "device"] {
        sys.remove(&gpu(file));
    }
    for file in ["gpu_id", "io_links", "name"] {
        sys.remove(&format!("{TOPOLOGY}/nodes/2/{file}"));
    }
    sys.remove(&format!("{TOPOLOGY}/generation_id"));
    sys.remove(&properties(9));
    let found = sys.found();
    assert_eq!(found.devices.len(), 7, "a node without properties is on its way out");
    let device = &found.devices[0];
    assert_eq!(device.model, "AMD gfx90a [1002:740f]");
    assert_eq!((device.numa_node, device.details.fault.as_ref()), (None, None));
}
