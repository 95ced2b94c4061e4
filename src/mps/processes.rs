//! MPS processes as procfs shows them.
//!
//! A process can change its own arguments and environment, and can make their reader wait as long as
//! it likes. So a process is recognised by what the kernel says: its pid namespace, which is no
//! container's, the program that it executes, and its user.

use crate::model::id::DeviceId;
use crate::model::variables::{CUDA_ORDER, CUDA_VISIBLE, MPS_PIPE};
use crate::paths::Paths;
use crate::sys::checked::check_way;
use crate::sys::{identity, kernel_file, proc_stat};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The program of control daemons and of their clients.
const CONTROL: &str = "nvidia-cuda-mps-control";
/// The program of servers.
const SERVER: &str = "nvidia-cuda-mps-server";
/// The pipe directory of a daemon whose environment names none.
const DEFAULT_PIPE: &str = "/tmp/nvidia-mps";
/// More than arguments or environment have as a rule; the rest is not read.
const BYTES_MAX: u64 = 1 << 18;

/// A running control daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlDaemon {
    pub pid: i32,
    /// Its pipe directory, as it names it.
    pub pipe: PathBuf,
    /// `CUDA_VISIBLE_DEVICES` (untrusted); all devices without it.
    pub visible: Option<String>,
    /// It numbers devices by their places on the bus (`CUDA_DEVICE_ORDER`).
    pub by_bus: bool,
}

/// A device, as daemons name it.
#[derive(Debug, Clone, Copy)]
pub struct DeviceName<'a> {
    pub uuid: &'a DeviceId,
    pub index: u32,
    /// The device does not exist.
    pub simulated: bool,
}

/// Root's control daemons that run, those of gpulease among them. A container does not use a daemon
/// of another user.
pub fn control_daemons(paths: &Paths) -> Vec<ControlDaemon> {
    executing(CONTROL, paths).into_iter().filter_map(|pid| control(pid, paths)).collect()
}

fn control(pid: i32, paths: &Paths) -> Option<ControlDaemon> {
    let dir = paths.proc.join(pid.to_string());
    if !is_root(&dir) {
        return None;
    }
    let words = strings(&dir.join("cmdline"))?;
    if !words.iter().skip(1).any(is_daemon_flag) {
        return None;
    }
    let mut variables = variables(&dir)?;
    let pipe = variables.remove(MPS_PIPE).filter(|pipe| !pipe.is_empty());
    let text = |value: Option<OsString>| value.map(|value| value.to_string_lossy().into_owned());
    let order = text(variables.remove(CUDA_ORDER));
    Some(ControlDaemon {
        pid,
        pipe: pipe.map_or_else(|| DEFAULT_PIPE.into(), PathBuf::from),
        visible: text(variables.remove(CUDA_VISIBLE)),
        by_bus: order.as_deref() == Some("PCI_BUS_ID"),
    })
}

/// The servers of all daemons.
pub fn servers(paths: &Paths) -> Vec<i32> {
    executing(SERVER, paths)
}

/// The mount namespace of a process.
pub fn mount_namespace(pid: i32, paths: &Paths) -> Option<u64> {
    let path = paths.proc.join(pid.to_string()).join("ns/mnt");
    fs::metadata(path).ok().map(|namespace| namespace.ino())
}

/// The processes of this pid namespace that execute a program of this name. Their `comm` is too
/// short to tell NVIDIA's two programs apart. A zombie executes nothing.
fn executing(name: &str, paths: &Paths) -> Vec<i32> {
    let Ok(here) = identity::pid_namespace(paths) else { return Vec::new() };
    let is_it = |pid: &i32| {
        let dir = paths.proc.join(pid.to_string());
        let Ok(exe) = fs::read_link(dir.join("exe")) else { return false };
        // The kernel adds this where the file was replaced, as by an update.
        let file = exe.file_name().unwrap_or_default().as_bytes();
        file.strip_suffix(b" (deleted)").unwrap_or(file) == name.as_bytes()
            && fs::metadata(dir.join("ns/pid")).is_ok_and(|namespace| namespace.ino() == here)
    };
    proc_stat::pids(&paths.proc).filter(is_it).collect()
}

