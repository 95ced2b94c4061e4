//! The processes that compute on the node's GPUs now, by the kernel and by NVIDIA's driver.

use crate::config::Config;
use crate::inventory::activity::{ProcessKind, Running};
use crate::inventory::nvidia;
use crate::model::device::{Device, Node, Vendor};
use crate::model::id::DeviceId;
use crate::model::quantity::Bytes;
use crate::paths::Paths;
use crate::request::policy::Busy;
use crate::sys::gpu_users::{self, GpuUser};
use std::collections::{BTreeMap, BTreeSet};

/// The processes that use the node's GPUs.
#[derive(Debug, Default)]
pub struct GpuUsers {
    pub list: Vec<GpuUser>,
    /// The processes that are not known to compute on a device, and how they use it.
    others: BTreeMap<(i32, DeviceId), ProcessKind>,
    /// The devices whose driver has named all processes. On others, each process that has the device
    /// open counts.
    pub asked: BTreeSet<DeviceId>,
    /// The gaps in the list, as sentences without a full stop.
    pub notes: Vec<String>,
}

impl GpuUsers {
    /// The processes on the node's devices, by their pids.
    #[must_use]
    pub fn look(node: &Node, paths: &Paths, config: &Config) -> Self {
        let list = gpu_users::look(node, paths);
        let is_driver_there = paths.proc.join("driver/nvidia").exists();
        if !node.devices.iter().any(is_real_nvidia) || !is_driver_there {
            return Self { list, ..Self::default() };
        }
        let told = nvidia::processes(paths, config);
        merged(list, told.map_err(|silence| silence.to_string()), node, paths)
    }

    /// The processes that compute, where the administrator's policy has them count for grants.
    #[must_use]
    pub fn that_count(node: &Node, paths: &Paths, config: &Config) -> Self {
        match config.policy.busy {
            Busy::Ignore => Self::default(),
            Busy::Avoid | Busy::Refuse => Self::look(node, paths, config).computing(),
        }
    }

    /// How a process uses a device.
    #[must_use]
    pub fn kind(&self, pid: i32, device: &DeviceId) -> ProcessKind {
        let other = self.others.get(&(pid, device.clone()));
        other.copied().unwrap_or(ProcessKind::Compute)
    }

    /// Without processes that only draw.
    fn computing(mut self) -> Self {
        let others = std::mem::take(&mut self.others);
        for user in &mut self.list {
            let pid = user.pid;
            user.devices.retain(|device, _| {
                others.get(&(pid, device.clone())) != Some(&ProcessKind::Graphics)
            });
        }
        self.list.retain(|user| !user.devices.is_empty());
        Self { others, ..self }
    }
}

fn is_real_nvidia(device: &Device) -> bool {
    device.vendor == Vendor::Nvidia && !device.simulated
}

