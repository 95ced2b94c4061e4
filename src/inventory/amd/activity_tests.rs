use super::activity::usage;
use crate::inventory::activity::Usage;
use crate::inventory::fixtures::Sys;
use crate::inventory::fixtures::amd_machines::{mi210x8, mi300x_cpx, mi300x_spx};
use crate::model::quantity::Bytes;

fn sensors(sys: &Sys, gpu: &str, files: &[(&str, &str)]) {
    for (name, text) in files {
        sys.write(&format!("{gpu}/hwmon/hwmon3/{name}"), text);
    }
}

#[test]
fn sensors_are_those_of_the_driver() {
    let sys = mi210x8();
    let devices = sys.found().devices;
    let gpu = "bus/pci/devices/0000:06:00.0";
    let files = [
        ("temp1_label", "edge"),
        ("temp1_input", "41999"),
        ("temp2_label", "junction"),
        ("temp2_input", "55000"),
        ("power1_average", "93000000"),
    ];
    sensors(&sys, gpu, &files);
    sys.write(&format!("{gpu}/gpu_busy_percent"), "99");
    let all = usage(&sys.paths(), &devices);
    assert_eq!(all.len(), 8);
    let device = |index: usize| devices[index].uuid.clone();
    assert_eq!(
        all[1],
        Usage {
            device: device(1),
            used: Some(Bytes(10_854_400)),
            busy_percent: Some(99),
            temperature_c: Some(41),
            power_w: Some(93),
        }
    );
    let nothing = Usage {
        device: device(0),
        used: Some(Bytes(10_854_400)),
        busy_percent: None,
        temperature_c: None,
        power_w: None,
    };
    assert_eq!(all[0], nothing, "what there is no sensor for is not known");
    // Nonsense, and files that fail.
    let files = [("temp1_input", "hot"), ("power1_average", "-5")];
    sensors(&sys, gpu, &files);
    sys.write(&format!("{gpu}/gpu_busy_percent"), "65535");
    sys.fail_with_eio(&format!("{gpu}/mem_info_vram_used"));
    let broken = usage(&sys.paths(), &devices).swap_remove(1);
    let used = Some(Bytes(297_611_264));
    assert_eq!(broken, Usage { device: device(1), used, temperature_c: Some(55), ..nothing });
}

#[test]
fn mi300x_is_measured_at_its_junction() {
    let sys = mi300x_spx();
    let gpu = "bus/pci/devices/0000:05:00.0";
    let files = [
        ("temp2_label", "junction"),
        ("temp2_input", "-1500"),
        ("temp3_label", "mem"),
        ("temp3_input", "38000"),
        ("power1_input", "137900000"),
    ];
    sensors(&sys, gpu, &files);
    let first = usage(&sys.paths(), &sys.found().devices).swap_remove(0);
    assert_eq!((first.temperature_c, first.power_w), (Some(-2), Some(137)));
    assert_eq!(first.used, Some(Bytes(297_611_264)));
}

#[test]
fn of_a_partition_only_what_is_its_own_is_said() {
    let sys = mi300x_cpx(1);
    let gpu = "bus/pci/devices/0000:05:00.0";
    let files = [("temp2_label", "junction"), ("temp2_input", "50000"), ("power1_input", "1")];
    sensors(&sys, gpu, &files);
    sys.write(&format!("{gpu}/gpu_busy_percent"), "50");
    let bank = |node: u32| format!("class/kfd/kfd/topology/nodes/{node}/mem_banks/0/used_memory");
    sys.write(&bank(3), "123");
    sys.remove(&bank(4));
    let all = usage(&sys.paths(), &sys.found().devices);
    let used: Vec<_> = all[..3].iter().map(|usage| usage.used.map(|bytes| bytes.0)).collect();
    assert_eq!(used, [Some(297_611_264), Some(123), None]);
    for one in &all {
        assert_eq!((one.busy_percent, one.power_w, one.temperature_c), (None, None, Some(50)));
    }
}