/// `-d` or `-f`, alone or among other letters. Without them the program is a client.
fn is_daemon_flag(word: &OsString) -> bool {
    let word = word.as_bytes();
    word.starts_with(b"-") && !word.starts_with(b"--") && word.iter().any(|b| b"df".contains(b))
}

fn is_root(dir: &Path) -> bool {
    let status = kernel_file::read(&dir.join("status")).unwrap_or_default();
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    uids.is_some_and(|uids| uids.split_whitespace().all(|uid| uid == "0"))
}

/// The strings of a file that separates them by NUL.
fn strings(path: &Path) -> Option<Vec<OsString>> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(BYTES_MAX).read_to_end(&mut bytes).ok()?;
    let parts = bytes.split(|byte| *byte == 0).filter(|part| !part.is_empty());
    Some(parts.map(|part| OsString::from_vec(part.to_vec())).collect())
}

fn variables(dir: &Path) -> Option<BTreeMap<String, OsString>> {
    let pairs = strings(&dir.join("environ"))?.into_iter().filter_map(|pair| {
        let bytes = pair.as_bytes();
        let at = bytes.iter().position(|byte| *byte == b'=')?;
        let (name, value) = bytes.split_at(at);
        let name = std::str::from_utf8(name).ok()?.to_owned();
        Some((name, OsString::from_vec(value.get(1..)?.to_vec())))
    });
    // Of two variables of one name the C library takes the first.
    let mut variables = BTreeMap::new();
    for (name, value) in pairs {
        variables.entry(name).or_insert(value);
    }
    Some(variables)
}

impl ControlDaemon {
    /// Whether it serves a device of a node with so many GPUs. Without `CUDA_VISIBLE_DEVICES` it
    /// serves all devices that exist. An index counts only where it is certain which device it
    /// names: CUDA's default order is by speed.
    pub fn serves(&self, device: &DeviceName<'_>, gpus: usize) -> bool {
        let Some(visible) = &self.visible else { return !device.simulated };
        let is_numbered = (self.by_bus || gpus == 1) && !device.simulated;
        let names = |word: &str| match word.parse::<u32>() {
            Ok(index) => is_numbered && index == device.index,
            // CUDA accepts the beginning of a UUID.
            Err(_) => {
                word.len() > 4 && word.starts_with("GPU-") && device.uuid.as_str().starts_with(word)
            }
        };
        visible.split(',').map(str::trim).any(names)
    }

    /// Whether a container could use it: its pipe directory and its `/dev/shm` are those of this
    /// mount namespace, and only root can put others in their place. The error is the reason, as a
    /// phrase.
    pub fn is_reachable(&self, paths: &Paths) -> Result<(), String> {
        let root = paths.proc.join(self.pid.to_string()).join("root");
        let is_same = |path: &Path| {
            let inside = fs::metadata(root.join(path.strip_prefix("/").unwrap_or(path)));
            let of = |found: fs::Metadata| (found.dev(), found.ino());
            inside.ok().map(of).is_some_and(|a| fs::metadata(path).ok().map(of) == Some(a))
        };
        if !is_same(&self.pipe) {
            return Err("its pipe directory is not seen from here".to_owned());
        }
        if !is_same(Path::new("/dev/shm")) {
            return Err("it has another /dev/shm than the host".to_owned());
        }
        let metadata = fs::symlink_metadata(&self.pipe).map_err(|error| error.to_string())?;
        if !metadata.is_dir() || metadata.uid() != 0 || metadata.mode() & 0o022 != 0 {
            return Err("its pipe directory is not root's alone".to_owned());
        }
        let real = fs::canonicalize(&self.pipe).map_err(|error| error.to_string())?;
        if real != self.pipe {
            return Err("its pipe directory is behind a symbolic link".to_owned());
        }
        check_way(&real).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests;
