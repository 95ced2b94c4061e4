//! What is in the container, as seen from inside.

use crate::image::{self, NODES, ONE, bundle, make};
use crate::lab::{Lab, Place, has_line, values};
use crate::support::images::{self, fetched, machine};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

const WHOLE: &[(&str, &str)] = &[("gpulease/devices", ONE)];

/// Run by the programs' own loader: what `libcuda.so.1` and the like are by name alone, as a
/// program's `dlopen` would have it.
fn look(directory: &str) -> String {
    let loader = images::loader();
    format!(
        r#"
        nvidia-smi; echo "nvidia-smi: $?"
        for name in libcuda.so.1 libcuda.so libnvidia-ml.so.1; do
            /lib64/{loader} --preload "$name" --list /usr/bin/nvidia-smi
        done
        for f in {directory}/libcuda.so* {directory}/libnvidia-* /usr/bin/nvidia-*; do
            md5sum "$f"
            (echo x >"$f") 2>&1
            (rm "$f") 2>&1
        done
        grep nvidia /proc/mounts
        ls /dev; env; echo END"#
    )
}

fn spec_of(lab: &Lab, name: &str) -> Value {
    serde_json::from_slice(&fs::read(lab.config_json(name)).unwrap()).unwrap()
}

fn md5(path: &Path) -> String {
    let output = Command::new("md5sum").arg(path).output().unwrap();
    String::from_utf8(output.stdout).unwrap().split(' ').next().unwrap().to_owned()
}

/// The files of the driver by name.
fn of_the_host() -> BTreeMap<String, String> {
    let root = fetched("nvidia.sh");
    let directory = root.join(format!("usr/lib/{}/nvidia/current", machine().multiarch));
    let mut sums = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        sums.insert(name, md5(&entry.path()));
    }
    let programs = [
        ("nvidia-smi", "usr/lib/nvidia/current"),
        ("nvidia-cuda-mps-control", "usr/bin"),
        ("nvidia-cuda-mps-server", "usr/sbin"),
    ];
    for (name, directory) in programs {
        sums.insert(name.to_owned(), md5(&root.join(directory).join(name)));
    }
    sums
}

#[track_caller]
fn is_whole(text: &str, directory: &str) {
    has_line(text, "END");
    // The program runs, loads its library and finds no kernel module.
    assert!(text.contains("couldn't communicate with the NVIDIA driver"), "{text}");
    has_line(text, "nvidia-smi: 9");
    for name in ["libcuda.so.1", "libcuda.so", "libnvidia-ml.so.1"] {
        // The loader may have found it by another name of its directory.
        let short = directory.strip_prefix("/usr").unwrap();
        let found = |line: &str| {
            let path = line.trim().strip_prefix(&format!("{name} => ")).unwrap_or_default();
            path.starts_with(&format!("{directory}/{name} "))
                || path.starts_with(&format!("{short}/{name} "))
        };
        assert!(text.lines().any(found), "the loader does not find {name}:\n{text}");
    }
    let mut seen = BTreeSet::new();
    for (name, sum) in of_the_host() {
        let line = text.lines().find(|line| {
            line.split_once("  ").is_some_and(|(_, path)| path.rsplit('/').next() == Some(&name))
        });
        let line = line.unwrap_or_else(|| panic!("no {name} in\n{text}"));
        assert!(line.starts_with(&sum), "{name} is another file: {line}");
        seen.insert(name);
    }
    assert!(seen.contains("libcuda.so") && seen.len() >= 8, "{seen:?}");
    // Each of them could be neither written to nor taken out.
    let count = |what: &str| text.lines().filter(|line| line.contains(what)).count();
    assert_eq!(count("Read-only file system"), seen.len(), "{text}");
    assert_eq!(count("esource busy"), seen.len(), "{text}");
    for mount in text.lines().filter(|line| line.contains(directory)) {
        if let Some(options) = mount.split(' ').nth(3).filter(|_| mount.contains(" ext4 ")) {
            for flag in ["ro", "nosuid", "nodev"] {
                assert!(options.split(',').any(|option| option == flag), "{mount}");
            }
        }
    }
    // Its own GPU's node, not the other's, and no node for displays.
    for node in ["nvidia0", "nvidiactl", "nvidia-uvm", "nvidia-uvm-tools"] {
        has_line(text, node);
    }
    for node in ["nvidia1", "nvidia-modeset"] {
        assert!(!text.lines().any(|line| line == node), "{node} is there:\n{text}");
    }
    assert_eq!(values(text, "NVIDIA_DRIVER_CAPABILITIES"), ["compute,utility"]);
}

