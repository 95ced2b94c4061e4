//! What becomes of the text.

use super::{ENGINES, Node, fixture, fixtures, has_runtime, runtime_of};
use crate::support::stderr;
use std::fs;
use std::os::unix::fs::MetadataExt;

#[test]
fn install_and_uninstall_leave_no_difference() {
    for engine in ENGINES {
        for file in fixtures(engine) {
            for more in [&[][..], &["--default-runtime"]] {
                let before = fs::read_to_string(&file).unwrap();
                let node = Node::with(engine, &file);
                let said = node.says("install", more);
                let text = node.text();
                assert!(has_runtime(engine, &text), "{}: {said}\n{text}", file.display());
                let unix = text.replace("\r\n", "");
                assert!(!before.contains("\r\n") || !unix.contains('\n'), "{}", file.display());

                // A second time there is nothing to do.
                let inode = fs::metadata(node.config()).unwrap().ino();
                let again = node.says("install", more);
                assert!(again.contains("nothing to do"), "{}: {again}", file.display());
                assert_eq!(fs::metadata(node.config()).unwrap().ino(), inode);

                node.says("uninstall", &[]);
                assert_eq!(node.text(), before, "{}", file.display());
                assert_eq!(node.records(), 0, "{}", file.display());
            }
        }
    }
}

#[test]
fn a_later_wish_for_the_default_is_undone_as_well() {
    for engine in ENGINES {
        for file in fixtures(engine) {
            let node = Node::with(engine, &file);
            node.says("install", &[]);
            node.says("install", &["--default-runtime"]);
            node.says("uninstall", &[]);
            assert_eq!(node.text(), fs::read_to_string(&file).unwrap(), "{}", file.display());
        }
    }
}

#[test]
fn a_file_that_was_not_there_is_gone_again() {
    for engine in ENGINES {
        let node = Node::new(engine);
        node.says("install", &["--default-runtime"]);
        assert!(has_runtime(engine, &node.text()));
        assert_eq!(fs::metadata(node.config()).unwrap().mode() & 0o777, 0o644);
        node.says("uninstall", &[]);
        assert!(!node.config().exists(), "{engine}");
    }
}

/// The values of a file.
fn values(engine: &str, text: &str) -> serde_json::Value {
    let text = text.trim_start_matches('\u{feff}');
    if engine == "docker" {
        let text = if text.trim().is_empty() { "{}" } else { text };
        serde_json::from_str(text).unwrap()
    } else {
        serde_json::to_value(text.parse::<toml::Table>().unwrap()).unwrap()
    }
}

#[test]
fn a_change_between_install_and_uninstall_stays() {
    for engine in ENGINES {
        for file in fixtures(engine) {
            for more in [&[][..], &["--default-runtime"]] {
                // In a daemon.json, a property; elsewhere a comment, at the top.
                let change = |text: &str| {
                    if *engine != "docker" {
                        let at = if text.starts_with('\u{feff}') { 3 } else { 0 };
                        return format!("{}# changed by hand\n{}", &text[..at], &text[at..]);
                    }
                    let text = if text.trim().is_empty() { "{}" } else { text };
                    let comma =
                        if values(engine, text) == serde_json::json!({}) { "" } else { "," };
                    text.replacen('{', &format!("{{\"group\": \"by hand\"{comma}"), 1)
                };
                let before = fs::read_to_string(&file).unwrap();
                let node = Node::with(engine, &file);
                node.says("install", more);
                fs::write(node.config(), change(&node.text())).unwrap();
                node.says("uninstall", &[]);
                let after = node.text();
                let name = file.display();
                assert_eq!(runtime_of(engine, &after), None, "{name}: {after}");
                assert!(after.contains("by hand"), "{name}: {after}");
                // These had one before, which cannot be told from ours any more.
                if !before.contains("gpulease") {
                    let (after, before) =
                        (values(engine, &after), values(engine, &change(&before)));
                    assert_eq!(after, before, "{name}");
                }
                assert_eq!(node.records(), 0);
            }
        }
    }
}

