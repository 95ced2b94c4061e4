use super::tests::read;
use super::*;
use crate::injection::Numbers;

/// The text of the doubt, and the facts of both readings.
fn doubtful(json: &[u8]) -> (String, Facts, Facts) {
    let facts = facts(json).unwrap();
    let text = String::from_utf8_lossy(json).into_owned();
    let doubt = facts.doubt.as_ref().unwrap_or_else(|| panic!("no doubt: {text}")).to_string();
    let second = facts.others[0].clone();
    (doubt, facts, second)
}

#[test]
fn of_equal_keys_both_readings_are_kept() {
    let (doubt, merged, first) = doubtful(
        br#"{"annotations":{"a":"1"},"process":{"env":["A=1"]},"linux":{"cgroupsPath":"x"},
        "annotations":{"gpulease/count":"3"},"process":{"env":["B=2"]},"linux":{}}"#,
    );
    assert_eq!(doubt, "`config.json` has the key `annotations` twice");
    assert_eq!(merged.annotations.len(), 2);
    assert_eq!(merged.env.len(), 2);
    assert_eq!(merged.cgroups_path.as_deref(), Some("x"));
    assert!(!first.annotations.contains_key("gpulease/count"));
    assert_eq!(first.env, [("A".to_owned(), "1".to_owned())]);
    let (doubt, merged, first) =
        doubtful(br#"{"annotations":{"gpulease/count":"2","gpulease/count":"3"}}"#);
    assert_eq!(doubt, "`annotations` has the key `gpulease/count` twice");
    let count = |facts: &Facts| facts.annotations["gpulease/count"].clone();
    assert_eq!((count(&merged).as_str(), count(&first).as_str()), ("3", "2"));
}

type Pairs = Vec<Option<(u32, u32)>>;

#[test]
fn the_last_of_two_takes_the_place_of_the_first() {
    let facts = facts(
        br#"{"linux":{"devices":[{"path":"/dev/a","major":195,"minor":7}],"namespaces":[]},
        "linux":{"devices":[{"path":"/dev/b","major":195}]},"process":{"env":["A=1"],"env":["B=2"]}}"#,
    )
    .unwrap();
    let last = &facts.others[1];
    let numbers = |facts: &Facts| facts.device_paths.iter().map(SpecDevice::numbers).collect();
    let found: Pairs = numbers(last);
    assert_eq!(found, [Some((195, 0))]);
    assert_eq!(last.env, [("B".to_owned(), "2".to_owned())]);
    assert_eq!(numbers(&facts), [Some((195, 7)), Some((195, 7))], "merged");
}

#[test]
fn a_device_without_numbers_has_zero() {
    let spec = r#"{"linux":{"devices":[{"path":"/dev/x","type":"c","major":195}]}}"#;
    assert_eq!(read(spec).device_paths[0].numbers(), Some((195, 0)));
}