pub fn programs_of_the_driver_start_in_images_of_both_kinds(place: Place) {
    let lab = image::lab(place, "driver = \"native\"");
    let debian = format!("/usr/lib/{}", machine().multiarch);
    bundle(&lab, &make(&lab, "debian", images::debian), WHOLE, &look(&debian));
    bundle(&lab, &make(&lab, "fedora", images::lib64), WHOLE, &look("/usr/lib64"));
    let script = format!("{NODES}\nmake debian run debian\nmake fedora run fedora");
    let Some(steps) = lab.run(&script) else { return };
    for (name, directory) in [("debian", debian.as_str()), ("fedora", "/usr/lib64")] {
        is_whole(&steps.ok(name), directory);
        let spec = spec_of(&lab, name);
        assert_eq!(spec["annotations"]["gpulease.granted/driver"], "native");
        let masked = spec["linux"]["maskedPaths"].as_array().unwrap();
        let gpus: Vec<&str> = masked
            .iter()
            .filter_map(|path| path.as_str()?.strip_prefix("/proc/driver/nvidia/gpus/"))
            .collect();
        assert_eq!(gpus, ["0000:02:00.0"]);
    }
}

/// What of the driver's is in the container.
const LIST: &str = r#"ls /usr/lib/*/ /usr/bin /dev; env; echo END"#;

fn has(text: &str, name: &str) -> bool {
    text.lines().any(|line| line == name)
}

pub fn only_what_was_asked_for_is_there(place: Place) {
    let lab = image::lab(place, "");
    let make_one = |name: &str, capabilities: Option<&str>, variable: Option<&str>| {
        let image = make(&lab, name, images::debian);
        let mut annotations = WHOLE.to_vec();
        annotations.extend(capabilities.map(|value| ("gpulease/capabilities", value)));
        bundle(&lab, &image, &annotations, LIST);
        let path = lab.config_json(name);
        let mut spec = spec_of(&lab, name);
        if let Some(value) = variable {
            let env = spec["process"]["env"].as_array_mut().unwrap();
            env.push(format!("NVIDIA_DRIVER_CAPABILITIES={value}").into());
        }
        fs::write(path, spec.to_string()).unwrap();
    };
    make_one("utility", Some("utility"), Some("all"));
    make_one("compute", None, Some("compute,and-something-else"));
    make_one("drawing", Some("graphics"), None);
    make_one("none", Some("none"), Some("all"));
    // Nothing in there could load a library.
    bundle(&lab, &make(&lab, "bare", images::bare), WHOLE, "ls /dev /usr/bin; echo END");
    bundle(&lab, &make(&lab, "musl", images::musl), WHOLE, LIST);
    let nodes = &[WHOLE[0], ("gpulease/capabilities", "none")];
    bundle(&lab, &make(&lab, "musl-nodes", images::musl), nodes, LIST);
    let makes: Vec<String> =
        ["utility", "compute", "drawing", "none", "bare", "musl", "musl-nodes"]
            .map(|name| format!("make {name} run {name}"))
            .to_vec();
    let Some(steps) = lab.run(&format!("{NODES}\n{}", makes.join("\n"))) else { return };
    let said = |name: &str| {
        let value = &spec_of(&lab, name)["annotations"]["gpulease.granted/driver"];
        value.as_str().unwrap().to_owned()
    };

    let text = steps.ok("utility");
    assert!(has(&text, "nvidia-smi") && has(&text, "libnvidia-ml.so.1"), "{text}");
    assert!(!text.contains("libcuda") && !text.contains("nvidia-uvm"), "{text}");
    assert_eq!(values(&text, "NVIDIA_DRIVER_CAPABILITIES"), ["utility"]);

    let text = steps.ok("compute");
    assert!(has(&text, "libcuda.so.1") && has(&text, "nvidia-uvm"), "{text}");
    assert!(!text.contains("nvidia-smi") && !text.contains("libnvidia-ml"), "{text}");

    let text = steps.ok("drawing");
    assert!(has(&text, "nvidia-modeset") && !text.contains("nvidia-uvm"), "{text}");
    assert!(!text.contains("libcuda"), "{text}");

    let text = steps.ok("none");
    assert!(has(&text, "nvidia0") && has(&text, "nvidia-modeset"), "{text}");
    assert!(!text.contains("libcuda") && !text.contains("libnvidia"), "{text}");
    assert_eq!(values(&text, "NVIDIA_DRIVER_CAPABILITIES"), [""; 0]);
    assert_eq!(said("none"), "none: by request");

    let text = steps.ok("bare");
    assert!(has(&text, "nvidia0") && !has(&text, "nvidia-smi"), "{text}");
    assert_eq!(said("bare"), "none: no C library in the image");

    let text = steps.refused("musl", "libc-mismatch");
    assert!(text.contains("gpulease/capabilities=none"), "{text}");
    assert_eq!(spec_of(&lab, "musl")["annotations"]["gpulease.granted/driver"], Value::Null);
    assert!(has(&steps.ok("musl-nodes"), "nvidia0"));
}

