use super::check::{Checked, parse};
use super::*;
use crate::config::{Config, DriverSetting};
use crate::inventory::{self, Inventory};
use crate::model::device::Vendor;
use crate::model::driver::{Capability, Driver, DriverFile, FileKind};
use crate::paths::Paths;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use tempfile::TempDir;

mod engine;
mod schema;

/// Two NVIDIA GPUs, the second in MIG mode, and an AMD one: real to the file, whose
/// nodes are not there.
const DEVICES: &str = r#"
[[device]]
uuid = "GPU-aaaa"
vendor = "nvidia"
model = "A"
memory_mib = 81920
pci = "0000:01:00.0"
nodes = ["/dev/nvidia0"]

[[device]]
uuid = "GPU-bbbb"
vendor = "nvidia"
model = "A"
memory_mib = 81920
pci = "0000:02:00.0"
nodes = ["/dev/nvidia1"]

[[device]]
uuid = "GPU-cccc"
vendor = "amd"
model = "B"
memory_mib = 65536
pci = "0000:03:00.0"
nodes = ["/dev/dri/card1", "/dev/dri/renderD128"]

[[control]]
vendor = "nvidia"
nodes = ["/dev/nvidiactl"]

[[control]]
vendor = "amd"
nodes = ["/dev/kfd"]
"#;

const NVIDIA: &str = "cdiVersion: 0.5.0
kind: nvidia.com/gpu
containerEdits:
  env: [NVIDIA_VISIBLE_DEVICES=void]
  deviceNodes:
  - path: /dev/nvidiactl
  mounts:
  - {hostPath: /usr/lib/libcuda.so.550, containerPath: /usr/lib/libcuda.so.550, options: [ro, rbind]}
devices:
- name: \"0\"
  containerEdits:
    deviceNodes:
    - path: /dev/nvidia0
- name: GPU-aaaa
  containerEdits:
    deviceNodes:
    - {path: /dev/nvidia0, hostPath: /dev/nvidia0, permissions: rwm}
- name: all
  containerEdits:
    deviceNodes: [{path: /dev/nvidia0}, {path: /dev/nvidia1}]
";

struct Host {
    dir: TempDir,
    paths: Paths,
}

impl Host {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let host = Self { paths: Paths::below(dir.path()), dir };
        host.put("etc/gpulease/devices.toml", DEVICES);
        host.put("proc/sys/kernel/random/boot_id", "0b5e0e0a\n");
        host
    }

    fn put(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    }

    fn config(&self, driver: DriverSetting) -> Config {
        Config { driver, ..Config::of(&self.paths) }
    }

    fn scan(&self) -> Inventory {
        inventory::scan(&self.paths, &self.config(DriverSetting::Cdi)).unwrap()
    }

    /// The device that each name is, as compiled.
    fn compiled(&self) -> Vec<(String, String)> {
        let cdi = self.scan().cdi;
        cdi.devices.into_iter().map(|device| (device.uuid.to_string(), device.name)).collect()
    }
}

fn pair(uuid: &str, name: &str) -> (String, String) {
    (uuid.to_owned(), name.to_owned())
}

