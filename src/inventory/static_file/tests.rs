use super::limits::MINOR_MAX;
use super::*;
use crate::inventory::profiles::PROFILES;
use crate::model::device::{LinkKind, Vendor};
use proptest::prelude::*;

/// A `[[device]]` with everything that is required; `extra` comes last.
fn device(uuid: &str, pci: &str, nodes: &str, extra: &str) -> String {
    format!(
        "[[device]]\nuuid = \"{uuid}\"\nvendor = \"nvidia\"\nmodel = \"M\"\nmemory_mib = 1000\n\
         pci = \"{pci}\"\nnodes = {nodes}\n{extra}\n"
    )
}

fn pair() -> String {
    device("GPU-b", "2:0.0", "[\"/dev/nvidia1\"]", "")
        + &device("GPU-a", "1:0.0", "[\"/dev/nvidia0\"]", "")
}

fn problem(text: &str) -> (usize, usize, String) {
    match parse(text) {
        Ok(node) => panic!("accepted: {text}\n{node:?}"),
        Err(error) => (error.line, error.column, error.problem.to_string()),
    }
}

#[test]
fn devices_are_numbered_in_pci_order() {
    let text = pair() + "[[link]]\ndevices = [\"GPU-b\", \"GPU-a\"]\nkind = \"nvlink\"\nlanes = 4";
    let node = parse(&text).unwrap();
    let order: Vec<_> = node.devices.iter().map(|d| (d.index, d.uuid.as_str())).collect();
    assert_eq!(order, [(0, "GPU-a"), (1, "GPU-b")]);
    let link = &node.links[0];
    assert_eq!((link.a.as_str(), link.b.as_str()), ("GPU-a", "GPU-b"));
    assert_eq!((link.kind, link.lanes), (LinkKind::NvLink, 4));
    assert!(node.devices.iter().all(|d| !d.simulated && d.healthy.is_none()));
    assert_eq!(node.devices[0].nodes[0].simulated, None);
    assert_eq!(parse("").unwrap(), Node::default());
}

#[test]
fn every_key_is_read() {
    let node = parse(
        r#"
        [[device]]
        uuid = "GPU-084cafeae17e7696"
        vendor = "amd"
        model = "AMD Instinct MI300X"
        memory_mib = 196592
        reserved_mib = 284
        pci = "0000:85:00.0"
        numa_node = 1
        kfd_node = 2
        arch = "gfx942"
        compute_units = 304
        xccs = 8
        shader_engines = 4
        healthy = false
        nodes = ["/dev/dri/card1", { path = "/dev/dri/renderD128" }]
        [[control]]
        vendor = "amd"
        nodes = ["/dev/kfd"]
        "#,
    )
    .unwrap();
    let device = &node.devices[0];
    assert_eq!(device.memory_total_bytes, Some(Bytes(206_141_652_992)));
    assert_eq!(device.capacity(), Some(Bytes::from_mib(196_308)));
    assert_eq!((device.numa_node, device.kfd_node), (Some(1), Some(2)));
    let details = &device.details;
    assert_eq!(details.arch.as_deref(), Some("gfx942"));
    let units = (details.compute_units, details.xccs, details.shader_engines);
    assert_eq!(units, (Some(304), Some(8), Some(4)));
    assert_eq!(device.healthy, Some(false));
    assert_eq!(device.nodes[1].path, "/dev/dri/renderD128");
    assert_eq!(node.control_of(Vendor::Amd).next().unwrap().path, "/dev/kfd");
}

