//! The handler of containerd and CRI-O has the settings of the runtime that the node uses, in
//! whichever of the engine's files they stand.

use super::Node;
use crate::support::{CLI, ok};
use std::fs;
use std::path::Path;
use std::process::Command;
use toml::{Table, Value};

const V2: &str = "plugins.\"io.containerd.grpc.v1.cri\".containerd";

/// Installs into a file of a containerd or CRI-O, and gives back its entry and what is said.
#[track_caller]
fn installed(engine: &str, file: &Path, more: &[&str]) -> (Table, String) {
    let mut command = Command::new(CLI);
    command.args(["install", engine, "--config"]).arg(file).arg("--state-dir");
    let state = file.ancestors().nth(2).unwrap().join("state");
    let said = ok(command.arg(state).args(more).output().unwrap()).stdout;
    let table: Table = fs::read_to_string(file).unwrap().parse().unwrap();
    (entry(&table).unwrap().clone(), String::from_utf8(said).unwrap())
}

/// The table `gpulease` among the runtimes, wherever they are.
fn entry(table: &Table) -> Option<&Table> {
    if let Some(entry) = table.get("runtimes").and_then(|runtimes| runtimes.get("gpulease")) {
        return entry.as_table();
    }
    table.values().filter_map(Value::as_table).find_map(entry)
}

/// A directory with files, one of which is installed into.
fn node(files: &[(&str, &str)]) -> Node {
    let node = Node::new("containerd");
    for (name, text) in files {
        let path = node.dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text.replace("DIR", node.dir.path().to_str().unwrap())).unwrap();
    }
    node
}

fn of(text: &str) -> Table {
    let node = node(&[("etc/config.toml", text)]);
    installed("containerd", &node.dir.path().join("etc/config.toml"), &[]).0
}

#[test]
fn the_cgroup_driver_is_that_of_the_default() {
    for (default, options, expected) in [
        ("nvidia", "BinaryName = '/x'\nSystemdCgroup = true", Some(true)),
        ("nvidia", "binaryname = '/x'\nsystemdcgroup = true", Some(true)),
        ("nvidia", "SYSTEMDCGROUP = false", Some(false)),
        ("other", "SystemdCgroup = true", None),
    ] {
        let text = format!(
            "version = 2\n[{V2}]\ndefault_runtime_name = '{default}'\n\
             [{V2}.runtimes.nvidia]\nruntime_type = 'io.containerd.runc.v2'\n\
             [{V2}.runtimes.nvidia.Options]\n{options}\n"
        );
        let entry = of(&text);
        let found = entry["options"].get("SystemdCgroup").and_then(Value::as_bool);
        assert_eq!(found, expected, "{text}");
    }
    // A default that is no kind of runc says nothing of ours.
    let kata = format!(
        "version = 2\n[{V2}]\ndefault_runtime_name = 'kata'\n\
         [{V2}.runtimes.kata]\nruntime_type = 'io.containerd.kata.v2'\nsnapshotter = 'x'\n\
         [{V2}.runtimes.runc.options]\nSystemdCgroup = true\n"
    );
    let entry = of(&kata);
    assert_eq!(entry["options"]["SystemdCgroup"].as_bool(), Some(true));
    assert!(!entry.contains_key("snapshotter"), "{entry:?}");
}

#[test]
fn other_settings_of_the_default_are_taken() {
    let text = format!(
        "version = 2\n[{V2}.runtimes.runc]\nruntime_type = 'io.containerd.runc.v2'\n\
         runtime_root = '/x'\nbase_runtime_spec = '/etc/cri-base.json'\n\
         Privileged_Without_Host_Devices = true\npod_annotations = ['a/*']\n\
         [{V2}.runtimes.runc.options]\nBinaryName = '/usr/bin/runc'\nCriuPath = '/criu'\n"
    );
    let entry = of(&text);
    assert_eq!(entry["base_runtime_spec"].as_str(), Some("/etc/cri-base.json"));
    assert_eq!(entry["Privileged_Without_Host_Devices"].as_bool(), Some(true));
    assert_eq!(entry["options"]["CriuPath"].as_str(), Some("/criu"));
    assert!(!entry.contains_key("runtime_root"), "{entry:?}");
    let patterns = entry["pod_annotations"].as_array().unwrap();
    assert!(patterns.contains(&"a/*".into()) && patterns.contains(&"gpulease/*".into()));
    assert_eq!(entry["options"]["BinaryName"].as_str(), Some(crate::support::SHIM));

    // What the entry says already is the administrator's, in any case of its keys.
    let own = format!(
        "{text}[{V2}.runtimes.gpulease]\nBase_Runtime_Spec = '/own'\n\
         [{V2}.runtimes.gpulease.Options]\nbinaryname = '/old/gpulease-runtime'\n"
    );
    let entry = of(&own);
    assert_eq!(entry["Base_Runtime_Spec"].as_str(), Some("/own"));
    assert!(
        !entry.contains_key("base_runtime_spec") && !entry.contains_key("options"),
        "{entry:?}"
    );
    assert_eq!(entry["Options"]["binaryname"].as_str(), Some(crate::support::SHIM));
}

