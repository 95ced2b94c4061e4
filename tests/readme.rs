//! README.md, CHANGELOG.md and the examples against the code: what they promise must be there.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may"
)]

use gpulease::door::allocator::{Requester, Snapshot, grant};
use gpulease::door::config::Config;
use gpulease::door::inventory::profiles::PROFILES;
use gpulease::door::inventory::static_file;
use gpulease::door::model::code::Code;
use gpulease::door::model::device::{Node, Partition, Vendor};
use gpulease::door::model::facilities::{Facilities, Mps, MpsDaemons};
use gpulease::door::request::{Input, Policy, keys, parse};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

const README: &str = include_str!("../README.md");
const CHANGELOG: &str = include_str!("../CHANGELOG.md");
const COMPOSE: &str = include_str!("../packaging/examples/compose.yaml");
const QUADLET: &str = include_str!("../packaging/examples/gpulease-worker.container");
const UNIT: &str = include_str!("../packaging/examples/gpulease-worker.service");
const KUBERNETES: &str = include_str!("../packaging/examples/kubernetes.yaml");
const CONFIG: &str = include_str!("../packaging/config.toml");
const DEMO: &str =
    concat!(include_str!("../packaging/demo/demo.sh"), include_str!("../packaging/demo/engine.sh"));

const BEGIN: &str = "<!-- annotations:begin -->\n";
const END: &str = "<!-- annotations:end -->";

/// The code blocks of this language, with the indentation of their fence taken off.
fn blocks(language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = README.lines();
    while let Some(line) = lines.next() {
        let indent = line.len() - line.trim_start().len();
        if line.trim_start() != format!("```{language}") {
            continue;
        }
        let inside = lines.by_ref().take_while(|line| line.trim() != "```");
        let inside: Vec<&str> = inside.map(|line| line.get(indent..).unwrap_or("")).collect();
        blocks.push(inside.join("\n"));
    }
    assert!(!blocks.is_empty(), "README.md has no block of {language}");
    blocks
}

/// The lines of `gpulease/<key>` in a text, without what follows the key.
fn native_keys(text: &str) -> BTreeSet<&str> {
    let is_of_key = |c: char| c.is_ascii_lowercase() || c == '-';
    let at = text.match_indices(keys::PREFIX).filter(|(at, _)| {
        // Not a part of a path, or of a word like `gpulease.granted/`.
        let before = text[..*at].chars().next_back().unwrap_or(' ');
        !before.is_ascii_alphanumeric() && !matches!(before, '/' | '_' | '-')
    });
    at.map(|(at, _)| {
        let rest = &text[at + keys::PREFIX.len()..];
        &rest[..rest.find(|c| !is_of_key(c)).unwrap_or(rest.len())]
    })
    .filter(|key| !key.is_empty())
    .collect()
}

fn annotation_table() -> String {
    let mut out = String::from("| annotation | value | default | meaning |\n|---|---|---|---|\n");
    for key in keys::KEYS {
        let mut meaning = key.meaning.to_owned();
        if let Some(alias) = key.alias {
            meaning += &format!("; also read from `{}` ({})", alias.name, alias.syntax);
        }
        if let Some(note) = key.support.note() {
            meaning += &format!(" ({note})");
        }
        let cells = [&format!("`{}`", key.name), key.syntax, key.default, &meaning]
            .map(|cell| cell.replace('|', "\\|"));
        out += &format!("| {} |\n", cells.join(" | "));
    }
    out
}

#[test]
fn the_annotation_table_is_that_of_the_code() {
    let begin = README.find(BEGIN).expect("the marker of the table's begin") + BEGIN.len();
    let end = README.find(END).expect("the marker of the table's end");
    let expected = annotation_table();
    assert!(
        README[begin..end] == expected,
        "put this between the markers of README.md:\n\n{expected}"
    );
}

#[test]
fn every_key_that_is_mentioned_is_known() {
    for (name, text) in [
        ("README.md", README),
        ("compose.yaml", COMPOSE),
        ("kubernetes.yaml", KUBERNETES),
        ("gpulease-worker.container", QUADLET),
        ("gpulease-worker.service", UNIT),
    ] {
        let found = native_keys(text);
        assert!(!found.is_empty(), "{name} mentions no key");
        for key in found {
            assert!(keys::by_short_name(key).is_some(), "{name} mentions `gpulease/{key}`");
        }
    }
    // The demo misspells one on purpose.
    let mut in_demo = native_keys(DEMO);
    assert!(in_demo.remove("cuont"));
    assert!(in_demo.iter().all(|key| keys::by_short_name(key).is_some()), "{in_demo:?}");
}

