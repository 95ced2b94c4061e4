//! Specs as Podman, containerd and Docker read them (Go: `sigs.k8s.io/yaml`, then the checks of CDI's
//! `pkg/cdi`). Each expected value was taken from that library.

use super::super::check::{Checked, parse};
use super::super::{CdiDocument, CdiDocumentDevice};
use super::Host;
use crate::model::cdi::EditNode;
use crate::model::encoding::Encoding;

const DEVICES: &str = "devices: [{name: a, containerEdits: {env: [A=1]}}]";

#[track_caller]
fn read(text: &str) -> CdiDocument {
    match parse(text) {
        Ok(Checked { spec, .. }) => spec,
        Err(why) => panic!("{why}: {text}"),
    }
}

/// The first device of a spec with this device.
#[track_caller]
fn device(device: &str) -> CdiDocumentDevice {
    let text = format!("cdiVersion: 0.6.0\nkind: a.b/c\ndevices: [{device}]\n");
    read(&text).devices.remove(0)
}

/// The node of a device with this one.
#[track_caller]
fn node(node: &str) -> EditNode {
    let edits = format!("{{name: a, containerEdits: {{deviceNodes: [{{path: /dev/x, {node}}}]}}}}");
    device(&edits).container_edits.device_nodes.remove(0)
}

#[track_caller]
fn refused(text: &str, part: &str) {
    let why = parse(text).unwrap_err();
    assert!(why.contains(part), "no `{part}` in: {why}");
}

#[test]
fn numbers_are_those_of_yaml_1_1() {
    let modes = [
        ("0660", 0o660),
        ("0o660", 0o660),
        ("0O660", 0o660),
        ("432", 432),
        ("0x1b0", 432),
        ("0X1B0", 432),
        ("0b110110000", 432),
        ("0_660", 0o660),
        ("+0660", 0o660),
        ("08", 8),
        ("432.0", 432),
        ("6.6e2", 660),
        ("!!int 432", 432),
    ];
    for (text, mode) in modes {
        assert_eq!(node(&format!("fileMode: {text}")).file_mode, Some(mode), "{text}");
    }
    for absent in ["fileMode: null", "fileMode: ~", "fileMode: "] {
        assert_eq!(node(absent).file_mode, None, "{absent}");
    }
    for bad in ["\"0660\"", "'0660'", "!!str 0660", "-1", "4294967296", "true", "0o8", "1.5"] {
        let text = format!(
            "{{cdiVersion: 0.6.0, kind: a.b/c, devices: [{{name: a, containerEdits: {{deviceNodes: [{{path: /dev/x, fileMode: {bad}}}]}}}}]}}"
        );
        refused(&text, "devices[0].containerEdits.deviceNodes[0].fileMode");
    }
}

#[test]
fn a_scalar_where_a_text_is_wanted_is_one() {
    let names = [
        ("0", "0"),
        ("007", "7"),
        ("\"007\"", "007"),
        ("'007'", "007"),
        ("!!str a", "a"),
        ("0x10", "16"),
        ("1_000", "1000"),
        ("1e3", "1000"),
        ("999999.0", "999999"),
        ("-0", "0"),
        ("+1", "1"),
        ("08", "8"),
        ("0:1", "0:1"),
        ("1:30", "1:30"),
        ("2001-01-01", "2001-01-01"),
        ("yes", "true"),
        ("\"yes\"", "yes"),
        ("n", "false"),
        ("True", "true"),
        ("on1", "on1"),
        ("1e400", "1e400"),
        ("0b12", "0b12"),
        ("\"\\x30\"", "0"),
    ];
    for (text, name) in names {
        let found = device(&format!("{{name: {text}, containerEdits: {{env: [A=1]}}}}")).name;
        assert_eq!(found, name, "{text}");
    }
    let hook = device(
        "{name: a, containerEdits: {hooks: [{hookName: prestart, path: /x, args: [x, 010, off, ~, \"on\"]}]}}",
    );
    assert_eq!(hook.container_edits.hooks[0].args, ["x", "8", "false", "", "on"]);
    let text =
        "{cdiVersion: 0.6.0, kind: a.b/c, devices: [{name: 1.5, containerEdits: {env: [A=1]}}]}";
    refused(text, "`devices.name` is the number 1.5; put it in quotes");
    // Text before it of more bytes than characters changes nothing.
    let text = format!("# Grüße 𝄞\ncdiVersion: 0.6.0\nkind: a.b/c\n{DEVICES}\n");
    assert_eq!(read(&text.replace("name: a", "name: '010'")).devices[0].name, "010");
    assert_eq!(read(&text.replace("name: a", "name: 010")).devices[0].name, "8");
}