#[test]
fn a_version_without_runtimes_is_noted() {
    let says = |text: &str| Node::with_text("containerd", text).says("install", &[]);
    let first = "note: the file is of version 1: containerd 2 does not look at its `plugins.cri`";
    assert!(says("root = \"/srv\"\n").contains(first));
    assert!(says("version = 1\n").contains(first));
    let long = "[plugins.\"io.containerd.grpc.v1.cri\"]\nsandbox_image = \"pause\"\n";
    assert!(says(long).contains("note: the file has no `version`: containerd does not look at"));
    for text in [&format!("version = 2\n{long}"), "version = 3\n", ""] {
        assert!(!says(text).contains("does not look at"), "{text}");
    }
}

#[test]
fn what_was_appended_is_cut_out_to_the_byte() {
    let file = fixture("containerd", "03-docker-package.toml");
    let before = fs::read_to_string(&file).unwrap();
    let node = Node::with("containerd", &file);
    let said = node.says("install", &[]);
    assert!(said.contains("note: `disabled_plugins` turns the CRI plugin off"), "{said}");
    assert!(node.text().starts_with(&before));
    let uncommented = |text: &str| text.replace("#oom_score", "oom_score");
    fs::write(node.config(), uncommented(&node.text())).unwrap();
    node.says("uninstall", &[]);
    assert_eq!(node.text(), uncommented(&before));
}

#[test]
fn the_runc_that_was_added_goes_if_it_can() {
    let before = "version = 2\n";
    let node = Node::with_text("containerd", before);
    node.says("install", &[]);
    let ours = node.text().replace("pod_annotations", "snapshotter = \"native\"\npod_annotations");
    fs::write(node.config(), ours).unwrap();
    node.says("uninstall", &[]);
    assert_eq!(node.text().trim(), before.trim());

    // containerd 1.x has no runc but that of the file, once the file has another runtime.
    node.says("install", &[]);
    let kata = "[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.kata]\n\
                runtime_type = \"io.containerd.kata.v2\"\n";
    fs::write(node.config(), format!("{}{kata}", node.text())).unwrap();
    node.says("uninstall", &[]);
    let text = node.text();
    assert!(text.contains("runtimes.runc]") && text.contains("runtimes.kata]"), "{text}");
    assert!(!text.contains("[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.gpulease"));
}

#[test]
fn an_entry_of_another_version_goes_too() {
    let node = Node::with_text("containerd", "version = 2\n");
    node.says("install", &[]);
    // By hand, with the record lost.
    fs::write(node.config(), node.text().replace("version = 2", "version = 3")).unwrap();
    fs::remove_dir_all(node.state()).unwrap();
    node.says("uninstall", &[]);
    assert!(!node.text().contains("runtimes.gpulease"), "{}", node.text());
}

#[test]
fn a_key_that_was_put_behind_ours_stays_in_its_table() {
    for (engine, key, kept) in [
        ("podman", "kata = [\"/usr/bin/kata-runtime\"]\n", true),
        ("containerd", "SystemdCgroup = true\n", false),
        ("crio", "runtime_root = \"/run/x\"\n", false),
    ] {
        for before in ["", "[first]\na = 1\n"] {
            let node = Node::with_text(engine, before);
            node.says("install", &[]);
            fs::write(node.config(), node.text() + "# by hand\n" + key).unwrap();
            // With a second install in between, too.
            node.says("install", &["--default-runtime"]);
            node.says("uninstall", &[]);
            // What stood in our own table has gone with it; nothing has come into another one.
            let text = node.text();
            assert_eq!(text.contains(key), kept, "{engine}: {text}");
            assert!(!text.contains("/gpulease-runtime"), "{engine}: {text}");
            let told: toml::Table = text.parse().unwrap();
            let kata = || told["engine"]["runtimes"]["kata"].as_array();
            assert!(!kept || kata().is_some(), "{engine}: {text}");
        }
    }
}

#[test]
fn a_second_install_after_a_change_does_not_forget_it() {
    let node = Node::with("docker", &fixture("docker", "05-other-runtimes.json"));
    node.says("install", &[]);
    let changed = node.text().replace("\"crun\"\n}", "\"crun\",\n  \"debug\": true\n}");
    assert!(changed.contains("debug"));
    fs::write(node.config(), changed).unwrap();
    node.says("install", &["--default-runtime"]);
    node.says("uninstall", &[]);
    let expected = fs::read_to_string(fixture("docker", "05-other-runtimes.json")).unwrap();
    assert_eq!(node.text(), expected.replace("\"crun\"\n}", "\"crun\",\n  \"debug\": true\n}"));
}