#[test]
fn devices_are_known_by_nodes_and_have_the_best_name() {
    let host = Host::new();
    host.put("etc/cdi/nvidia.yaml", NVIDIA);
    let cdi = host.scan().cdi;
    assert_eq!(host.compiled(), [pair("GPU-aaaa", "nvidia.com/gpu=GPU-aaaa")]);
    assert_eq!(cdi.specs.len(), 1);
    assert_eq!(cdi.specs[0].edits.env, ["NVIDIA_VISIBLE_DEVICES=void"]);
    assert_eq!(cdi.specs[0].edits.mounts[0].options, ["ro", "rbind"]);
    assert_eq!(cdi.devices[0].edits.device_nodes[0].path, "/dev/nvidia0");
    // Of a spec in JSON, by name where no node tells, and by position where none is its own.
    host.put(
        "var/run/cdi/more.json",
        r#"{"cdiVersion":"1.0.0","kind":"nvidia.com/gpu","devices":[
            {"name":"1","containerEdits":{"env":["A=1"]}}]}"#,
    );
    host.put(
        "etc/cdi/amd.json",
        r#"{"cdiVersion":"0.6.0","kind":"amd.com/gpu","devices":[{"name":"7","containerEdits":
            {"deviceNodes":[{"path":"/dev/kfd"},{"path":"/dev/dri/renderD128","gid":null}]}}]}"#,
    );
    let expected = [
        pair("GPU-aaaa", "nvidia.com/gpu=GPU-aaaa"),
        pair("GPU-bbbb", "nvidia.com/gpu=1"),
        pair("GPU-cccc", "amd.com/gpu=7"),
    ];
    assert_eq!(host.compiled(), expected);
    // A name that its nodes contradict is no name.
    host.put(
        "var/run/cdi/more.json",
        r#"{"cdiVersion":"1.0.0","kind":"nvidia.com/gpu","devices":[
            {"name":"1","containerEdits":{"deviceNodes":[{"path":"/dev/nvidia0"}]}}]}"#,
    );
    assert!(!host.compiled().iter().any(|(uuid, _)| uuid == "GPU-bbbb"));
}

#[test]
fn a_bad_file_costs_its_own_devices_alone() {
    let host = Host::new();
    host.put("etc/cdi/nvidia.yaml", NVIDIA);
    let good = host.scan();
    let edits = "containerEdits: {env: [A=1]}";
    let cases = [
        ("syntax", "devices: [".to_owned(), "not YAML"),
        ("version", format!("{{cdiVersion: 2.0.0, kind: a.b/c, devices: [{{name: x, {edits}}}]}}"), "`2.0.0`"),
        ("old", format!("{{cdiVersion: 0.0.9, kind: a.b/c, devices: [{{name: x, {edits}}}]}}"), "0.1.0"),
        ("kind", format!("{{cdiVersion: 0.6.0, kind: abc, devices: [{{name: x, {edits}}}]}}"), "`kind`"),
        ("none", "{cdiVersion: 0.6.0, kind: a.b/c, devices: []}".to_owned(), "no devices"),
        ("twice", format!("{{cdiVersion: 0.6.0, kind: a.b/c, devices: [{{name: x, {edits}}}, {{name: x, {edits}}}]}}"), "two devices `x`"),
        ("empty", "{cdiVersion: 0.6.0, kind: a.b/c, devices: [{name: x, containerEdits: {}}]}".to_owned(), "no edits"),
        ("name", format!("{{cdiVersion: 0.6.0, kind: a.b/c, devices: [{{name: x/y, {edits}}}]}}"), "`x/y`"),
        ("env", "{cdiVersion: 0.6.0, kind: a.b/c, devices: [{name: x, containerEdits: {env: [A]}}]}".to_owned(), "NAME=value"),
        ("hook", "{cdiVersion: 0.6.0, kind: a.b/c, devices: [{name: x, containerEdits: {hooks: [{hookName: never, path: /bin/x}]}}]}".to_owned(), "`never`"),
        ("member", format!("{{cdiVersion: 1.1.0, kind: a.b/c, novel: 1, devices: [{{name: x, {edits}}}]}}"), "`novel`"),
    ];
    for (name, text, part) in cases {
        host.put("etc/cdi/bad.yaml", &text);
        let found = host.scan();
        let notes: Vec<&String> = found.notes.iter().filter(|n| n.contains("bad.yaml")).collect();
        assert_eq!(notes.len(), 1, "{name}: {:?}", found.notes);
        assert!(notes[0].contains(part) && notes[0].contains("ignored"), "{name}: {}", notes[0]);
        assert_eq!(found.cdi, good.cdi, "{name}");
    }
    let path = host.dir.path().join("etc/cdi/bad.yaml");
    host.put("etc/cdi/bad.yaml", NVIDIA);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    let found = host.scan();
    assert!(found.notes.iter().any(|note| note.contains("0666")), "{:?}", found.notes);
    assert_eq!(found.cdi, good.cdi);
}

