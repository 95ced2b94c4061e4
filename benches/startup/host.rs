//! A simulated host with eight GPUs, as the tests have it, and leases whose holders live.

use gpulease::door::allocator::Requester;
use gpulease::door::claim::busy::BusyProcesses;
use gpulease::door::claim::{Ctx, create};
use gpulease::door::config;
use gpulease::door::injection;
use gpulease::door::inventory::{self, profiles};
use gpulease::door::model::facilities::Facilities;
use gpulease::door::model::id::{ContainerId, LeaseKey};
use gpulease::door::model::lease::{Lease, LeaseState, Owner, Sharing};
use gpulease::door::model::quantity::MilliGpu;
use gpulease::door::paths::Paths;
use gpulease::door::request::policy::Busy;
use gpulease::door::request::{Amount, Request, RequestSource, Strategy};
use gpulease::door::store::{BundleRecord, Entry, Store};
use gpulease::door::sys::atomic::{self, Durability};
use gpulease::door::sys::proc;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

/// As Docker gives them.
pub const ID: &str = "8f3b1c2d4e5f60718293a4b5c6d7e8f90123456789abcdef0123456789abcdef";

pub const NO_REQUEST: &[(&str, &str)] = &[];
pub const WHOLE: &[(&str, &str)] = &[("gpulease/count", "1")];
pub const SHARE: &[(&str, &str)] = &[("gpulease/compute", "250m")];
/// Eight of these fill a device.
pub const EIGHTH: &[(&str, &str)] = &[("gpulease/compute", "125m")];

/// A `config.json` of Docker is about as large as this.
const CONFIG_BYTES: usize = 24_000;

/// Two folders for this run, removed with it.
pub struct Folders {
    pub tmpfs: PathBuf,
    pub disk: PathBuf,
}

impl Folders {
    pub fn new() -> Self {
        let name = format!("gpulease-startup.{}", std::process::id());
        let make = |parent: &str| {
            let dir = Path::new(parent).join(&name);
            fs::create_dir_all(&dir).unwrap();
            fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
            dir
        };
        Self { tmpfs: make("/dev/shm"), disk: make(env!("CARGO_TARGET_TMPDIR")) }
    }
}

impl Drop for Folders {
    fn drop(&mut self) {
        for dir in [&self.tmpfs, &self.disk] {
            let _ = fs::remove_dir_all(dir);
        }
    }
}

/// One node.
pub struct Host {
    dir: PathBuf,
    paths: Paths,
    store: Store,
    holders: Vec<Child>,
    kept: BTreeSet<PathBuf>,
}

