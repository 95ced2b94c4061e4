use super::*;
use crate::failure::Failure;
use crate::inventory::fixtures::tick;
use crate::inventory::profiles;
use crate::inventory::scan;
use crate::model::code::Code;
use proptest::prelude::*;
use std::fs::{self, File, FileTimes};
use std::os::unix::fs::PermissionsExt;
use std::time::SystemTime;

/// A node faked as a directory tree.
struct Host {
    root: tempfile::TempDir,
    paths: Paths,
    config: Config,
}

impl Host {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        let paths = Paths {
            root: at(""),
            var: at("var"),
            etc: at("etc"),
            run: at("run"),
            sys: at("sys"),
            proc: at("proc"),
            dev: at("dev"),
        };
        fs::create_dir_all(paths.proc.join("sys/kernel/random")).unwrap();
        fs::create_dir_all(&paths.etc).unwrap();
        let host = Self { config: Config::of(&paths), paths, root };
        host.boot("77a3c1a0-3c1e-4f0e-9d43-2b6f6a1c2d3e");
        host
    }

    fn boot(&self, id: &str) {
        fs::write(boot_id_path(&self.paths.proc), format!("{id}\n")).unwrap();
    }

    fn file(&self) -> &Path {
        &self.config.devices_file
    }

    fn with_profile(name: &str) -> Self {
        let host = Self::new();
        fs::write(host.file(), profiles::find(name).unwrap().toml).unwrap();
        host
    }

    fn scan(&self) -> Result<Inventory, InventoryError> {
        scan(&self.paths, &self.config)
    }

    fn freshness(&self, inventory: &Inventory) -> Result<(), String> {
        freshness(inventory, &self.paths, &self.config)
    }
}

#[test]
fn a_scan_is_fresh_and_survives_its_file() {
    let host = Host::with_profile("h100x8");
    let inventory = host.scan().unwrap();
    assert_eq!(inventory.node.devices.len(), 8);
    assert_eq!(inventory.stamps.len(), 1);
    assert_eq!(inventory.boot_id, "77a3c1a0-3c1e-4f0e-9d43-2b6f6a1c2d3e");
    assert!(humantime::parse_rfc3339(&inventory.made_at).is_ok());
    assert_eq!(host.freshness(&inventory), Ok(()));
    let bytes = encode(&inventory).unwrap();
    let read = decode(&bytes).unwrap();
    assert_eq!(read, inventory);
    assert_eq!(host.freshness(&read), Ok(()));
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.starts_with("{\"v\":4,") && text.contains("\"source\":\"static\""), "{text}");
}

#[test]
fn no_file_means_no_devices() {
    let host = Host::new();
    let inventory = host.scan().unwrap();
    assert_eq!(inventory.node, Node::default());
    assert_eq!(host.freshness(&inventory), Ok(()));
    fs::write(host.file(), "").unwrap();
    let why = format!("`{}` has appeared since", host.file().display());
    assert_eq!(host.freshness(&inventory), Err(why));
}

#[test]
fn every_change_makes_it_stale() {
    type Change = fn(&Path);
    let changes: &[(&str, Change)] = &[
        ("edit", |path| fs::write(path, "# shorter").unwrap()),
        ("edit that keeps size and mtime", |path| {
            let times = fs::metadata(path).unwrap();
            let times = FileTimes::new().set_modified(times.modified().unwrap());
            // Or the ctime cannot differ.
            tick(path);
            let text = fs::read_to_string(path).unwrap().replace("L40S", "L40X");
            fs::write(path, text).unwrap();
            File::options().write(true).open(path).unwrap().set_times(times).unwrap();
        }),
        ("replacement by rename", |path| {
            let new = path.with_extension("new");
            fs::copy(path, &new).unwrap();
            fs::rename(new, path).unwrap();
        }),
        ("touch", |path| {
            let times = FileTimes::new().set_modified(SystemTime::UNIX_EPOCH);
            File::options().write(true).open(path).unwrap().set_times(times).unwrap();
        }),
        ("mode", |path| {
            tick(path);
            fs::set_permissions(path, fs::Permissions::from_mode(0o666)).unwrap();
        }),
    ];
    for (name, change) in changes {
        let host = Host::with_profile("mixed4");
        let inventory = host.scan().unwrap();
        change(host.file());
        let why = format!("`{}` has changed since", host.file().display());
        assert_eq!(host.freshness(&inventory), Err(why), "{name}");
    }
}

