//! Hosts of many kinds, each in a mount namespace of its own test, and the ways in which gpulease is
//! set up there.

use crate::support::images::fetched;
use crate::support::{HOOK, Host, STUB};
use gpulease::door::inventory::{profiles, static_file};
use gpulease::door::model::device::Node;
use gpulease::door::model::id::LeaseId;
use nix::sys::stat::{major, minor};
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a test's thread has of its own: /dev, /run and /var/lib, with nothing of the host's.
const OWN: &str = r#"
set -e
mount --make-rprivate /
mount -t tmpfs -o mode=755,dev none /dev
mkdir /dev/pts /dev/dri
mkdir -m 1777 /dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 none /dev/pts
ln -s pts/ptmx /dev/ptmx
ln -s /proc/self/fd /dev/fd
for n in null:3 zero:5 full:7 random:8 urandom:9; do mknod -m 666 "/dev/${n%:*}" c 1 "${n#*:}"; done
mknod -m 666 /dev/tty c 5 0
mknod -m 666 /dev/fuse c 10 229
mount -t tmpfs -o mode=755 none /run
mount -t tmpfs -o mode=755 none /var/lib
[ ! -d /etc/cdi ] || mount -t tmpfs -o mode=755 none /etc/cdi
"#;

/// NVIDIA's nodes with the driver's numbers, and no driver behind them.
const NVIDIA_NODES: &str = r#"
for n in nvidia0:0 nvidia1:1 nvidiactl:255 nvidia-modeset:254; do
    mknod -m 666 "/dev/${n%:*}" c 195 "${n#*:}"
done
mknod -m 666 /dev/nvidia-uvm c 511 0
mknod -m 666 /dev/nvidia-uvm-tools c 511 1
"#;

const NVIDIA: &str = r#"
simulated = false
[[device]]
uuid = "GPU-00000000-0000-4000-8000-000000000001"
vendor = "nvidia"
model = "NVIDIA Test"
memory_mib = 65536
pci = "0000:01:00.0"
nodes = ["/dev/nvidia0"]
[[device]]
uuid = "GPU-00000000-0000-4000-8000-000000000002"
vendor = "nvidia"
model = "NVIDIA Test"
memory_mib = 65536
pci = "0000:02:00.0"
nodes = ["/dev/nvidia1"]
[[control]]
vendor = "nvidia"
nodes = ["/dev/nvidiactl", "/dev/nvidia-uvm"]
"#;

const AMD_NODES: &str = r#"
mknod -m 666 /dev/kfd c 510 0
for n in 128 129; do mknod -m 666 "/dev/dri/renderD$n" c 226 $n; done
for n in 0 1; do mknod -m 666 "/dev/dri/card$n" c 226 $n; done
"#;

/// One has an id, the other none by which AMD's runtime would know it.
const AMD: &str = r#"
[[device]]
uuid = "GPU-0123456789abcdef"
vendor = "amd"
model = "AMD Test"
memory_mib = 65536
pci = "0000:03:00.0"
nodes = ["/dev/dri/card0", "/dev/dri/renderD128"]
[[device]]
uuid = "GPU-odd"
vendor = "amd"
model = "AMD Test"
memory_mib = 65536
pci = "0000:04:00.0"
nodes = ["/dev/dri/card1", "/dev/dri/renderD129"]
[[control]]
vendor = "amd"
nodes = ["/dev/kfd"]
"#;

/// What NVIDIA's tools would write of [`NVIDIA`].
const CDI: &str = r#"{"cdiVersion": "0.6.0", "kind": "nvidia.com/gpu", "devices": [
    {"name": "0", "containerEdits": {"deviceNodes": [{"path": "/dev/nvidia0"}]}},
    {"name": "1", "containerEdits": {"deviceNodes": [{"path": "/dev/nvidia1"}]}}],
    "containerEdits": {"deviceNodes": [{"path": "/dev/nvidiactl"}], "env": ["CDI=1"]}}"#;