impl Host {
    pub fn new(dir: PathBuf, runtime: &Path, hook: &Path, more: &str) -> Self {
        for name in ["etc", "run", "root"] {
            fs::create_dir_all(dir.join(name)).unwrap();
            fs::set_permissions(dir.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        let run = dir.join("run/gpulease");
        let devices = dir.join("etc/devices.toml");
        fs::write(&devices, profiles::find("h100x8").unwrap().toml).unwrap();
        let text = format!(
            "runtime = {runtime:?}\nrun_dir = {run:?}\ndevices_file = {devices:?}\n\
             hook = {hook:?}\n{more}"
        );
        let paths = Paths { run: run.clone(), ..Paths::default() };
        let host =
            Self { dir, paths, store: Store::at(&run), holders: Vec::new(), kept: BTreeSet::new() };
        fs::write(host.config(), text).unwrap();
        host.store.prepare(&host.paths).unwrap();
        let config = config::look(&host.config(), true).config.unwrap();
        let scanned = inventory::scan(&host.paths, &config).unwrap();
        let bytes = inventory::encode(&scanned).unwrap();
        atomic::replace(&host.store.inventory_path(), &bytes, Durability::Synced).unwrap();
        host
    }

    pub fn config(&self) -> PathBuf {
        self.dir.join("etc/config.toml")
    }

    pub fn root(&self) -> PathBuf {
        self.dir.join("root")
    }

    fn ctx(&self) -> Ctx<'_> {
        Ctx { paths: &self.paths, store: &self.store }
    }

    /// Adds leases of a tenth of a device each, held by processes that sleep, with the record of
    /// an edited bundle for each: best-fit puts ten on a device, so that others stay free.
    pub fn fill(&mut self, count: usize, edited: Option<&BundleRecord>) {
        let config = config::look(&self.config(), true).config.unwrap();
        let node = inventory::scan(&self.paths, &config).unwrap().node;
        for number in 0..count {
            let name = format!("{number:064x}");
            let root = self.root().display().to_string();
            let key = LeaseKey::new(&root, ContainerId::new(&name).unwrap()).unwrap();
            let holder = create::NewHolder {
                key: key.clone(),
                engine: "docker",
                runtime: "/usr/sbin/runc",
                bundle: "/",
                pid_file: None,
                cgroup: Some(format!("/sys/fs/cgroup/devices/docker/{name}")),
            };
            let tenth = Amount::Share { compute: Some(MilliGpu(100)), memory: None };
            let one = Request::one(Strategy::BestFit, RequestSource::Annotations);
            let lease = create::create(
                self.ctx(),
                &create::LeaseRequest {
                    holder,
                    config: &self.config(),
                    request: &Request { amount: tenth, sharing: Sharing::Shared, ..one },
                    node: &node,
                    requester: Requester { uid: Some(0), confined: true },
                    facilities: Facilities::none("not looked for"),
                    release_grace: Duration::from_secs(10),
                    busy: BusyProcesses { users: &[], policy: Busy::Ignore },
                    adopt: &[],
                    env: &|lease| injection::limits(lease, &[], &[]),
                },
            );
            let lease = lease.lease.unwrap();
            let holder = Command::new("sleep").arg("infinity").spawn().unwrap();
            let owner = self.describe(&holder);
            self.put(&Lease { state: LeaseState::Bound, owner, ..lease.clone() });
            self.holders.push(holder);
            if let Some(edited) = edited {
                // One directory each, and it stays: a record of one that is gone is forgotten.
                let dir = self.dir.join("bundles").join(&name);
                fs::create_dir_all(&dir).unwrap();
                let record = BundleRecord {
                    nonce: lease.nonce.clone(),
                    key,
                    bundle: dir.display().to_string(),
                    ..edited.clone()
                };
                self.store.put_bundle(&record).unwrap();
            }
        }
        self.kept = self.files().collect();
    }

    fn describe(&self, child: &Child) -> Owner {
        proc::describe(i32::try_from(child.id()).unwrap(), &self.paths).unwrap()
    }

    /// A process that has ended, as the owner of a lease.
    pub fn dead_owner(&self) -> Owner {
        let mut child = Command::new("true").spawn().unwrap();
        let owner = self.describe(&child);
        child.wait().unwrap();
        owner
    }

    fn files(&self) -> impl Iterator<Item = PathBuf> {
        ["leases", "bundles"].into_iter().flat_map(|name| {
            let listing = fs::read_dir(self.paths.run.join(name)).unwrap();
            listing.map(|entry| entry.unwrap().path())
        })
    }

    /// Back to the leases of `fill`.
    pub fn reset(&self) {
        for file in self.files().filter(|file| !self.kept.contains(file)) {
            fs::remove_file(file).unwrap();
        }
    }

    pub fn put(&self, lease: &Lease) {
        self.store.lock(Duration::from_secs(1), &self.paths).unwrap().put(lease).unwrap();
    }

    pub fn put_bundle(&self, record: &BundleRecord) {
        self.store.put_bundle(record).unwrap();
    }

    pub fn leases(&self) -> Vec<Lease> {
        let entries = self.store.entries().unwrap().into_iter();
        entries
            .map(|entry| match entry {
                Entry::Lease(lease) => *lease,
                Entry::Corrupt(corrupt) => panic!("{}: {}", corrupt.path.display(), corrupt.why),
            })
            .collect()
    }

    /// The lease of the measured container.
    pub fn lease(&self, id: &str) -> Lease {
        self.leases().into_iter().find(|lease| lease.container_id.as_str() == id).unwrap()
    }

    pub fn edit_of(&self, bundle: &Bundle) -> BundleRecord {
        self.store.bundle(&bundle.dir).unwrap()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        for holder in &mut self.holders {
            let _ = holder.kill();
            let _ = holder.wait();
        }
    }
}

/// A bundle without a root file system.
pub struct Bundle {
    pub dir: PathBuf,
    text: Vec<u8>,
}

impl Bundle {
    pub fn new(dir: PathBuf, annotations: &[(&str, &str)]) -> Self {
        Self::with_config(dir, &docker_config(annotations))
    }

    pub fn with_config(dir: PathBuf, config: &Value) -> Self {
        fs::create_dir_all(&dir).unwrap();
        let bundle = Self { dir, text: config.to_string().into_bytes() };
        bundle.restore();
        bundle
    }

    pub fn config(&self) -> PathBuf {
        self.dir.join("config.json")
    }

    /// `config.json` as the engine wrote it.
    pub fn restore(&self) {
        fs::write(self.config(), &self.text).unwrap();
    }

    pub fn edited(&self) -> Value {
        serde_json::from_slice(&fs::read(self.config()).unwrap()).unwrap()
    }
}

pub fn annotate(config: &mut Value, annotations: &[(&str, &str)]) {
    config["annotations"] = annotations.iter().map(|(k, v)| ((*k).to_owned(), json!(v))).collect();
}

/// Docker's configuration without anything of GPUs in it, as long as a real one: most of that is
/// the seccomp profile, which the fixture cuts short.
fn docker_config(annotations: &[(&str, &str)]) -> Value {
    const FIXTURE: &str = include_str!("../../tests/fixtures/docker-config.json");
    let mut config: Value = serde_json::from_str(FIXTURE).unwrap();
    annotate(&mut config, annotations);
    let retain = |list: &mut Value, keep: &dyn Fn(&str) -> bool| {
        list.as_array_mut().unwrap().retain(|entry| keep(&entry.to_string()));
    };
    retain(&mut config["process"]["env"], &|text| !text.contains("VISIBLE_DEVICES"));
    retain(&mut config["process"]["env"], &|text| !text.contains("NVIDIA"));
    retain(&mut config["linux"]["devices"], &|text| !text.contains("nvidia"));
    retain(&mut config["linux"]["resources"]["devices"], &|text| !text.contains("195"));
    let mut length = config.to_string().len();
    let syscalls = config["linux"]["seccomp"]["syscalls"].as_array_mut().unwrap();
    let mut names = Vec::new();
    while length < CONFIG_BYTES {
        names.push(json!(format!("system_call_{}", names.len())));
        length += names[names.len() - 1].to_string().len() + 1;
    }
    syscalls.push(json!({ "names": names, "action": "SCMP_ACT_ALLOW" }));
    config
}