pub fn a_bundle_run_twice_has_each_mount_once(place: Place) {
    let lab = image::lab(place, "");
    let image = make(&lab, "web", images::debian);
    bundle(&lab, &image, WHOLE, "grep -c nvidia /proc/mounts; nvidia-smi >/dev/null; echo $?");
    let own = |spec: &Value| {
        let mounts = spec["mounts"].as_array().unwrap().iter();
        let own = mounts.map(|mount| mount["destination"].as_str().unwrap().to_owned());
        own.filter(|path| path.contains("nvidia") || path.contains("libcuda")).collect::<Vec<_>>()
    };
    let script = format!(
        "{NODES}\nmake first run web\ncp \"$B/web/config.json\" \"$OUT/first.json\"\nmake second run web"
    );
    let Some(steps) = lab.run(&script) else { return };
    let first = fs::read(lab.host.path("out").join("first.json")).unwrap();
    let first: Value = serde_json::from_slice(&first).unwrap();
    let second = spec_of(&lab, "web");
    let distinct: BTreeSet<String> = own(&second).into_iter().collect();
    assert_eq!(own(&first), own(&second));
    assert_eq!(distinct.len(), own(&second).len());
    assert!(distinct.len() >= 9, "{distinct:?}");
    assert_eq!(first["linux"]["maskedPaths"], second["linux"]["maskedPaths"]);
    assert_eq!(steps.ok("first"), steps.ok("second"));
}

pub fn what_the_user_mounts_is_left_alone_wherever_links_lead(place: Place) {
    let lab = image::lab(place, "");
    let volume = lab.host.path("volume");
    let own = lab.host.path("own");
    fs::create_dir_all(volume.join("lib")).unwrap();
    fs::write(&own, "the user's\n").unwrap();
    let debian = format!("usr/lib/{}", machine().multiarch);
    // The directory of libraries leads to where the user has a volume.
    let to_volume = make(&lab, "volume", images::debian);
    fs::create_dir(to_volume.join("data")).unwrap();
    fs::rename(to_volume.join(&debian), to_volume.join("data/lib")).unwrap();
    symlink("/data/lib", to_volume.join(&debian)).unwrap();
    bundle(&lab, &to_volume, WHOLE, "echo started");
    // It has another name, by which the user has put a file there.
    let by_name = make(&lab, "name", images::debian);
    fs::rename(by_name.join(&debian), by_name.join("usr/lib/real")).unwrap();
    symlink("real", by_name.join(&debian)).unwrap();
    bundle(&lab, &by_name, WHOLE, &format!("cat /{debian}/libcuda.so.1; ls /{debian}"));
    let add_mount = |name: &str, source: &Path, destination: &str| {
        let mut spec = spec_of(&lab, name);
        let mount = json!({ "source": source, "destination": destination, "type": "bind",
                            "options": ["rbind"] });
        spec["mounts"].as_array_mut().unwrap().push(mount);
        fs::write(lab.config_json(name), spec.to_string()).unwrap();
    };
    add_mount("volume", &volume, "/data");
    add_mount("name", &own, "/usr/lib/real/libcuda.so.1");
    let script = format!("{NODES}\nmake volume run volume\nmake name run name");
    let Some(steps) = lab.run(&script) else { return };
    has_line(&steps.ok("volume"), "started");
    assert_eq!(fs::read_dir(volume.join("lib")).unwrap().count(), 0, "files were made");
    let text = steps.ok("name");
    assert!(has(&text, "the user's") && has(&text, "libnvidia-ml.so.1"), "{text}");
}