#[test]
fn the_first_document_counts() {
    let spec = format!("cdiVersion: 0.6.0\nkind: a.b/c\n{DEVICES}\n");
    let expected = read(&spec);
    for rest in ["---\nfoo: bar\n", "---\n: {[ bad\n", "...\n%% bad\n", "---\n"] {
        assert_eq!(read(&format!("{spec}{rest}")), expected, "{rest}");
        assert_eq!(read(&format!("---\n{spec}{rest}")), expected, "{rest}");
    }
    refused(&format!("---\n---\n{spec}"), "first YAML document is empty");
    refused("# nothing\n", "first YAML document is empty");
    refused("", "first YAML document is empty");
}

#[test]
fn keys_have_any_case_and_come_once() {
    let text =
        "CDIVersion: v0.6.0\nKIND: a.b/c\ndevices: [{Name: a, containeredits: {ENV: [A=1]}}]\n";
    let found = read(text);
    assert_eq!((found.cdi_version.as_str(), found.kind.as_str()), ("v0.6.0", "a.b/c"));
    assert_eq!(found.devices[0].container_edits.env, ["A=1"]);
    refused(&format!("cdiVersion: 0.6.0\nkind: a.b/c\nKind: x.y/z\n{DEVICES}"), "two spellings");
    refused(
        &format!("cdiVersion: 0.6.0\nkind: a.b/c\nkind: x.y/z\n{DEVICES}"),
        "`kind` is there twice",
    );
    refused(&format!("cdiVersion: 0.6.0\nkind: a.b/c\n? [x]\n: y\n{DEVICES}"), "a key is no text");
    let json = r#"{"cdiVersion":"0.6.0","kind":"a.b/c","kind":"x.y/z","devices":[]}"#;
    refused(json, "`kind` is there twice");
}

#[test]
fn aliases_and_merges_are_followed() {
    let text = "cdiVersion: 0.6.0\nkind: a.b/c\ncontainerEdits: &e {env: [A=1]}\ndevices:\n\
        - {name: a, containerEdits: *e}\n\
        - {name: b, containerEdits: {<<: *e, additionalGids: [010]}}\n";
    let devices = read(text).devices;
    assert_eq!(devices[0].container_edits.env, ["A=1"]);
    assert_eq!(devices[1].container_edits.env, ["A=1"]);
    assert_eq!(devices[1].container_edits.additional_gids, [8]);
    refused(&text.replace("additionalGids: [010]", "env: [B=2]"), "`env` is there twice");
    refused(&text.replace("<<: *e", "<<: 1"), "`<<`");
}

#[test]
fn old_versions_and_edits_of_other_kinds_are_read() {
    for version in ["0.1.0", "0.2.0", "v0.3.0", "1.0.0"] {
        read(&format!("cdiVersion: {version}\nkind: a.b/c\n{DEVICES}\n"));
    }
    let found = device("{name: a, containerEdits: {intelRdt: {closID: x}}}");
    assert!(found.container_edits.is_empty());
    let text = "{cdiVersion: 0.6.0, kind: a.b/c, devices: [{name: a, containerEdits: {env: []}}]}";
    refused(text, "no edits");
    let annotated = read(&format!(
        "cdiVersion: 0.6.0\nkind: a.b/c\nannotations: {{1: 2, a: yes, b: null}}\n{DEVICES}\n"
    ));
    let expected = [("1", "2"), ("a", "true"), ("b", "")];
    assert!(annotated.annotations.iter().map(|(a, b)| (a.as_str(), b.as_str())).eq(expected));
}

#[test]
fn a_files_name_and_encoding_do_not_matter() {
    let yaml = "cdiVersion: 0.6.0\nkind: amd.com/gpu\ndevices: [{name: 0, containerEdits: {env: [A=1]}}]\n";
    let json = "{\n\t\"cdiVersion\": \"0.6.0\", \"kind\": \"amd.com/gpu\",\n\t\"devices\": \
        [{\"name\": \"0\", \"containerEdits\": {\"env\": [\"A=1\"]}}]}";
    let all = [Encoding::Utf8, Encoding::Utf8Marked, Encoding::Utf16Le, Encoding::Utf16Be];
    for (name, text) in [("a.yaml", yaml), ("a.json", yaml), ("a.yaml", json), ("a.json", json)] {
        for encoding in all {
            let host = Host::new();
            host.put(&format!("etc/cdi/{name}"), encoding.encode(text));
            let expected = [("GPU-cccc".to_owned(), "amd.com/gpu=0".to_owned())];
            assert_eq!(host.compiled(), expected, "{name} {encoding:?}");
        }
    }
}
