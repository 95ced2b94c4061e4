//! The states that a lease directory can be in when a container comes.

use crate::answers::CONTAINER;
use crate::hosts::{Setting, World};
use crate::support::{CLI, Host, SHIM, STUB, ok};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    Empty,
    /// A container that lives holds every device.
    Full,
    /// It holds the first one.
    Half,
    /// It held every device, and is dead.
    Dead,
    /// It had the first one, which waits for it.
    DeadInGrace,
    /// The container itself had the second one a moment ago.
    OwnGrace,
    /// The record of one that lives cannot be read.
    Corrupt,
    /// That of a dead one.
    CorruptDead,
    /// The inventory is of another devices file.
    Stale,
    /// There is none.
    NoInventory,
    /// The bundle was started before, and is as that start left it.
    Again,
}

impl State {
    pub const ALL: [Self; 11] = [
        Self::Empty,
        Self::Full,
        Self::Half,
        Self::Dead,
        Self::DeadInGrace,
        Self::OwnGrace,
        Self::Corrupt,
        Self::CorruptDead,
        Self::Stale,
        Self::NoInventory,
        Self::Again,
    ];
}

/// Files of a lease directory, by their names in it.
type Files = BTreeMap<String, Vec<u8>>;

/// What belongs to the state of a lease directory. The rest are locks.
const PARTS: [&str; 3] = ["leases", "bundles", "corrupt"];

fn read(run_dir: &Path) -> Files {
    let mut files = Files::new();
    for part in PARTS {
        for entry in fs::read_dir(run_dir.join(part)).into_iter().flatten().flatten() {
            let name = format!("{part}/{}", entry.file_name().to_string_lossy());
            files.insert(name, fs::read(entry.path()).unwrap());
        }
    }
    for name in ["inventory.json", "runtime"] {
        files.extend(fs::read(run_dir.join(name)).ok().map(|bytes| (name.to_owned(), bytes)));
    }
    files
}

/// The states of one host, ready to be put into any lease directory.
pub struct States {
    leases: BTreeMap<State, Files>,
    stale: Vec<u8>,
}

impl States {
    /// Lets containers come and go. Those of a full node live until the host is dropped.
    pub fn of(world: &World) -> Self {
        let mut leases = BTreeMap::new();
        if world.kind.has_devices() {
            leases = Self::leases(world);
        }
        let other = world.setting(("other", "stub", ""));
        let file = world.host.path("etc/other-devices.toml");
        fs::write(&file, "").unwrap();
        let text = fs::read_to_string(&other.config).unwrap();
        fs::write(&other.config, text.replace("etc/devices.toml", "etc/other-devices.toml"))
            .unwrap();
        refresh(&other);
        let stale = fs::read(other.run_dir.join("inventory.json")).unwrap();
        Self { leases, stale }
    }