/// A kind of node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Real NVIDIA GPUs: bare, with CDI specs, with the driver's files.
    Nvidia,
    NvidiaCdi,
    NvidiaFiles,
    Amd,
    /// Real GPUs of both vendors.
    Both,
    /// A real GPU whose node is not there.
    Gone,
    /// Simulated GPUs, by the name of the profile.
    Simulated(&'static str),
    /// No GPU at all.
    Bare,
    /// A devices file that cannot be understood.
    Broken,
}

impl Kind {
    pub const ALL: [Self; 11] = [
        Self::Nvidia,
        Self::NvidiaCdi,
        Self::NvidiaFiles,
        Self::Amd,
        Self::Both,
        Self::Gone,
        Self::Simulated("h100x8"),
        Self::Simulated("mixed4"),
        Self::Simulated("a100x4"),
        Self::Bare,
        Self::Broken,
    ];

    fn devices(self) -> String {
        match self {
            Self::Nvidia | Self::NvidiaCdi | Self::NvidiaFiles => NVIDIA.to_owned(),
            Self::Gone => NVIDIA.replace("/dev/nvidia0", "/dev/nvidia7"),
            Self::Amd => format!("simulated = false\n{AMD}"),
            Self::Both => format!("{NVIDIA}{AMD}"),
            Self::Simulated(name) => profiles::find(name).unwrap().toml.to_owned(),
            Self::Bare => String::new(),
            Self::Broken => "not = [".to_owned(),
        }
    }

    fn nodes(self) -> &'static [&'static str] {
        match self {
            Self::Nvidia | Self::NvidiaCdi | Self::NvidiaFiles | Self::Gone => &[NVIDIA_NODES],
            Self::Amd => &[AMD_NODES],
            Self::Both => &[NVIDIA_NODES, AMD_NODES],
            Self::Simulated(_) | Self::Bare | Self::Broken => &[],
        }
    }

    pub fn has_devices(self) -> bool {
        !matches!(self, Self::Bare | Self::Broken | Self::Gone)
    }
}