#[test]
fn what_a_device_is_made_of_is_checked() {
    let with = |extra: &str| device("GPU-a", "1:0.0", "[\"/dev/nvidia0\"]", extra);
    let node = parse(&with("arch = \"9.0\"\ncuda = \"13.1\"")).unwrap();
    let details = &node.devices[0].details;
    assert_eq!((details.arch.as_deref(), details.cuda.as_deref()), (Some("9.0"), Some("13.1")));
    for (bad, said) in [
        ("arch = \"sm_90\"", "the `arch` `sm_90` is neither"),
        ("arch = \"gfx942\"", "the `arch` `gfx942` is neither"),
        ("arch = \"9.\"", "the `arch` `9.` is neither"),
        ("cuda = \"13\"", "the `cuda` `13` is not a version like `12.4`"),
        ("compute_units = 0", "`compute_units` is 0, allowed are 1 to 4096"),
        ("xccs = 4097", "`xccs` is 4097, allowed are 1 to 4096"),
        ("shader_engines = 0", "`shader_engines` is 0, allowed are 1 to 4096"),
    ] {
        let (line, _, found) = problem(&with(bad));
        assert!(line == 8 && found.starts_with(said), "{line}: {found}");
    }
    let amd = with("arch = \"9.0\"").replace("nvidia\"", "amd\"");
    assert!(problem(&amd).2.starts_with("the `arch` `9.0` is neither"));
}

#[test]
fn a_group_of_links_is_every_pair() {
    let mut text = String::new();
    for i in 0..4 {
        text += &device(&format!("GPU-{i}"), &format!("{i}:0.0"), &format!("[\"/dev/n{i}\"]"), "");
    }
    text += "[[link]]\ndevices = [\"GPU-3\", \"GPU-0\", \"GPU-2\"]\nkind = \"nvlink\"\n";
    text += "[[link]]\ndevices = [\"GPU-0\", \"GPU-3\"]\nkind = \"pcie\"\n";
    let links = parse(&text).unwrap().links;
    let pairs: Vec<_> = links.iter().map(|l| (l.a.as_str(), l.b.as_str(), l.kind)).collect();
    assert_eq!(
        pairs,
        [
            ("GPU-0", "GPU-2", LinkKind::NvLink),
            ("GPU-0", "GPU-3", LinkKind::NvLink),
            ("GPU-0", "GPU-3", LinkKind::Pcie),
            ("GPU-2", "GPU-3", LinkKind::NvLink),
        ]
    );
}

#[test]
fn wrong_devices_are_refused() {
    let node = "[\"/dev/nvidia0\"]";
    let first = || device("GPU-a", "1:0.0", node, "kfd_node = 2");
    let second = |uuid, pci, extra| first() + &device(uuid, pci, "[\"/dev/n1\"]", extra);
    let with = |from: &str, to: &str| first().replace(from, to);
    let table = [
        ("simulatd = true".into(), (1, 1), "unknown field `simulatd`"),
        ("simulated = 1".into(), (1, 13), "`simulated`: invalid type: integer `1`"),
        ("device = 1".into(), (1, 10), "`device`: invalid type"),
        (with("vendor", "vendr"), (3, 1), "unknown field `vendr`"),
        (with("vendor = \"nvidia\"", ""), (1, 1), "missing field `vendor`"),
        (
            with("\"nvidia\"", "\"matrox\""),
            (3, 10),
            "unknown variant `matrox`, expected one of `nvidia`",
        ),
        (with("GPU-a", "GPU-a/b"), (2, 8), "character '/' at position 5"),
        (with("GPU-a", ""), (2, 8), "device UUID is empty"),
        (with("GPU-a", "0"), (2, 8), "`0` does not begin with `GPU-` (a MIG instance"),
        (with("GPU-a", "GPU-"), (2, 8), "`GPU-` does not begin with"),
        (with("1:0.0", "1:0"), (6, 7), "`1:0` is not a PCI address"),
        (with("\"M\"", "\" \""), (4, 9), "the model ` ` is not a name"),
        (with("\"M\"", "\"a\\u001bb\""), (4, 9), "the model `a\\u{1b}b` is not a name"),
        (with("= 1000", "= 0"), (5, 14), "`memory_mib` of `GPU-a` is 0"),
        (with("= 1000", "= -1"), (5, 14), "`-1`"),
        (with("= 1000", "= 1.5"), (5, 14), "`1.5`"),
        (with("= 1000", "= 99999999"), (5, 14), "at most 16777216"),
        (with("kfd_node = 2", "reserved_mib = 1000"), (8, 16), "leaves nothing of `memory_mib`"),
        (with("kfd_node = 2", "numa_node = -1"), (8, 13), "`-1`"),
        (with(node, "[]"), (7, 9), "device `GPU-a` has no `nodes`"),
        (with(node, "\"/dev/nvidia0\""), (7, 9), "invalid type: string"),
        (with(node, "[1]"), (7, 10), "expected a path, or a table with `path`"),
        (with(node, "[{ path = \"/dev/x\", mode = 1 }]"), (7, 29), "unknown field `mode`"),
        (with(node, "[{ major = 1 }]"), (7, 10), "missing field `path`"),
        (second("GPU-a", "2:0.0", ""), (10, 8), "`GPU-a` is given twice"),
        (second("GPU-A", "2:0.0", ""), (10, 8), "`GPU-A` is given twice"),
        (
            second("GPU-b", "0000:01:00.0", ""),
            (14, 7),
            "`0000:01:00.0` is given twice: device `GPU-a`",
        ),
        (second("GPU-b", "2:0.0", "kfd_node = 2"), (16, 12), "the KFD node 2 is given twice"),
    ];
    for (text, (line, column), part) in table {
        let (found_line, found_column, message) = problem(&text);
        assert!(message.contains(part), "no {part} in: {message}");
        assert_eq!((found_line, found_column), (line, column), "{message}");
    }
}