    fn leases(world: &World) -> BTreeMap<State, Files> {
        let host = &world.host;
        let grace = |name: &'static str, time: &str| {
            let setting = world.setting((name, "stub", "driver = \"none\""));
            let text = fs::read_to_string(&setting.config).unwrap();
            fs::write(&setting.config, format!("{text}[policy]\nrelease_grace = {time:?}\n"))
                .unwrap();
            setting
        };
        let (none, long) = (grace("base", "0s"), grace("graceful", "1h"));
        let mut states = BTreeMap::new();
        for (state, setting, name) in [
            (State::Full, &none, "holder"),
            (State::Half, &none, "other"),
            (State::Dead, &none, "late"),
            (State::DeadInGrace, &long, "late-too"),
            (State::OwnGrace, &long, CONTAINER),
        ] {
            // What would not be chosen first shows who may have it back.
            let words = match state {
                State::Half | State::DeadInGrace => ("gpulease/devices", "0"),
                State::OwnGrace => ("gpulease/devices", "1"),
                _ => ("gpulease/count", "all"),
            };
            let all = start(host, setting, name, &[words]);
            // Instances of GPUs are asked for by themselves.
            let parts = format!("{name}-parts");
            let words = [("gpulease/count", "all"), ("gpulease/isolation", "mig")];
            let instances =
                matches!(state, State::Full | State::Dead) && start(host, setting, &parts, &words);
            assert!(all, "{:?}: {name} gets no device", world.kind);
            if matches!(state, State::Dead | State::DeadInGrace) {
                host.kill(name);
                if instances {
                    host.kill(&parts);
                }
            }
            if state == State::OwnGrace {
                host.kill(name);
                let mut delete = Command::new(SHIM);
                delete.arg("--gpulease-config").arg(&setting.config).arg("--root").arg(host.root());
                ok(delete.args(["delete", "--force", name]).output().unwrap());
            }
            let mut files = read(&setting.run_dir);
            files.retain(|name, _| name.contains('/'));
            fs::remove_dir_all(&setting.run_dir).unwrap();
            for (from, to) in [(State::Full, State::Corrupt), (State::Dead, State::CorruptDead)] {
                if state == from {
                    states.insert(to, garbled(&files));
                }
            }
            states.insert(state, files);
        }
        states
    }

    /// Puts a lease directory into a state; `inventory` is what it has there in all but two. False
    /// if the host has no such state.
    pub fn put(&self, state: State, setting: &Setting, inventory: &Inventory) -> bool {
        for part in PARTS {
            let dir = setting.run_dir.join(part);
            for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
                fs::remove_file(entry.path()).unwrap();
            }
        }
        let files = self.leases.get(&state);
        for (name, bytes) in files.into_iter().flatten() {
            fs::write(setting.run_dir.join(name), bytes).unwrap();
        }
        let path = setting.run_dir.join("inventory.json");
        match (state, inventory) {
            (State::Stale, _) => fs::write(path, &self.stale).unwrap(),
            (State::NoInventory, _) | (_, None) => drop(fs::remove_file(path)),
            (_, Some(bytes)) => fs::write(path, bytes).unwrap(),
        }
        let needs_no_lease = [State::Empty, State::Stale, State::NoInventory, State::Again];
        files.is_some() || needs_no_lease.contains(&state)
    }
}

/// The cache of the inventory; `None` where none can be made.
pub type Inventory = Option<Vec<u8>>;

fn start(host: &Host, setting: &Setting, name: &str, annotations: &[(&str, &str)]) -> bool {
    host.bundle(name, annotations);
    let theirs = host.create_command(name);
    let mut command = Command::new(SHIM);
    command.arg("--gpulease-config").arg(&setting.config).stdin(Stdio::null());
    command.args(theirs.get_args().skip(2)).output().unwrap().status.success()
}

/// The records with their ends cut off.
fn garbled(files: &Files) -> Files {
    let mut files = files.clone();
    for (name, bytes) in &mut files {
        if name.starts_with("leases/") {
            bytes.truncate(bytes.len() / 2);
        }
    }
    files
}

fn refresh(setting: &Setting) -> bool {
    let mut command = Command::new(CLI);
    command.arg("--gpulease-config").arg(&setting.config).args(["inventory", "refresh"]);
    command.stdin(Stdio::null()).output().unwrap().status.success()
}

/// Makes the lease directory of a setting, as the first start would.
pub fn prepare(setting: &Setting) -> Inventory {
    let store = gpulease::door::store::Store::at(&setting.run_dir);
    store.prepare(&gpulease::door::paths::Paths::default()).unwrap();
    fs::write(setting.run_dir.join("runtime"), format!("{STUB}\n")).unwrap();
    fs::write(setting.run_dir.join("lock"), "").unwrap();
    refresh(setting).then(|| fs::read(setting.run_dir.join("inventory.json")).unwrap())
}

/// All that is in a lease directory, to see that nothing was written.
pub fn content(setting: &Setting) -> Files {
    read(&setting.run_dir)
}
