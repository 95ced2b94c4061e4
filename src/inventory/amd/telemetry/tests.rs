use super::*;
use crate::inventory::fixtures::amd_machines::{mi210x8, mi300x_cpx};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

/// A program that prints this, and what came of asking it.
fn asked(script: &str, deadline: Duration) -> Vec<SmiReading> {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join(PROGRAM);
    fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    ask(&program, deadline)
}

const SECOND: Duration = Duration::from_secs(10);

#[test]
fn what_is_not_an_answer_is_none() {
    let devices = r#"{"render_minor":128,"power_w":93.5,"new":[]}"#;
    let answer = format!(r#"echo '{{"v":1,"devices":[{devices}]}}'"#);
    let expected =
        SmiReading { render_minor: Some(128), power_w: Some(93.5), ..SmiReading::default() };
    assert_eq!(asked(&answer, SECOND), std::slice::from_ref(&expected));
    assert_eq!(asked(&format!("echo rsmi: a warning; {answer}"), SECOND), [expected]);
    for script in [
        "exit 127",
        "echo x",
        &format!("{answer}; exit 1"),
        &answer.replace("\"v\":1", "\"v\":2"),
        &answer.replace("93.5", "\"93\""),
        "kill -SEGV $$",
    ] {
        assert_eq!(asked(script, SECOND), [], "{script}");
    }
    assert_eq!(ask(Path::new("/nowhere/gpulease-rocm"), SECOND), []);
    let start = Instant::now();
    assert_eq!(asked(&format!("{answer}; sleep 60"), Duration::from_millis(200)), []);
    assert!(start.elapsed() < Duration::from_secs(20), "it is not waited for");
}

#[test]
fn it_fills_in_what_sysfs_does_not_say() {
    let sys = mi210x8();
    let devices = sys.found().devices;
    let gpu = "bus/pci/devices/0000:03:00.0";
    sys.write(&format!("{gpu}/gpu_busy_percent"), "7");
    let reading = |minor: u32| SmiReading {
        render_minor: Some(minor),
        temperature_junction_c: Some(61.9),
        power_w: Some(93.7),
        busy_percent: Some(50),
        ..SmiReading::default()
    };
    let mut usage = activity::usage(&sys.paths(), &devices);
    let before = usage.clone();
    add(&mut usage[0], &devices[0], &[reading(129), reading(128)]);
    let expected = Usage { temperature_c: Some(61), power_w: Some(93), ..before[0].clone() };
    assert_eq!(usage[0], expected, "and keeps what it says: 7 percent");
    add(&mut usage[1], &devices[1], &[reading(128)]);
    assert_eq!(usage[1], before[1], "not another one's");
    let nonsense = SmiReading {
        temperature_junction_c: Some(f64::NAN),
        power_w: Some(-1.0),
        busy_percent: Some(101),
        ..reading(129)
    };
    add(&mut usage[1], &devices[1], &[nonsense]);
    assert_eq!(usage[1], before[1]);
}

#[test]
fn of_a_partition_it_says_the_temperature_alone() {
    let sys = mi300x_cpx(1);
    let devices = sys.found().devices;
    let mut usage = activity::usage(&sys.paths(), &devices).swap_remove(3);
    let reading = SmiReading {
        render_minor: Some(131),
        temperature_edge_c: Some(40.0),
        temperature_junction_c: Some(61.9),
        power_w: Some(93.7),
        busy_percent: Some(50),
        ..SmiReading::default()
    };
    add(&mut usage, &devices[3], &[reading]);
    assert_eq!((usage.temperature_c, usage.power_w, usage.busy_percent), (Some(40), None, None));
}