#[test]
fn the_default_becomes_what_it_was() {
    let node = Node::with("docker", &fixture("docker", "05-other-runtimes.json"));
    node.says("install", &["--default-runtime"]);
    assert!(node.text().contains("\"default-runtime\": \"gpulease\""));
    fs::write(node.config(), node.text().replacen('{', "{\n  \"debug\": true,", 1)).unwrap();
    let said = node.says("uninstall", &[]);
    assert!(said.contains("note: the default runtime is `crun` again"), "{said}");
    assert!(node.text().contains("\"default-runtime\": \"crun\""));

    // Without a record, the earlier default is not known.
    let node = Node::with_text("crio", "[crio.runtime]\ndefault_runtime = \"gpulease\"\n");
    let said = node.says("uninstall", &[]);
    assert!(said.contains("is the engine's own again"), "{said}");
    assert!(!node.text().contains("gpulease"));
}

#[test]
fn the_cgroup_driver_is_that_of_runc() {
    for (name, expected) in [
        ("04-v2-default.toml", Some(false)),
        ("05-v2-nvidia-toolkit.toml", Some(true)),
        ("07-v3.toml", Some(true)),
        ("08-v1.toml", Some(false)),
        ("09-imports-crlf.toml", None),
        ("10-inline.toml", Some(true)),
        ("11-v3-gpulease-of-old.toml", Some(true)),
    ] {
        let node = Node::with("containerd", &fixture("containerd", name));
        node.says("install", &[]);
        let toml: toml::Table = node.text().parse().unwrap();
        let plugins = toml["plugins"].as_table().unwrap();
        let ours =
            plugins.values().find_map(|p| p.get("containerd")?.get("runtimes")?.get("gpulease"));
        let ours = ours.unwrap();
        let found = ours["options"].get("SystemdCgroup").map(|value| value.as_bool().unwrap());
        assert_eq!(found, expected, "{name}");
        for key in ["pod_annotations", "container_annotations"] {
            let list = ours[key].as_array().unwrap();
            assert!(list.contains(&"gpulease/*".into()), "{name}");
        }
    }
}

#[test]
fn a_file_with_a_mistake_is_left_alone() {
    for (engine, name, place) in [
        ("docker", "bad-trailing-comma.json", "line 5, column 3: trailing comma"),
        ("docker", "bad-comment.json", "line 2, column 3: "),
        ("containerd", "bad-syntax.toml", "line 2, column "),
        ("containerd", "bad-version.toml", "`version` is not a number from 1 to 4"),
        ("podman", "bad-syntax.conf", "line 1, column "),
        ("crio", "bad-syntax.conf", "line 2, column "),
    ] {
        for verb in ["install", "uninstall"] {
            let node = Node::with(engine, &fixture(engine, name));
            let output = node.run(verb, &[]);
            if verb == "uninstall" && output.status.success() {
                continue; // A file that cannot be read has nothing of ours.
            }
            assert_eq!(output.status.code(), Some(4), "{name}");
            let said = stderr(&output);
            assert!(said.contains(place) && said.contains("engine.conf`: "), "{name}: {said}");
            assert!(said.contains("hint: nothing was changed"), "{said}");
            assert_eq!(node.text(), fs::read_to_string(fixture(engine, name)).unwrap());
            assert_eq!(node.records(), 0);
        }
    }
    let node = Node::with_text("docker", b"{\n \"a\": \"\xff\"}");
    assert!(stderr(&node.run("install", &[])).contains("line 2, column 8: not UTF-8"));
}

#[test]
fn the_examples_are_what_install_writes() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("hooks");
    for (engine, name, from) in [
        ("docker", "docker/daemon.json", ""),
        ("podman", "podman/60-gpulease.conf", ""),
        ("containerd", "containerd/config-v2.toml", "version = 2\n"),
        ("containerd", "containerd/config-v3.toml", "version = 3\n"),
        ("crio", "crio/60-gpulease.conf", ""),
    ] {
        let node = Node::with_text(engine, from);
        node.says("install", &[]);
        let written = node.text().replace(crate::support::SHIM, "/usr/local/bin/gpulease-runtime");
        let path = dir.join(name);
        if std::env::var_os("GPULEASE_UPDATE_EXAMPLES").is_some() {
            fs::write(&path, &written).unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap_or_default(), written, "{name}");
    }
}