#[test]
fn wrong_nodes_are_refused() {
    let numbered = |path: &str, major: u32, minor: u32| {
        format!("{{ path = \"{path}\", major = {major}, minor = {minor} }}")
    };
    let long = format!("/dev/{}", "x".repeat(124));
    let real = |nodes: &str| device("GPU-a", "1:0.0", nodes, "");
    let simulated = |nodes: &str| format!("simulated = true\n{}", real(nodes));
    let control = "[[control]]\nvendor = \"nvidia\"\nnodes = [\"/dev/nvidia0\"]";
    let table = [
        (real("[\"nvidia0\"]"), "`nvidia0` is not below `/dev/`"),
        (real("[\"/dev\"]"), "not below"),
        (real("[\"/etc/shadow\"]"), "not below"),
        (real("[\"/dev/../etc/x\"]"), "has `..`"),
        (real("[\"/dev/a/..\"]"), "has `..`"),
        (real("[\"/dev//a\"]"), "empty part"),
        (real("[\"/dev/\"]"), "empty part"),
        (real("[\"/dev/./a\"]"), "empty part or `.`"),
        (real("[\"/dev/a b\"]"), "other than printable ASCII"),
        (real("[\"/dev/ü\"]"), "other than printable ASCII"),
        (real("[\"/dev/a\\u001b\"]"), "`/dev/a\\u{1b}`"),
        (real(&format!("[\"{long}\"]")), "longer than 128"),
        (real("[\"/dev/a\", \"/dev/a\"]"), "for device `GPU-a` and for device `GPU-a`"),
        (pair().replace("nvidia1", "nvidia0"), "for device `GPU-b` and for device `GPU-a`"),
        (real("[\"/dev/nvidia0\"]") + control, "for device `GPU-a` and for every nvidia device"),
        (real(&format!("[{}]", numbered("/dev/a", 195, 0))), "read from the host when"),
        (real("[{ path = \"/dev/a\", minor = 0 }]"), "read from the host when"),
        (simulated("[\"/dev/a\"]"), "write { path = \"/dev/a\", major = …, minor = … }"),
        (simulated("[{ path = \"/dev/a\", major = 1 }]"), "has no numbers"),
        (simulated(&format!("[{}]", numbered("/dev/a", 0, 0))), "number 0:0; allowed are majors 1"),
        (simulated(&format!("[{}]", numbered("/dev/a", 4096, 0))), "majors 1 to 4095"),
        (simulated(&format!("[{}]", numbered("/dev/a", 1, 1 << 20))), "minors 0 to 1048575"),
        (
            simulated(&format!("[{}, {}]", numbered("/dev/a", 9, 9), numbered("/dev/b", 9, 9))),
            "`/dev/a` and `/dev/b` have the same number 9:9",
        ),
    ];
    for (text, part) in table {
        let (_, _, message) = problem(&text);
        assert!(message.contains(part), "no {part} in: {message}");
    }
    let extremes =
        format!("[{}, {}]", numbered("/dev/a", 1, 0), numbered("/dev/b", 4095, MINOR_MAX));
    let node = parse(&simulated(&extremes)).unwrap();
    assert!(node.devices[0].simulated);
    assert_eq!(node.devices[0].nodes[1].simulated.unwrap().minor, MINOR_MAX);
}