/// What stands under each `annotations:`, line by line: enough of YAML for our own files.
fn compose_annotations(yaml: &str) -> Vec<BTreeMap<String, String>> {
    let indent_of = |line: &str| line.len() - line.trim_start().len();
    let mut services = Vec::new();
    let mut lines = yaml.lines().peekable();
    while let Some(line) = lines.next() {
        if line.trim() != "annotations:" {
            continue;
        }
        let mut annotations = BTreeMap::new();
        while let Some(entry) = lines.next_if(|next| indent_of(next) > indent_of(line)) {
            let (key, value) = entry.trim().split_once(": ").expect("`key: value`");
            // Compose wants strings: a bare number is an error of its own.
            let value = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
            annotations.insert(key.to_owned(), value.expect("a quoted value").to_owned());
        }
        services.push(annotations);
    }
    services
}

/// What is asked for is granted on one of the nodes that can be simulated.
fn assert_is_granted(annotations: &BTreeMap<String, String>) {
    let input = Input { annotations, env: &[], container_name: None };
    let request = parse(&input, &Policy::default());
    let Ok(Some(request)) = &request else { panic!("{annotations:?}: {request:?}") };
    let is_granted = PROFILES.iter().any(|profile| {
        let node = static_file::parse(profile.toml).unwrap();
        grant(&Snapshot::idle(&node), request).is_ok()
    });
    assert!(is_granted, "{annotations:?} is granted by no node");
}

#[test]
fn the_compose_examples_ask_for_gpus() {
    let mut services = compose_annotations(COMPOSE);
    assert_eq!(services.len(), 2);
    for block in blocks("yaml") {
        services.extend(compose_annotations(&block));
    }
    assert_eq!(services.len(), 4, "of Compose, and one Pod");
    services.iter().for_each(assert_is_granted);
}

#[test]
fn the_examples_for_systemd_ask_for_gpus() {
    let quadlet = QUADLET.lines().filter_map(|line| line.strip_prefix("Annotation="));
    let unit = UNIT.lines().filter_map(|line| line.trim().strip_prefix("--annotation "));
    let unit = unit.map(|rest| rest.trim_end_matches('\\').trim());
    for pairs in [quadlet.collect::<Vec<_>>(), unit.collect()] {
        assert_eq!(pairs.len(), 3, "{pairs:?}");
        let pairs = pairs.iter().map(|pair| pair.split_once('=').expect("key=value"));
        assert_is_granted(&pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect());
    }
}

/// Commands of `console` blocks with their continuation lines, without a prompt.
fn commands() -> Vec<String> {
    let text = blocks("console").join("\n").replace("\\\n", " ");
    let lines = text.lines().map(|line| line.trim().trim_start_matches("$ ").to_owned());
    lines.collect()
}

fn words(command: &str) -> Vec<String> {
    command.split_whitespace().map(|word| word.trim_matches('\'').to_owned()).collect()
}

#[test]
fn every_run_in_the_readme_asks_for_gpus() {
    let mut seen = 0;
    let runs = |command: &&String| {
        command.starts_with("docker run")
            || command.starts_with("ctr run")
            || command.starts_with("podman --runtime")
            || command.starts_with("podman run")
    };
    for command in commands().iter().filter(runs) {
        let words = words(command);
        let values = words.windows(2).filter(|pair| pair[0] == "--annotation");
        let annotations: BTreeMap<String, String> = values
            .map(|pair| pair[1].split_once('=').expect("key=value"))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        assert_is_granted(&annotations);
        seen += 1;
    }
    assert!(seen >= 9, "only {seen} examples");
}

#[test]
fn every_explain_in_the_readme_is_a_request() {
    let commands = commands();
    let explained = commands.iter().filter_map(|command| command.strip_prefix("gpulease explain "));
    let mut seen = 0;
    for arguments in explained {
        let pairs = words(arguments);
        let pairs = pairs.iter().filter_map(|word| word.split_once('='));
        let annotations =
            pairs.map(|(key, value)| (format!("{}{key}", keys::PREFIX), value.to_owned()));
        assert_is_granted(&annotations.collect());
        seen += 1;
    }
    assert!(seen >= 2);
}