/// A way in which gpulease is set up: a name, the low-level runtime, what else the file says.
pub type Mode = (&'static str, &'static str, &'static str);

/// Every driver over every runtime that it can and cannot go with.
pub const DRIVERS: &[Mode] = &[
    ("auto", "stub", ""),
    ("none", "stub", "driver = \"none\""),
    ("native", "stub", "driver = \"native\""),
    ("cdi", "stub", "driver = \"cdi\""),
    ("chain", "stub", "driver = \"chain\""),
    ("auto-nvidia", "nvidia-container-runtime", ""),
    ("chain-nvidia", "nvidia-container-runtime", "driver = \"chain\""),
    ("none-nvidia", "nvidia-container-runtime", "driver = \"none\""),
    ("auto-link", "runc", ""),
    ("chain-amd", "amd-container-runtime", "driver = \"chain\""),
];

/// What else an administrator can say.
pub const OTHERS: &[Mode] = &[
    ("no-hook", "stub", "hook = \"/nonexistent/gpulease-hook\""),
    ("no-runtime", "missing", ""),
    (
        "env",
        "stub",
        "[policy]\naccept_env = [\"NVIDIA_VISIBLE_DEVICES\", \"AMD_VISIBLE_DEVICES\", \"GPULEASE_*\"]",
    ),
    ("refuse", "stub", "[policy]\ninjected = \"refuse\"\nprivileged = \"refuse\""),
    ("ignore", "stub", "[policy]\ninjected = \"ignore\"\nbusy = \"ignore\""),
    ("unknown-key", "stub", "no_such_key = 1"),
];

/// A configuration with a lease directory of its own.
#[derive(Clone)]
pub struct Setting {
    pub name: &'static str,
    pub config: PathBuf,
    pub run_dir: PathBuf,
    /// The low-level runtime is a vendor's own.
    pub is_vendors: bool,
}

/// What is asked: a bundle, and what is in its config.json.
#[derive(Clone, Default)]
pub struct Call {
    /// For messages.
    pub name: String,
    pub bundle: PathBuf,
    pub root: PathBuf,
    pub spec: Vec<u8>,
    /// The lease of an earlier start of it.
    pub earlier: Option<LeaseId>,
}

/// The first device node of a GPU.
pub struct Gpu {
    pub path: String,
    pub major: u32,
    pub minor: u32,
    pub uuid: String,
}

pub struct World {
    pub kind: Kind,
    pub host: Host,
    /// Two that specs can name. On a node without devices they are elsewhere.
    pub gpus: [Gpu; 2],
    driver_root: PathBuf,
}

impl World {
    /// To be called once in a test: its thread is elsewhere then.
    pub fn enter(kind: Kind) -> Self {
        let files = (kind == Kind::NvidiaFiles).then(|| fetched("nvidia.sh"));
        // SAFETY: has no memory to keep valid; only this thread and its children go.
        #[allow(unsafe_code, reason = "a mount namespace for this thread")]
        let apart = unsafe { libc::unshare(libc::CLONE_NEWNS) };
        assert_eq!(apart, 0, "{}", std::io::Error::last_os_error());
        let script = [&[OWN], kind.nodes()].concat().concat();
        assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());
        if kind == Kind::NvidiaCdi {
            fs::create_dir("/run/cdi").unwrap();
            fs::write("/run/cdi/nvidia.json", CDI).unwrap();
        }
        let host = Host::with_devices(&kind.devices(), Path::new(STUB));
        let bin = host.path("bin");
        fs::create_dir_all(&bin).unwrap();
        for vendor in ["nvidia-container-runtime", "amd-container-runtime"] {
            symlink(STUB, bin.join(vendor)).unwrap();
        }
        fs::copy(STUB, bin.join("nvidia-container-runtime.real")).unwrap();
        symlink("nvidia-container-runtime.real", bin.join("runc")).unwrap();
        symlink(STUB, bin.join("stub")).unwrap();
        let driver_root = files.unwrap_or_else(|| host.path("driver"));
        fs::create_dir_all(&driver_root).unwrap();
        let node = static_file::parse(&kind.devices()).unwrap_or_default();
        Self { kind, host, gpus: [gpu(&node, 0), gpu(&node, 1)], driver_root }
    }

    pub fn setting(&self, (name, runtime, more): Mode) -> Setting {
        let run_dir = self.host.path("run").join(name);
        let config = self.host.path("etc").join(format!("{name}.toml"));
        let hook =
            if more.contains("hook =") { String::new() } else { format!("hook = {HOOK:?}\n") };
        let text = format!(
            "runtime = {:?}\nrun_dir = {run_dir:?}\ndevices_file = {:?}\ndriver_root = {:?}\n\
             sources = [\"static\"]\n{hook}{more}\n[mps]\ncontrol = \"/nonexistent\"\n",
            self.host.path("bin").join(runtime),
            self.host.path("etc/devices.toml"),
            self.driver_root,
        );
        fs::write(&config, text).unwrap();
        Setting { name, config, run_dir, is_vendors: !["stub", "missing"].contains(&runtime) }
    }
}

fn gpu(node: &Node, index: u32) -> Gpu {
    let device = usize::try_from(index).ok().and_then(|index| node.devices.get(index));
    let Some(device) = device else {
        let path = format!("/dev/nvidia{index}");
        return Gpu { path, major: 195, minor: index, uuid: "GPU-nope".to_owned() };
    };
    let path = device.nodes[0].path.clone();
    let (major, minor) = match device.nodes[0].simulated {
        Some(numbers) => (numbers.major, numbers.minor),
        None => numbers_of(&path),
    };
    Gpu { path, major, minor, uuid: device.uuid.to_string() }
}

fn numbers_of(path: &str) -> (u32, u32) {
    let number = fs::metadata(path).map_or(0, |found| found.rdev());
    let part = |number: u64| u32::try_from(number).unwrap();
    (part(major(number)), part(minor(number)))
}