/// The numbers of a spec's devices in each reading.
fn numbers(devices: &str) -> (String, Pairs, Pairs) {
    let (doubt, merged, first) = doubtful(format!(r#"{{"linux":{{{devices}}}}}"#).as_bytes());
    let of = |facts: &Facts| facts.device_paths.iter().map(SpecDevice::numbers).collect();
    (doubt, of(&merged), of(&first))
}

#[test]
fn a_device_is_found_in_each_reading() {
    let gpu = r#"{"path":"/dev/x","type":"c","major":195,"minor":0}"#;
    let (yes, no) = (Some((195, 0)), Some((1, 0)));
    for (devices, merged, first) in [
        (format!(r#""Devices":[{gpu}]"#), vec![yes], vec![]),
        (format!(r#""DEVICE\u017f":[{gpu}]"#), vec![yes], vec![]),
        (format!(r#""devices":[],"devices":[{gpu}]"#), vec![yes], vec![]),
        (format!(r#""devices":[{gpu}],"devices":[]"#), vec![yes], vec![yes]),
        // Go keeps the members of the earlier element that the later one does not have.
        (
            format!(r#""devices":[{gpu}],"devices":[{{"path":"/dev/y"}}]"#),
            vec![yes, yes],
            vec![yes],
        ),
        (r#""devices":[{"major":195,"major":1,"minor":0}]"#.to_owned(), vec![no], vec![yes]),
        (r#""devices":[{"major":1,"major":195,"minor":0}]"#.to_owned(), vec![yes], vec![no]),
        (r#""devices":[{"Major":195,"minor":0}]"#.to_owned(), vec![yes], vec![Some((0, 0))]),
    ] {
        let (_, found, second) = numbers(&devices);
        assert_eq!((found, second), (merged, first), "{devices}");
    }
}

#[test]
fn a_number_is_what_is_left_of_it_in_a_node() {
    for (major, minor, expected) in [
        ("4294967491", "0", Some((195, 0))),
        ("-4294967101", "0", Some((195, 0))),
        // A node's number has 12 bits for the major and 20 for the minor.
        ("4291", "0", Some((195, 0))),
        ("195", "1048576", Some((195, 0))),
        ("\"195\"", "0", Some((195, 0))),
        // Any other value is no number for crun, and runc does not start.
        ("195.0", "0", Some((0, 0))),
        ("true", "0", Some((0, 0))),
        ("195", "18446744073709551616", Some((195, 0))),
    ] {
        let device = format!(r#""devices":[{{"major":{major},"minor":{minor}}}]"#);
        let (doubt, found, second) = numbers(&device);
        assert_eq!((found, second), (vec![expected], vec![expected]), "{device}");
        assert!(doubt.contains("in `linux.devices` is"), "{doubt}");
    }
    let rules = |rule: &str| {
        let rule = format!(r#"{{"allow":true,"type":"c",{rule},"access":"rw"}}"#);
        let facts = read(&format!(r#"{{"linux":{{"resources":{{"devices":[{rule}]}}}}}}"#));
        (facts.doubt.is_some(), facts.rules.opened)
    };
    let any = |major| vec![Numbers { major, minor: None }];
    assert_eq!(rules(r#""major":195,"minor":-1"#), (false, any(Some(195))));
    assert_eq!(rules(r#""major":"195","minor":null"#), (true, any(None)), "as crun has it");
    assert_eq!(rules(r#""major":4294967491"#), (true, any(Some(195))));
}

#[test]
fn every_key_that_is_read_is_known_in_other_letters() {
    let spec = include_str!("../../../tests/fixtures/docker-config.json");
    assert_eq!(read(spec).doubt, None);
    for (key, place) in [
        ("annotations", "config.json"),
        ("process", "config.json"),
        ("mounts", "config.json"),
        ("hooks", "config.json"),
        ("linux", "config.json"),
        ("env", "process"),
        ("capabilities", "process"),
        ("user", "process"),
        ("prestart", "hooks"),
        ("resources", "linux"),
        ("namespaces", "linux"),
        ("cgroupsPath", "linux"),
        ("maskedPaths", "linux"),
        ("seccomp", "linux"),
        ("allow", "linux.resources.devices"),
        ("destination", "mounts"),
        ("source", "mounts"),
        ("options", "mounts"),
    ] {
        let upper = key.to_uppercase();
        let changed = spec.replacen(&format!("\"{key}\":"), &format!("\"{upper}\":"), 1);
        assert_ne!(spec, changed, "{key}");
        let expected =
            format!("`{place}` has the key `{upper}`, which some runtimes read as `{key}`");
        assert_eq!(doubtful(changed.as_bytes()).0, expected);
    }
}

#[test]
fn what_only_a_runtime_reads_as_json_is_doubted() {
    let spec = r#"{"process":{"env":["A=1"]},"annotations":{"gpulease/count":"1"}}"#;
    for text in [
        format!("{spec} garbage").into_bytes(),
        format!("{spec}\0").into_bytes(),
        format!("/* */{spec}").into_bytes(),
        spec.replace('"', "'").into_bytes(),
        spec.replace("]}", "],}").into_bytes(),
        spec.replace("A=1", "A=\t").into_bytes(),
        spec.replacen('{', "{\"a\":TRUE,", 1).into_bytes(),
        spec.replace(",\"ann", ", // x\n\"ann").into_bytes(),
        spec.replace("A=1", "A=\\ud800").into_bytes(),
        [b"{\"process\":{\"env\":[\"\xff\"]},".as_slice(), &spec.as_bytes()[1..]].concat(),
    ] {
        let (doubt, merged, first) = doubtful(&text);
        for facts in [merged, first] {
            let count = facts.annotations.get("gpulease/count").map(String::as_str);
            assert_eq!(count, Some("1"), "{doubt}");
        }
    }
    // An annotation's value may be of any depth.
    let deep = "[".repeat(2000) + &"]".repeat(2000);
    let facts = read(&format!(r#"{{"annotations":{{"a":{{"b":{deep}}},"gpulease/count":"1"}}}}"#));
    assert_eq!((facts.doubt, facts.annotations.len()), (None, 1));
}