/// Runs `gpulease` and gives what it says on stdout.
#[cfg(feature = "cli")]
fn cli(arguments: &[&str]) -> String {
    let output =
        std::process::Command::new(env!("CARGO_BIN_EXE_gpulease")).args(arguments).output();
    String::from_utf8(output.unwrap().stdout).unwrap()
}

/// The subcommands in a help text.
#[cfg(feature = "cli")]
fn subcommands(help: &str) -> BTreeSet<String> {
    let section = help.lines().skip_while(|line| line.trim() != "Commands:").skip(1);
    let section = section.take_while(|line| !line.trim().is_empty());
    // A description that needs a second line is indented deeper.
    let names = section.filter(|line| line.starts_with("  ") && !line.starts_with("    "));
    names.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

#[cfg(feature = "cli")]
#[test]
fn every_command_that_is_mentioned_exists() {
    let known = subcommands(&cli(&["--help"]));
    let mut mentioned = BTreeSet::new();
    for text in [README, CHANGELOG, DEMO, CONFIG] {
        for (at, program) in text.match_indices("gpulease ") {
            let opened = text[..at].chars().next_back();
            // A command stands in backticks, quotes or after a prompt; all else is prose.
            if !matches!(opened, Some('`' | '"' | '\'')) && !text[..at].ends_with("$ ") {
                continue;
            }
            let rest = &text[at + program.len()..];
            let word = &rest[..rest.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(0)];
            mentioned.insert(word.to_owned());
        }
    }
    for command in commands() {
        if let Some(rest) = command.strip_prefix("gpulease ") {
            mentioned.insert(rest.split_whitespace().next().unwrap().to_owned());
        }
    }
    mentioned.remove("");
    assert!(mentioned.len() >= 5, "{mentioned:?}");
    assert!(mentioned.is_subset(&known), "mentioned {mentioned:?}, known {known:?}");
    let table = README.split("| command |").nth(1).unwrap().split("\n\n").next().unwrap();
    for name in known.iter().filter(|name| *name != "help") {
        assert!(table.contains(&format!("`gpulease {name}`")), "`{name}` is not in the table");
    }
    let actions = subcommands(&cli(&["inventory", "--help"]));
    for action in ["refresh", "show", "example"] {
        assert!(actions.contains(action), "{actions:?}");
    }
}

#[test]
fn the_json_and_toml_blocks_are_valid() {
    for block in blocks("json") {
        let json: serde_json::Value = serde_json::from_str(&block).unwrap();
        let path = json["runtimes"]["gpulease"]["path"].as_str().unwrap();
        assert!(path.ends_with("/gpulease-runtime"));
    }
    let (devices, configs): (Vec<_>, Vec<_>) =
        blocks("toml").into_iter().partition(|block| block.contains("[[device]]"));
    assert!(devices.len() >= 2 && !configs.is_empty());
    // Who has a GPU of each kind puts one below the other.
    let both = static_file::parse(&devices.join("\n")).unwrap();
    assert!(both.devices.len() > devices.len(), "{both:?}");
    for block in devices {
        let node = static_file::parse(&block).unwrap();
        let whole = node.devices.iter().filter(|device| device.instance().is_none());
        assert_eq!(whole.count(), 1);
    }
    for block in configs {
        let config = Config::default().with_text(&block, Path::new("README.md")).unwrap();
        assert_ne!(config, Config::default());
    }
}

/// The keys of packaging/config.toml with their values, policy's with their table's name.
fn config_keys() -> Vec<(String, String)> {
    let mut table = String::new();
    let mut found = Vec::new();
    for line in CONFIG.lines().filter_map(|line| line.strip_prefix('#')) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            table = format!("{name}.");
        } else if let Some((key, value)) = line.split_once(" = ").filter(|_| !line.starts_with(' '))
        {
            found.push((format!("{table}{key}"), value.trim_matches('"').to_owned()));
        }
    }
    found
}

#[test]
fn the_configuration_table_has_keys_and_defaults() {
    let keys = config_keys();
    assert!(keys.len() >= 10, "{keys:?}");
    for (key, value) in keys {
        let row = README.lines().find(|line| line.starts_with(&format!("| `{key}` |")));
        let row = row.unwrap_or_else(|| panic!("`{key}` is not in the table"));
        // These depend on the host.
        if !matches!(key.as_str(), "runtime" | "hook" | "mps.control") {
            assert!(row.starts_with(&format!("| `{key}` | `{value}` |")), "{row}: not {value}");
        }
    }
}