/// The processes that the kernel shows, corrected by the driver. A CUDA process has the nodes of all
/// GPUs open that it sees; it counts on those on which it computes, as far as the driver says so. A
/// process that only the driver names counts too. On a device whose driver does not name all
/// processes, none is left out.
fn merged(
    list: Vec<GpuUser>,
    told: Result<Running, String>,
    node: &Node,
    paths: &Paths,
) -> GpuUsers {
    const COULD: &str = "a CUDA process is shown on every GPU that it could compute on";
    let kept = |list: Vec<GpuUser>, why: &str| {
        let notes = if list.is_empty() { Vec::new() } else { vec![format!("{COULD}: {why}")] };
        GpuUsers { list, notes, ..GpuUsers::default() }
    };
    let Running { processes: told, asked } = match told {
        Ok(told) => told,
        Err(why) => return kept(list, &why),
    };
    let mut by_pid: BTreeMap<i32, BTreeMap<&DeviceId, Option<Bytes>>> = BTreeMap::new();
    let mut others = BTreeMap::new();
    for told in &told {
        by_pid.entry(told.pid).or_default().insert(&told.device, told.memory);
        if told.kind != ProcessKind::Compute {
            others.insert((told.pid, told.device.clone()), told.kind);
        }
    }
    // The driver names a process twice that draws and computes.
    for told in told.iter().filter(|told| told.kind == ProcessKind::Compute) {
        others.remove(&(told.pid, told.device.clone()));
    }
    // Outside the driver's pid namespace, its pids mean other processes.
    let is_comparable = told.is_empty() || list.iter().any(|user| by_pid.contains_key(&user.pid));
    if !list.is_empty() && !is_comparable {
        return kept(list, "the pids of NVIDIA's driver are not those of procfs here");
    }
    let known: BTreeSet<i32> = list.iter().map(|user| user.pid).collect();
    // On a device whose driver names only some processes, one that draws may compute as well.
    let has_open = |pid, uuid: &DeviceId| {
        list.iter().any(|user: &GpuUser| user.pid == pid && user.devices.contains_key(uuid))
    };
    others.retain(|(pid, uuid), _| asked.contains(uuid) || !has_open(*pid, uuid));
    let mut silent: BTreeSet<DeviceId> = BTreeSet::new();
    let mut refine = |mut user: GpuUser| {
        let on = by_pid.get(&user.pid);
        let devices = std::mem::take(&mut user.devices);
        for (uuid, memory) in devices {
            let device = node.device(&uuid).filter(|device| is_real_nvidia(device));
            let Some(device) = device else {
                user.devices.insert(uuid, memory);
                continue;
            };
            // The driver names the GPU for a process on a MIG instance.
            let gpu = device.instance().map(|instance| &instance.parent);
            let told = on.and_then(|on| on.get(&uuid).or_else(|| on.get(gpu?)));
            if let Some(memory) = told {
                user.devices.insert(uuid, *memory);
            } else if !asked.contains(&uuid) {
                silent.insert(uuid.clone());
                user.devices.insert(uuid, memory);
            }
        }
        user
    };
    let mut list: Vec<GpuUser> = list.into_iter().map(&mut refine).collect();
    list.retain(|user| !user.devices.is_empty());
    for (pid, on) in by_pid.iter().filter(|(pid, _)| !known.contains(pid)) {
        let devices = on.iter().filter(|(uuid, _)| node.device(uuid).is_some());
        let devices = devices.map(|(uuid, memory)| ((*uuid).clone(), *memory)).collect();
        list.extend(gpu_users::describe(*pid, devices, paths).filter(|u| !u.devices.is_empty()));
    }
    list.sort_by_key(|user| user.pid);
    let notes = if silent.is_empty() {
        Vec::new()
    } else {
        let silent: Vec<&str> = silent.iter().map(DeviceId::as_str).collect();
        let silent = silent.join(", ");
        vec![format!(
            "{COULD}: NVIDIA's driver does not name all processes that compute on {silent}"
        )]
    };
    GpuUsers { list, others, asked, notes }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::activity::GpuProcess;
    use crate::inventory::static_file;
    use std::fs;

    /// Two of NVIDIA's and one of AMD's.
    fn node() -> Node {
        let device = |number: u32, vendor: &str, node: &str| {
            format!(
                "[[device]]\nuuid = 'GPU-{number}'\nvendor = '{vendor}'\nmodel = 'M'\n\
                 memory_mib = 1\npci = '0000:0{number}:00.0'\nnodes = ['{node}']\n"
            )
        };
        let text = device(1, "nvidia", "/dev/nvidia0")
            + &device(2, "nvidia", "/dev/nvidia1")
            + &device(3, "amd", "/dev/dri/renderD128");
        static_file::parse(&text).unwrap()
    }

    fn user(pid: i32, devices: &[&str]) -> GpuUser {
        let devices = devices.iter().map(|uuid| (DeviceId::new(uuid).unwrap(), None)).collect();
        GpuUser { pid, name: None, devices, cgroup: None, ancestors: vec![pid] }
    }

    /// Computing, and with how many bytes.
    fn told(pid: i32, device: &str, memory: Option<u64>) -> GpuProcess {
        let device = DeviceId::new(device).unwrap();
        GpuProcess { device, pid, kind: ProcessKind::Compute, memory: memory.map(Bytes) }
    }

    /// By a driver that told all of these devices.
    fn running(processes: Vec<GpuProcess>, asked: &[&str]) -> Running {
        let asked = asked.iter().map(|uuid| DeviceId::new(uuid).unwrap()).collect();
        Running { processes, asked }
    }

    const BOTH: &[&str] = &["GPU-1", "GPU-2"];

    type On = Vec<(String, Option<u64>)>;

    fn seen(users: &GpuUsers) -> Vec<(i32, On)> {
        let of = |user: &GpuUser| {
            let devices =
                user.devices.iter().map(|(id, memory)| (id.to_string(), memory.map(|m| m.0)));
            (user.pid, devices.collect())
        };
        users.list.iter().map(of).collect()
    }

    #[test]
    fn the_driver_says_on_which_gpu_and_with_how_much() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::below(dir.path());
        fs::create_dir_all(paths.proc.join("9")).unwrap();
        let list = vec![user(7, &["GPU-1", "GPU-2", "GPU-3"]), user(8, &["GPU-1", "GPU-2"])];
        let answer = vec![
            told(7, "GPU-2", Some(512)),
            told(9, "GPU-1", None),
            told(10, "GPU-1", Some(1)),
            told(9, "GPU-x", Some(1)),
        ];
        let users = merged(list.clone(), Ok(running(answer, BOTH)), &node(), &paths);
        let expected = [
            (7, vec![("GPU-2".to_owned(), Some(512)), ("GPU-3".to_owned(), None)]),
            // Process 8 has the nodes open and computes nowhere. Process 10 is gone.
            (9, vec![("GPU-1".to_owned(), None)]),
        ];
        assert_eq!((seen(&users), users.notes.len()), (expected.to_vec(), 0));
        let none = merged(list, Ok(running(Vec::new(), BOTH)), &node(), &paths);
        assert_eq!(seen(&none), [(7, vec![("GPU-3".to_owned(), None)])]);
    }

    #[test]
    fn a_process_that_only_draws_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::below(dir.path());
        let both = user(7, &["GPU-1", "GPU-2"]);
        fs::create_dir_all(paths.proc.join("9")).unwrap();
        let on = |pid, device: &str, kind| GpuProcess {
            device: DeviceId::new(device).unwrap(),
            pid,
            kind,
            memory: None,
        };
        let (draws, computes) = (ProcessKind::Graphics, ProcessKind::Compute);
        let told = vec![
            on(7, "GPU-1", computes),
            on(7, "GPU-1", draws),
            on(7, "GPU-2", draws),
            on(9, "GPU-1", draws),
        ];
        let users = merged(vec![both], Ok(running(told, BOTH)), &node(), &paths);
        let ids =
            |users: &GpuUsers| seen(users).into_iter().map(|(pid, _)| pid).collect::<Vec<_>>();
        let kind = |pid, device| users.kind(pid, &DeviceId::new(device).unwrap());
        assert_eq!(
            (ids(&users), kind(7, "GPU-1"), kind(7, "GPU-2")),
            (vec![7, 9], computes, draws)
        );
        let counted = users.computing();
        assert_eq!(seen(&counted), [(7, vec![("GPU-1".to_owned(), None)])]);
    }

    #[test]
    fn a_process_stays_on_a_gpu_that_names_not_all() {
        let paths = Paths::below(std::path::Path::new("/nowhere"));
        let list = vec![user(7, &["GPU-1", "GPU-2", "GPU-3"]), user(8, &["GPU-1"])];
        let answer = vec![told(7, "GPU-2", Some(512))];
        let users = merged(list, Ok(running(answer, &["GPU-2"])), &node(), &paths);
        let [first, second, third] = [("GPU-1", None), ("GPU-2", Some(512)), ("GPU-3", None)]
            .map(|(u, m)| (u.to_owned(), m));
        let expected = [(7, vec![first.clone(), second, third]), (8, vec![first])];
        assert_eq!(seen(&users), expected);
        let [note] = &users.notes[..] else { panic!("{:?}", users.notes) };
        assert!(note.ends_with("all processes that compute on GPU-1"), "{note}");
        assert_eq!(users.asked.len(), 1);

        // The driver named the process that draws, and not all that compute.
        let draws = GpuProcess { kind: ProcessKind::Graphics, ..told(7, "GPU-1", None) };
        let told = running(vec![draws], &[]);
        let users = merged(vec![user(7, &["GPU-1"])], Ok(told), &node(), &paths);
        assert_eq!(seen(&users.computing()), [(7, vec![("GPU-1".to_owned(), None)])]);
    }

    #[test]
    fn without_the_driver_each_possible_gpu_is_shown() {
        let paths = Paths::below(std::path::Path::new("/nowhere"));
        let list = vec![user(7, &["GPU-1", "GPU-2"])];
        // The driver names other processes than procfs.
        for answer in
            [Err("it sleeps".to_owned()), Ok(running(vec![told(77, "GPU-1", None)], BOTH))]
        {
            let users = merged(list.clone(), answer, &node(), &paths);
            assert_eq!(users.list, list);
            assert!(users.notes[0].contains("could compute on"), "{:?}", users.notes);
        }
        assert!(merged(Vec::new(), Err(String::new()), &node(), &paths).notes.is_empty());
    }
}