#[test]
fn a_second_install_as_the_default_changes_nothing() {
    let text = format!(
        "version = 2\n[{V2}]\ndefault_runtime_name = 'nvidia'\n\
         [{V2}.runtimes.nvidia.options]\nSystemdCgroup = true\n\
         [{V2}.runtimes.runc.options]\nSystemdCgroup = false\nCriuPath = '/criu'\n"
    );
    let node = Node::with_text("containerd", &text);
    node.says("install", &["--default-runtime"]);
    let wired = node.text();
    assert!(node.says("install", &["--default-runtime"]).contains("nothing to do"));
    assert_eq!(node.text(), wired);
    let entry = entry(&wired.parse().unwrap()).unwrap().clone();
    assert_eq!(entry["options"]["SystemdCgroup"].as_bool(), Some(true));
    assert!(!wired.contains("CriuPath = \"/criu\""), "{wired}");
}

#[test]
fn settings_in_imported_files_count() {
    let main = "version = 2\nimports = ['conf.d/*.toml', 'DIR/etc/more.toml']\n";
    let nvidia = format!("version = 2\n[{V2}.runtimes.nvidia.options]\nSystemdCgroup = true\n");
    let default = format!("version = 2\n[{V2}]\ndefault_runtime_name = 'nvidia'\n");
    let node = node(&[
        ("etc/config.toml", main),
        ("etc/conf.d/99-nvidia.toml", &nvidia),
        ("etc/more.toml", &default),
    ]);
    let file = node.dir.path().join("etc/config.toml");
    let (entry, said) = installed("containerd", &file, &["--default-runtime"]);
    assert_eq!(entry["options"]["SystemdCgroup"].as_bool(), Some(true));
    assert!(said.contains("99-nvidia.toml` is imported and has a CRI plugin too"), "{said}");
    assert!(said.contains("makes `nvidia` the default runtime, after this file"), "{said}");
}

#[test]
fn a_drop_in_has_what_the_main_file_says() {
    let v3 = "plugins.'io.containerd.cri.v1.runtime'.containerd";
    let main = format!(
        "version = 3\nimports = ['DIR/etc/conf.d/*.toml']\n\
         [{v3}.runtimes.runc]\nruntime_type = 'io.containerd.runc.v2'\n\
         [{v3}.runtimes.runc.options]\nSystemdCgroup = true\n"
    );
    let node = node(&[("etc/config.toml", &main), ("etc/conf.d/10-x.toml", "version = 3\n")]);
    let file = node.dir.path().join("etc/conf.d/60-gpulease.toml");
    let (entry, said) = installed("containerd", &file, &[]);
    assert_eq!(entry["options"]["SystemdCgroup"].as_bool(), Some(true));
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains("version = 3") && text.contains("cri.v1.runtime"), "{text}");
    assert!(said.contains("config.toml` imports this file"), "{said}");
}

#[test]
fn crios_handler_has_a_monitor() {
    let default = "[crio.runtime]\ndefault_runtime = 'crun'\n";
    let handlers = "[crio.runtime.runtimes.crun]\nruntime_path = '/usr/libexec/crio/crun'\n\
                    runtime_root = '/run/crun'\nMonitor_Path = '/usr/libexec/crio/conmon'\n\
                    [crio.runtime.runtimes.runc]\nmonitor_path = '/opt/conmon'\n";
    for (files, monitor) in [
        (&[("crio.conf", default), ("crio.conf.d/10-crio.conf", handlers)][..], Some("crun")),
        (&[("crio.conf.d/10-crio.conf", handlers)], Some("runc")),
        (&[("crio.conf", "[crio.runtime]\nconmon = '/usr/bin/conmon'\n")], None),
        // A later entry takes the place of an earlier one: CRI-O does not merge the two.
        (
            &[
                ("crio.conf.d/10-crio.conf", &*format!("{default}{handlers}")),
                ("crio.conf.d/20-crun.conf", "[crio.runtime.runtimes.crun]\nruntime_path = '/x'\n"),
            ],
            Some("runc"),
        ),
    ] {
        let node = node(files);
        let file = node.dir.path().join("crio.conf.d/60-gpulease.conf");
        let (entry, _) = installed("crio", &file, &[]);
        let found = |key: &str| entry.get(key).and_then(Value::as_str);
        let expected = match monitor {
            Some("crun") => (None, Some("/usr/libexec/crio/conmon"), Some("/run/crun")),
            Some(_) => (Some("/opt/conmon"), None, None),
            None => (None, None, None),
        };
        let seen = (found("monitor_path"), found("Monitor_Path"), found("runtime_root"));
        assert_eq!(seen, expected, "{files:?}");
        assert_eq!(found("runtime_path"), Some(crate::support::SHIM));
    }
}