#[test]
fn the_table_of_codes_is_complete() {
    let rows: Vec<&str> = README.lines().filter(|line| line.starts_with("| `")).collect();
    for code in Code::ALL {
        let begin = format!("| `{code}` | {} |", code.exit_status());
        assert!(rows.iter().any(|row| row.starts_with(&begin)), "no row `{begin}`");
    }
}

#[test]
fn links_to_headings_lead_somewhere() {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let headings: BTreeSet<String> = README
        .lines()
        .filter_map(|line| line.strip_prefix("##"))
        .map(|line| line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-"))
        .map(|line| line.chars().filter(|c| plain(*c)).collect())
        .collect();
    let links = README.split("](#").skip(1).filter_map(|rest| rest.split(')').next());
    let dead: Vec<&str> = links.filter(|link| !headings.contains(*link)).collect();
    assert!(dead.is_empty(), "{dead:?} of {headings:?}");
}

#[test]
fn the_manual_pages_are_named() {
    let pages = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/man"));
    let mut seen = 0;
    for page in pages.unwrap() {
        let name = page.unwrap().file_name().into_string().unwrap();
        let (page, section) = name.rsplit_once('.').unwrap();
        assert!(README.contains(&format!("{page}({section})")), "{name} is not in README.md");
        seen += 1;
    }
    assert!(seen >= 5);
}

#[test]
fn linked_files_exist() {
    for (_, rest) in README.match_indices("](").map(|(at, _)| README[at..].split_at(2)) {
        let target = rest.split(')').next().unwrap();
        let is_file = !target.starts_with('#') && !target.contains("://");
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(target);
        assert!(!is_file || path.exists(), "{target} is linked, but not there");
    }
}

#[test]
fn the_changelog_has_this_version() {
    let heading = format!("## [{}]", env!("CARGO_PKG_VERSION"));
    assert!(CHANGELOG.lines().any(|line| line.starts_with(&heading)), "no {heading}");
}

#[test]
fn the_packages_are_those_of_this_version() {
    let version = env!("CARGO_PKG_VERSION");
    for name in [format!("gpulease_{version}-1_"), format!("gpulease-{version}-1.")] {
        assert!(README.contains(&name), "{name}");
    }
}

const ENFORCEMENT_BEGIN: &str = "<!-- enforcement:begin -->\n";
const ENFORCEMENT_END: &str = "<!-- enforcement:end -->";

/// Lease, isolation, compute and memory of each row.
fn enforcement_rows() -> Vec<[String; 4]> {
    let (_, rest) = README.split_once(ENFORCEMENT_BEGIN).unwrap();
    let (table, _) = rest.split_once(ENFORCEMENT_END).unwrap();
    let cells = |line: &str| {
        let cells: Vec<String> = line.split('|').map(|cell| cell.trim().replace('`', "")).collect();
        assert_eq!(cells.len(), 7, "{line}");
        assert!(!cells[5].is_empty(), "{line}");
        [1, 2, 3, 4].map(|at| cells[at].clone())
    };
    table.lines().skip(2).map(cells).collect()
}

/// A real device in form: of a simulated node, and as large.
fn device(profile: &str, at: usize) -> Node {
    let profile = PROFILES.iter().find(|p| p.name == profile).unwrap();
    let node = static_file::parse(profile.toml).unwrap();
    let mut device = node.devices[at].clone();
    device.simulated = false;
    device.index = 0;
    match device.vendor {
        Vendor::Nvidia => device.details.arch = Some("9.0".into()),
        _ => {
            device.details.arch = Some("gfx942".into());
            device.details.compute_units = Some(304);
            device.details.xccs = Some(8);
        }
    }
    Node { devices: vec![device], ..Node::default() }
}

/// A host where all is there; what is not, the rows say.
fn means(node: &Node, dmem: bool, daemons: MpsDaemons) -> Facilities {
    let device = &node.devices[0];
    let region = match device.vendor {
        Vendor::Nvidia => format!("nvidia/{}/vidmem", device.pci),
        _ => format!("drm/{}/vram0", device.pci),
    };
    let exclusive = match daemons {
        MpsDaemons::PerDevice => Ok(()),
        MpsDaemons::PerLease => Err("there are several".into()),
    };
    Facilities {
        dmem: if dmem { Ok([(region, 1 << 40)].into()) } else { Err("there is none".into()) },
        mps: Ok(Mps { control: "/usr/bin/nvidia-cuda-mps-control".into(), daemons, exclusive }),
    }
}

/// What the table calls a lease: its node, the request, and what the host has.
fn situation(lease: &str) -> (Node, Vec<(&'static str, &'static str)>, Facilities, bool) {
    use MpsDaemons::{PerDevice, PerLease};
    let (lease, dmem) = match lease.strip_suffix(", kernel with dmem") {
        Some(lease) => (lease, true),
        None => (lease, false),
    };
    let half = vec![("gpulease/compute", "0.5")];
    let nvidia = || device("h100x8", 0);
    let amd = || device("mi300x8", 0);
    let (node, request, daemons) = match lease {
        "a whole GPU" => (nvidia(), vec![("gpulease/count", "1")], PerDevice),
        "a MIG instance" => {
            let profile = PROFILES.iter().find(|p| p.name == "a100x4").unwrap();
            let mut node = static_file::parse(profile.toml).unwrap();
            node.devices.iter_mut().for_each(|device| device.simulated = false);
            (node, vec![("gpulease/isolation", "mig")], PerDevice)
        }
        "an AMD partition" | "AMD, of a partition" => {
            let mut node = amd();
            let gpu = node.devices[0].uuid.clone();
            let partition = Partition { gpu, index: 0, mode: "CPX/NPS4".into() };
            node.devices[0].details.compute_units = Some(38);
            node.devices[0].details.xccs = Some(1);
            node.devices[0].details.partition = Some(partition);
            let whole = vec![("gpulease/count", "1")];
            (node, if lease == "an AMD partition" { whole } else { half }, PerDevice)
        }
        "NVIDIA, by MPS" => (nvidia(), half, PerDevice),
        "NVIDIA, by MPS, compute required" => {
            let required = vec![("gpulease/compute", "0.5"), ("gpulease/enforcement", "required")];
            (nvidia(), required, PerDevice)
        }
        "NVIDIA, by an MPS daemon of its own" => (nvidia(), half, PerLease),
        "NVIDIA without MPS, or before Volta" | "NVIDIA without MPS" => {
            let mut node = nvidia();
            node.devices[0].details.arch = Some("6.1".into());
            (node, half, PerDevice)
        }
        "AMD" => (amd(), half, PerDevice),
        "Intel" => {
            let mut node = nvidia();
            node.devices[0].vendor = Vendor::Intel;
            (node, half, PerDevice)
        }
        "any, with isolation=none" => {
            let none = vec![("gpulease/compute", "0.5"), ("gpulease/isolation", "none")];
            (nvidia(), none, PerDevice)
        }
        "any, privileged or with CAP_SYS_ADMIN" => {
            (nvidia(), vec![("gpulease/count", "1")], PerDevice)
        }
        other => panic!("README.md has a row that no test knows: {other}"),
    };
    let confined = !lease.starts_with("any, privileged");
    let facilities = means(&node, dmem, daemons);
    (node, request, facilities, confined)
}

#[test]
fn the_enforcement_table_matches_the_allocator() {
    let rows = enforcement_rows();
    assert!(rows.len() >= 16, "{rows:?}");
    for [lease, isolation, compute, memory] in rows {
        let (node, request, facilities, confined) = situation(&lease);
        let annotations: BTreeMap<String, String> =
            request.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let input = Input { annotations: &annotations, env: &[], container_name: None };
        let request = parse(&input, &Policy::default()).unwrap().unwrap();
        let requester = Requester { uid: Some(0), confined };
        let snapshot = Snapshot { facilities, requester, ..Snapshot::idle(&node) };
        let grant =
            grant(&snapshot, &request).unwrap_or_else(|refusal| panic!("{lease}: {refusal:?}"));
        let got = &grant.isolation;
        assert_eq!(got.compute_enforcement.as_str(), compute, "{lease}: {got:?}");
        assert_eq!(got.memory_enforcement.as_str(), memory, "{lease}: {got:?}");
        if isolation != "as above" {
            assert_eq!(got.effective.as_str(), isolation, "{lease}: {got:?}");
        }
    }
}