#[test]
fn what_newer_versions_say_in_new_words_is_left_out() {
    let text = r#"{"cdiVersion":"1.7.0","kind":"a.b/c","novel":1,"devices":[{"name":"x","containerEdits":
        {"env":["A=1"],"deviceNodes":[{"path":"/dev/x","colour":"red"}],"intelRdt":{"closID":"x"},
        "netDevices":[{"hostInterfaceName":"a","name":"b"}]}}]}"#;
    let Checked { spec, notes } = parse(text).unwrap();
    assert_eq!(spec.devices[0].container_edits.env, ["A=1"]);
    assert_eq!(notes.len(), 3, "{notes:?}");
    assert!(notes[0].contains("novel") && notes[0].contains("deviceNodes.colour"), "{notes:?}");
    assert!(notes[1].contains("`netDevices`") && notes[2].contains("`intelRdt`"), "{notes:?}");
}

#[test]
fn two_directories_of_one_rank_exclude_each_other() {
    let host = Host::new();
    let spec = |value: &str| {
        format!(
            "{{cdiVersion: 0.6.0, kind: amd.com/gpu, devices: [{{name: \"0\", containerEdits: {{env: [A={value}]}}}}]}}"
        )
    };
    host.put("etc/cdi/a.yaml", spec("etc"));
    host.put("var/run/cdi/a.yaml", spec("run"));
    host.put("etc/cdi/sub/b.yaml", spec("sub"));
    host.put("etc/cdi/b.yml", spec("yml"));
    let env = |host: &Host| -> Vec<String> {
        host.scan().cdi.devices.into_iter().flat_map(|device| device.edits.env).collect()
    };
    assert_eq!(env(&host), ["A=run"]);
    host.put("etc/cdi/c.json", serde_json::to_string(&parse(&spec("c")).unwrap().spec).unwrap());
    assert_eq!(env(&host), ["A=run"]);
    host.put("var/run/cdi/b.yaml", spec("other"));
    let found = host.scan();
    assert!(found.cdi.is_empty());
    let note = found.notes.iter().find(|note| note.contains("`amd.com/gpu=0`")).unwrap();
    assert!(note.contains("a.yaml") && note.contains("run/cdi/b.yaml"), "{note}");
}

#[test]
fn a_spec_that_changes_makes_the_inventory_stale() {
    let host = Host::new();
    let config = host.config(DriverSetting::Cdi);
    let fresh = |inventory: &Inventory| inventory::freshness(inventory, &host.paths, &config);
    let none = host.scan();
    assert_eq!(fresh(&none), Ok(()));
    host.put("etc/cdi/nvidia.yaml", NVIDIA);
    assert!(fresh(&none).unwrap_err().ends_with(" has appeared since"));
    let one = host.scan();
    assert_eq!(fresh(&one), Ok(()));
    let read = inventory::decode(&inventory::encode(&one).unwrap()).unwrap();
    assert_eq!(read, one);
    host.put("etc/cdi/nvidia.yaml", NVIDIA.replace("550", "560"));
    assert!(fresh(&one).unwrap_err().ends_with(" has changed since"));
    let two = host.scan();
    fs::remove_file(host.dir.path().join("etc/cdi/nvidia.yaml")).unwrap();
    assert!(fresh(&two).is_err());
    let other = Config { driver: DriverSetting::None, ..config.clone() };
    let setting = inventory::freshness(&host.scan(), &host.paths, &other);
    assert_eq!(setting.unwrap_err(), "`driver` has another value in the configuration since");
    host.put("etc/cdi/nvidia.yaml", NVIDIA);
    let none = inventory::scan(&host.paths, &other).unwrap();
    assert!(none.cdi.is_empty() && !none.stamps.iter().any(|s| s.path.ends_with("etc/cdi")));
}