#[test]
fn other_reasons_to_be_stale() {
    let host = Host::with_profile("mixed4");
    let inventory = host.scan().unwrap();
    // Up to 3 no device was marked that has a twin.
    for found in [1, 3] {
        let stale = host.freshness(&Inventory { v: found, ..inventory.clone() });
        let why = format!("it has format version {found}, this version of gpulease reads 4");
        assert_eq!(stale, Err(why));
    }

    let other = host.paths.etc.join("other.toml");
    fs::copy(host.file(), &other).unwrap();
    let config = Config { devices_file: other.clone(), ..host.config.clone() };
    let (file, other) = (host.file().display(), other.display());
    let why = format!("it was read from `{file}`, now `{other}` is configured");
    assert_eq!(freshness(&inventory, &host.paths, &config), Err(why));

    fs::remove_file(host.file()).unwrap();
    assert_eq!(host.freshness(&inventory), Err(format!("`{file}` is gone")));

    host.boot("00000000-0000-0000-0000-000000000000");
    let why = "it belongs to another boot of this host".to_owned();
    assert_eq!(host.freshness(&inventory), Err(why));
    let path = boot_id_path(&host.paths.proc);
    fs::remove_file(&path).unwrap();
    let why = format!("the boot id `{}` cannot be read", path.display());
    assert_eq!(host.freshness(&inventory), Err(why));
    let error = host.scan().unwrap_err();
    assert_eq!(Failure::from(&error).code, Code::StaleInventory);
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    fs::write(&path, "\n").unwrap();
    assert!(matches!(host.scan(), Err(InventoryError::NoBootId { .. })));
}

#[test]
fn simulated_devices_that_exist_are_refused() {
    let host = Host::with_profile("h100x8");
    let directory = host.paths.sys.join("dev/char");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("1219:3"), "").unwrap();
    let error = host.scan().unwrap_err();
    assert_eq!(Failure::from(&error).code, Code::BadInventory);
    let message = error.to_string();
    for part in [host.file().to_str().unwrap(), "`/dev/nvidia3`", "1219:3", "dev/char/1219:3"] {
        assert!(message.contains(part), "no {part} in: {message}");
    }
    assert!(Failure::from(&error).hint.unwrap().contains("1024"));
    fs::remove_file(directory.join("1219:3")).unwrap();
    let registered = "Character devices:\n1532 nvidia-uvm\n\nBlock devices:\n";
    fs::write(host.paths.proc.join("devices"), registered).unwrap();
    let message = host.scan().unwrap_err().to_string();
    assert!(
        message.contains("`/dev/nvidia-uvm`") && message.contains("/proc/devices"),
        "{message}"
    );
}

#[test]
fn bad_files_are_refused_with_their_path() {
    let host = Host::with_profile("mixed4");
    let write = |bytes: &[u8]| fs::write(host.file(), bytes).unwrap();
    let refused = |part: &str| {
        let error = host.scan().unwrap_err();
        assert_eq!(Failure::from(&error).code, Code::BadInventory);
        let mut message = error.to_string();
        if let Some(cause) = std::error::Error::source(&error) {
            message = format!("{message}: {cause}");
        }
        assert!(message.contains(part), "no {part} in: {message}");
        assert!(message.contains(host.file().to_str().unwrap()), "{message}");
        let hint = Failure::from(&error).hint.unwrap();
        assert!(hint.contains(host.file().to_str().unwrap()), "{hint}");
    };
    write(b"oops");
    refused("line 1");
    write(b"\xff");
    refused("byte 0 is not UTF-8");
    write(b"");
    fs::set_permissions(host.file(), fs::Permissions::from_mode(0o646)).unwrap();
    refused("0646 lets others write");
    fs::remove_file(host.file()).unwrap();
    fs::create_dir(host.file()).unwrap();
    refused("not a regular file");
    drop(host.root);
}

#[test]
fn damaged_inventories_are_told_from_other_versions() {
    let code = |bytes: &[u8]| decode(bytes).map_err(Failure::from).unwrap_err().code;
    for bytes in [&b""[..], b"{", b"[]", b"{}", b"{\"v\": 4}", b"{\"v\": -1}", b"\xff"] {
        assert!(matches!(decode(bytes), Err(InventoryError::Damaged(_))), "{bytes:?}");
        assert_eq!(code(bytes), Code::StaleInventory);
    }
    let other = decode(b"{\"v\": 2, \"new\": true}").unwrap_err();
    assert!(matches!(&other, InventoryError::Stale(why) if why.contains("format version 2,")));
    assert!(Failure::from(&other).hint.unwrap().contains("gpulease inventory refresh"));

    let mut inventory = Host::with_profile("mixed4").scan().unwrap();
    inventory.node.devices.reverse();
    let bytes = encode(&inventory).unwrap();
    assert!(matches!(decode(&bytes), Err(InventoryError::Damaged(_))));
}

proptest! {
    #[test]
    fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(decode(&bytes).is_err());
    }

    #[test]
    fn a_broken_inventory_never_panics(at in 0usize..5000, byte in any::<u8>()) {
        let inventory = Host::with_profile("mixed4").scan().unwrap();
        let mut bytes = encode(&inventory).unwrap();
        let at = at % bytes.len();
        bytes[at] = byte;
        let _ = decode(&bytes);
        bytes.truncate(at);
        let _ = decode(&bytes);
    }
}