#[test]
fn what_chooses_another_program_is_not_taken() {
    let node = node(&[(
        "crio/crio.conf",
        "[crio.runtime.runtimes.crun]\nmonitor_cgroup = 'pod'\ninherit_default_runtime = true\n\
         platform_runtime_paths = { 'wasi/wasm' = '/usr/bin/crun-wasm' }\n",
    )]);
    let drop_in = node.dir.path().join("crio/crio.conf.d/60-gpulease.conf");
    fs::create_dir_all(drop_in.parent().unwrap()).unwrap();
    let (entry, _) = installed("crio", &drop_in, &[]);
    assert_eq!(entry["monitor_cgroup"].as_str(), Some("pod"));
    for key in ["inherit_default_runtime", "platform_runtime_paths"] {
        assert!(!entry.contains_key(key), "{entry:?}");
    }
}

#[test]
fn a_drop_in_keeps_the_settings_of_our_default() {
    // gpulease is the default by the main file, whose entry the drop-in takes the place of.
    let node = node(&[
        (
            "crio/crio.conf",
            "[crio.runtime]\ndefault_runtime = 'gpulease'\n[crio.runtime.runtimes.gpulease]\n\
             runtime_path = '/old/gpulease-runtime'\nmonitor_path = '/x/conmon'\n\
             [crio.runtime.runtimes.runc]\nmonitor_path = '/y/conmon'\n",
        ),
        (
            "etc/config.toml",
            &format!(
                "version = 2\nimports = ['conf.d/*.toml']\n[{V2}]\ndefault_runtime_name = \
                 'gpulease'\n[{V2}.runtimes.gpulease]\nruntime_type = 'io.containerd.runc.v2'\n\
                 snapshotter = 'z'\npod_annotations = ['a', 'gpulease/*']\n\
                 [{V2}.runtimes.gpulease.options]\nBinaryName = '/old'\nSystemdCgroup = true\n"
            ),
        ),
    ]);
    let file = |name: &str| {
        let file = node.dir.path().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        file
    };
    let (crio, _) = installed("crio", &file("crio/crio.conf.d/60-gpulease.conf"), &[]);
    assert_eq!(crio["monitor_path"].as_str(), Some("/x/conmon"));
    let drop_in = file("etc/conf.d/60-gpulease.toml");
    let (containerd, _) = installed("containerd", &drop_in, &[]);
    assert_eq!(containerd["options"]["SystemdCgroup"].as_bool(), Some(true));
    assert_eq!(containerd["options"]["BinaryName"].as_str(), Some(crate::support::SHIM));
    assert_eq!(containerd["snapshotter"].as_str(), Some("z"));
    let annotations = ["a", "gpulease/*", "*.gpulease/*", "kaiwo.ai/gpu-*"].map(Value::from);
    assert_eq!(containerd["pod_annotations"].as_array(), Some(&annotations.to_vec()));
    assert!(installed("containerd", &drop_in, &[]).1.contains("nothing to do"));
}

#[test]
fn a_later_default_of_another_drop_in_is_told() {
    for (engine, dir, text) in [
        ("crio", "crio.conf.d", "[crio.runtime]\ndefault_runtime = 'nvidia'\n"),
        ("podman", "containers.conf.d", "[engine]\nruntime = 'nvidia'\n"),
    ] {
        let name = |number: u32| format!("{dir}/{number}-nvidia.conf");
        let node = node(&[(&name(10), text), (&name(99), text)]);
        let file = node.dir.path().join(dir).join("60-gpulease.conf");
        let mut command = Command::new(CLI);
        command.args(["install", engine, "--default-runtime", "--config"]).arg(&file);
        let output = ok(command.arg("--state-dir").arg(node.state()).output().unwrap());
        let said = String::from_utf8(output.stdout).unwrap();
        let note = "99-nvidia.conf` makes `nvidia` the default runtime, after this file";
        assert!(said.contains(note) && said.matches("after this file").count() == 1, "{said}");
    }
}