#[test]
fn simulated_devices_have_no_specs() {
    let host = Host::new();
    let text = inventory::profiles::find("h100x8").unwrap().toml;
    host.put("etc/gpulease/devices.toml", text);
    host.put("etc/cdi/nvidia.yaml", NVIDIA);
    assert!(host.scan().cdi.is_empty());
}

fn driver() -> Driver {
    let file = |path: &str, kind, names: &[&str]| DriverFile {
        path: path.to_owned(),
        kind,
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        capabilities: vec![Capability::Compute],
    };
    Driver {
        vendor: Vendor::Nvidia,
        version: Some("550.1".to_owned()),
        cuda: None,
        library: None,
        root: "/run/nvidia/driver".to_owned(),
        files: vec![
            file(
                "/run/nvidia/driver/usr/lib/x/libcuda.so.550.1",
                FileKind::Library,
                &["libcuda.so.550.1", "libcuda.so.1"],
            ),
            file(
                "/run/nvidia/driver/usr/lib/x/vdpau/libvdpau_nvidia.so.550.1",
                FileKind::Library,
                &["vdpau/libvdpau_nvidia.so.1"],
            ),
            file(
                "/run/nvidia-persistenced/socket",
                FileKind::Socket,
                &["/run/nvidia-persistenced/socket"],
            ),
        ],
    }
}

#[test]
fn what_is_generated_is_read_back_as_the_same_devices() {
    let host = Host::new();
    let mut found = host.scan();
    found.drivers.push(driver());
    let names = Names { index: true, uuid: true };
    let spec = generate(&found, Vendor::Nvidia, names, &host.paths).unwrap();
    let listed: Vec<&str> = spec.devices.iter().map(|device| device.name.as_str()).collect();
    assert_eq!(listed, ["0", "GPU-aaaa", "1", "GPU-bbbb", "all"]);
    let places: Vec<(&str, &str)> = spec
        .container_edits
        .mounts
        .iter()
        .map(|mount| (mount.container_path.as_str(), mount.options.last().unwrap().as_str()))
        .collect();
    let expected = [
        ("/run/nvidia-persistenced/socket", "noexec"),
        ("/usr/lib/x/libcuda.so.1", "ro"),
        ("/usr/lib/x/libcuda.so.550.1", "ro"),
        ("/usr/lib/x/vdpau/libvdpau_nvidia.so.1", "ro"),
        ("/usr/lib/x/vdpau/libvdpau_nvidia.so.550.1", "ro"),
    ];
    assert_eq!(places, expected);
    assert!(spec.container_edits.device_nodes.iter().all(|node| node.numbers().is_none()));
    // Both formats, through our own reader, and as devices of this node.
    let yaml = serde_norway::to_string(&spec).unwrap();
    let json = serde_json::to_string(&spec).unwrap();
    for (file, checked) in [("a.yaml", parse(&yaml)), ("a.json", parse(&json))] {
        assert_eq!(checked, Ok(Checked { spec: spec.clone(), notes: Vec::new() }), "{file}");
    }
    host.put("etc/cdi/a.yaml", &yaml);
    let amd = generate(&found, Vendor::Amd, Names { index: true, uuid: false }, &host.paths);
    host.put("etc/cdi/b.json", serde_json::to_string(&amd.unwrap()).unwrap());
    let expected = [
        pair("GPU-aaaa", "nvidia.com/gpu=GPU-aaaa"),
        pair("GPU-bbbb", "nvidia.com/gpu=GPU-bbbb"),
        pair("GPU-cccc", "amd.com/gpu=0"),
    ];
    assert_eq!(host.compiled(), expected);
    assert_eq!(generate(&found, Vendor::Intel, names, &host.paths), None);
}

#[test]
fn a_value_of_the_wrong_kind_is_told_with_its_key() {
    let text = r#"{"cdiVersion":"0.6.0","kind":"a.com/gpu",
        "devices":[{"name":"0","containerEdits":{"env":"A=1"}}]}"#;
    let why = parse(text).unwrap_err();
    assert!(why.starts_with("devices[0].containerEdits.env: invalid type"), "{why}");
}
