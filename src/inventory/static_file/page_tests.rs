//! gpulease-devices(5) against the parser.

use super::limits::MEMORY_MIB_MAX;
use super::limits::{MAJOR_MAX, MINOR_MAX, NODE_PATH_MAX, UNITS_MAX};
use super::*;
use std::collections::BTreeSet;

const PAGE: &str = include_str!("../../../packaging/man/gpulease-devices.5");

/// A kind of table: its heading in the page, what comes before it in a file, and a line for
/// each of its keys.
struct Table {
    heading: &'static str,
    before: &'static str,
    lines: &'static [&'static str],
}

const GPU: &str = "[[device]]
uuid = \"GPU-a\"\nvendor = \"nvidia\"\nmodel = \"M\"\nmemory_mib = 9\npci = \"1:0.0\"
nodes = [\"/dev/nvidia0\"]\n";

const OTHER: &str = "[[device]]
uuid = \"GPU-b\"\nvendor = \"nvidia\"\nmodel = \"M\"\nmemory_mib = 9\npci = \"2:0.0\"
nodes = [\"/dev/nvidia1\"]\n";

const DEVICE: Table = Table {
    heading: "[[device]]",
    before: "[[device]]\n",
    lines: &[
        "uuid = \"GPU-a\"",
        "vendor = \"nvidia\"",
        "model = \"M\"",
        "memory_mib = 9",
        "reserved_mib = 1",
        "pci = \"1:0.0\"",
        "numa_node = 0",
        "kfd_node = 1",
        "arch = \"9.0\"",
        "cuda = \"12.4\"",
        "compute_units = 132",
        "xccs = 1",
        "shader_engines = 8",
        "healthy = true",
        "nodes = [\"/dev/nvidia0\"]",
        "mig = []",
    ],
};

const INSTANCE: Table = Table {
    heading: "[[device.mig]]",
    before: "[[device.mig]]\n",
    lines: &[
        "uuid = \"MIG-a\"",
        "profile = \"1g.10gb\"",
        "gi = 2",
        "ci = 0",
        "memory_mib = 9",
        "healthy = true",
        "nodes = [\"/dev/nvidia-caps/nvidia-cap21\", \"/dev/nvidia-caps/nvidia-cap22\"]",
    ],
};

const CONTROL: Table = Table {
    heading: "[[control]]",
    before: "[[control]]\n",
    lines: &["vendor = \"nvidia\"", "nodes = [\"/dev/nvidiactl\"]"],
};

const LINK: Table = Table {
    heading: "[[link]]",
    before: "[[link]]\n",
    lines: &["devices = [\"GPU-a\", \"GPU-b\"]", "kind = \"nvlink\"", "lanes = 4"],
};

impl Table {
    /// A file with this table, but for the key, and with one more line in it.
    fn file(&self, but: &str, more: &str) -> String {
        let others = match self.heading {
            "[[device.mig]]" => GPU.to_owned(),
            "[[link]]" => format!("{GPU}{OTHER}"),
            _ => String::new(),
        };
        let lines = self.lines.iter().filter(|line| key_of(line) != but);
        let lines: String = lines.map(|line| format!("{line}\n")).collect();
        format!("{others}{}{lines}{more}\n", self.before)
    }
}

fn key_of(line: &str) -> &str {
    line.split_once(" = ").unwrap().0
}

/// A section of the page, from its heading to the next.
fn section(heading: &str) -> &'static str {
    let quoted = if heading.contains([' ', '[']) { "\"" } else { "" };
    let (_, rest) = PAGE.split_once(&format!("\n.SH {quoted}{heading}{quoted}\n")).unwrap();
    rest.split_once("\n.SH ").map_or(rest, |(section, _)| section)
}

/// The keys of a section, with what it says of each.
fn items(heading: &str) -> Vec<(&'static str, &'static str)> {
    let items = section(heading).split(".TP\n.B ").skip(1);
    items.map(|item| item.split_once('\n').unwrap()).collect()
}

fn described(heading: &str) -> BTreeSet<String> {
    items(heading).into_iter().map(|(key, _)| key.to_owned()).collect()
}

/// The keys that the parser says it expects where it meets one that it does not know.
fn known(text: &str) -> BTreeSet<String> {
    let message = parse(text).unwrap_err().to_string();
    let (_, list) = message.split_once("`no-such-key`, expected ").expect(&message);
    list.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn the_page_has_the_keys_of_the_parser_and_no_others() {
    for table in [DEVICE, INSTANCE, CONTROL, LINK] {
        let keys = known(&table.file("", "no-such-key = 1"));
        assert_eq!(described(table.heading), keys, "{}", table.heading);
        let lines: BTreeSet<String> = table.lines.iter().map(|l| key_of(l).to_owned()).collect();
        assert_eq!(lines, keys, "{}: this test lacks a line", table.heading);
    }
    // Tables have sections of their own.
    let mut top = known("no-such-key = 1");
    top.retain(|key| !PAGE.contains(&format!("\n.SH \"[[{key}]]\"\n")));
    assert_eq!(described("TOP LEVEL"), top);
    let node = GPU.replace("\"/dev/nvidia0\"", "{ no-such-key = 1 }");
    assert_eq!(described("DEVICE NODES"), known(&node));
}

#[test]
fn a_key_is_required_where_the_page_says_so() {
    for table in [DEVICE, INSTANCE, CONTROL, LINK] {
        parse(&table.file("", "")).unwrap();
        for (key, text) in items(table.heading) {
            let is_required = text.contains("\nRequired.");
            assert!(is_required != text.contains("\nOptional"), "{}: {key}", table.heading);
            let missing = format!("missing field `{key}`");
            match parse(&table.file(key, "")) {
                Ok(_) => assert!(!is_required, "{}: {key}", table.heading),
                Err(error) => {
                    assert!(is_required && error.to_string().contains(&missing), "{key}: {error}");
                }
            }
        }
    }
}

#[test]
fn the_limits_of_the_page_are_those_of_the_parser() {
    use crate::model::mig::{CI_MAX, GI_MAX, SLICES_MAX};
    for (heading, text) in [
        ("DESCRIPTION", format!("may list {DEVICES_MAX} devices")),
        ("[[device]]", format!("1 to {MODEL_MAX} printable characters")),
        ("[[device]]", format!("in MiB, 1 to {MEMORY_MIB_MAX}.")),
        ("[[device]]", format!("it has, 1 to {UNITS_MAX}.")),
        ("[[device.mig]]", format!("at most {SLICES_MAX} together")),
        ("[[device.mig]]", format!("GPU instance, 0 to {GI_MAX},")),
        ("[[device.mig]]", format!("compute instance, 0 to {CI_MAX}.")),
        ("DEVICE NODES", format!("of {NODE_PATH_MAX} printable ASCII characters")),
        ("DEVICE NODES", format!("1 to {MAJOR_MAX}.")),
        ("DEVICE NODES", format!("0 to {MINOR_MAX}.")),
    ] {
        assert!(section(heading).contains(&text), "{heading} does not say: {text}");
    }
}

#[test]
fn the_examples_of_the_page_are_devices_files() {
    let examples = section("EXAMPLES").split("\n.EX\n").skip(1);
    let counts = examples.map(|rest| {
        let text = rest.split_once(".EE\n").unwrap().0.replace("\\-", "-");
        let node = parse(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let is_simulated = node.devices.iter().all(|device| device.simulated);
        (node.devices.len(), node.links.len(), is_simulated)
    });
    let counts: Vec<_> = counts.collect();
    assert_eq!(counts, [(2, 1, false), (1, 0, false), (2, 0, false), (1, 0, true)]);
}