#[test]
fn wrong_links_are_refused() {
    let amd = device("GPU-c", "3:0.0", "[\"/dev/dri/card0\"]", "").replace("nvidia\"", "amd\"");
    let link = |rest: &str| pair() + &amd + "[[link]]\n" + rest;
    let table = [
        (
            link("devices = [\"GPU-a\", \"GPU-x\"]\nkind = \"pcie\""),
            "`GPU-x`, which this file does",
        ),
        (link("devices = [\"GPU-a\"]\nkind = \"pcie\""), "at least two `devices`, here it has 1"),
        (link("devices = []\nkind = \"pcie\""), "here it has 0"),
        (
            link("devices = [\"GPU-a\", \"GPU-a\"]\nkind = \"pcie\""),
            "names the device `GPU-a` twice",
        ),
        (link("devices = [\"GPU-a\", \"GPU-b\"]\nkind = \"sli\""), "unknown variant `sli`"),
        (link("devices = [\"GPU-a\", \"GPU-b\"]\nkind = \"pcie\"\nlanes = 0"), "`lanes` is 0"),
        (
            link("devices = [\"GPU-a\", \"GPU-b\"]\nkind = \"xgmi\""),
            "made by nvidia and has no xgmi",
        ),
        (
            link("devices = [\"GPU-b\", \"GPU-c\"]\nkind = \"nvlink\""),
            "made by amd and has no nvlink",
        ),
        (link("devices = [\"GPU-a\", \"GPU-b\"]\nknd = \"pcie\""), "unknown field `knd`"),
        (
            link(
                "devices = [\"GPU-a\", \"GPU-b\"]\nkind = \"pcie\"\n\
                 [[link]]\ndevices = [\"GPU-b\", \"GPU-a\"]\nkind = \"pcie\"",
            ),
            "the pcie link between `GPU-a` and `GPU-b` is given twice",
        ),
    ];
    for (text, part) in table {
        let (_, _, message) = problem(&text);
        assert!(message.contains(part), "no {part} in: {message}");
    }
    assert_eq!(
        parse(&link("devices = [\"GPU-a\", \"GPU-c\"]\nkind = \"pcie\"")).unwrap().links[0].lanes,
        1
    );
}

#[test]
fn a_node_has_at_most_256_devices() {
    let many = |count: usize| {
        (0..count)
            .map(|i| {
                let pci = format!("{:04x}:{:02x}:00.0", i / 256, i % 256);
                device(&format!("GPU-{i}"), &pci, &format!("[\"/dev/n{i}\"]"), "")
            })
            .collect::<String>()
    };
    assert_eq!(parse(&many(256)).unwrap().devices.len(), 256);
    assert!(problem(&many(257)).2.contains("257 devices, at most 256"));
}

proptest! {
    #[test]
    fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Err(error) = parse(&String::from_utf8_lossy(&bytes)) {
            prop_assert!(!error.to_string().chars().any(char::is_control));
        }
    }

    #[test]
    fn a_broken_profile_never_panics(
        profile in 0..PROFILES.len(),
        at in 0usize..8000,
        cut in 0usize..40,
        junk in "[\"\\[\\]={}#.0-9\\PC]{0,4}",
    ) {
        let mut text: Vec<char> = PROFILES[profile].toml.chars().collect();
        let at = at % text.len();
        let end = (at + cut).min(text.len());
        text.splice(at..end, junk.chars());
        let text: String = text.into_iter().collect();
        match parse(&text) {
            Ok(node) => prop_assert!(node.is_numbered()),
            Err(error) => prop_assert!(!error.to_string().chars().any(char::is_control)),
        }
    }
}
