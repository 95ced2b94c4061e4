use super::*;

struct Proc {
    dir: tempfile::TempDir,
    paths: Paths,
}

/// A container's pid namespace.
const ELSEWHERE: &str = "elsewhere";

impl Proc {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("self/ns")).unwrap();
        fs::write(dir.path().join("self/ns/pid"), "").unwrap();
        fs::write(dir.path().join(ELSEWHERE), "").unwrap();
        let paths = Paths { proc: dir.path().to_owned(), ..Paths::default() };
        Self { dir, paths }
    }

    fn add(&self, pid: i32, uid: u32, exe: &str, argv: &[&str], environ: &[&str]) -> PathBuf {
        let dir = self.dir.path().join(pid.to_string());
        fs::create_dir_all(dir.join("ns")).unwrap();
        let joined =
            |words: &[&str]| words.iter().map(|word| format!("{word}\0")).collect::<String>();
        fs::write(dir.join("cmdline"), joined(argv)).unwrap();
        fs::write(dir.join("environ"), joined(environ)).unwrap();
        fs::write(dir.join("status"), format!("Name:\tx\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\n"))
            .unwrap();
        fs::hard_link(self.dir.path().join("self/ns/pid"), dir.join("ns/pid")).unwrap();
        if !exe.is_empty() {
            std::os::unix::fs::symlink(exe, dir.join("exe")).unwrap();
        }
        dir
    }
}

#[test]
fn daemons_are_told_from_clients_and_servers() {
    let proc = Proc::new();
    let pipe = "CUDA_MPS_PIPE_DIRECTORY=/run/a";
    let (control, server) = ("/usr/bin/nvidia-cuda-mps-control", "/x/nvidia-cuda-mps-server");
    let visible = "CUDA_VISIBLE_DEVICES=GPU-a";
    proc.add(10, 0, control, &["x", "-d"], &[pipe, "CUDA_MPS_PIPE_DIRECTORY=/b", visible]);
    let updated = format!("{control} (deleted)");
    proc.add(11, 0, &updated, &["y", "-S", "-f"], &["CUDA_DEVICE_ORDER=PCI_BUS_ID"]);
    proc.add(12, 0, control, &["nvidia-cuda-mps-control"], &[pipe]);
    proc.add(13, 1000, control, &["nvidia-cuda-mps-control", "-d"], &[]);
    proc.add(14, 1000, server, &["nvidia-cuda-mps-server"], &[pipe]);
    proc.add(15, 0, "/bin/cat", &["cat", "nvidia-cuda-mps-control", "-d"], &[]);
    // A zombie.
    proc.add(16, 0, "", &[], &[]);
    // Other programs that only pretend by their arguments.
    proc.add(17, 0, "/bin/tail", &["nvidia-cuda-mps-control", "-f"], &[pipe]);
    proc.add(18, 0, "/bin/sleep", &["nvidia-cuda-mps-server"], &[pipe]);
    // In a container: a process there could make the reader of its arguments wait.
    for (pid, exe) in [(19, control), (20, server)] {
        let dir = proc.add(pid, 0, exe, &["nvidia-cuda-mps-control", "-d"], &[pipe]);
        fs::remove_file(dir.join("ns/pid")).unwrap();
        fs::hard_link(proc.dir.path().join(ELSEWHERE), dir.join("ns/pid")).unwrap();
    }
    let mut found = control_daemons(&proc.paths);
    found.sort_by_key(|control| control.pid);
    let pids: Vec<_> = found.iter().map(|c| (c.pid, c.by_bus)).collect();
    assert_eq!(pids, [(10, false), (11, true)]);
    assert_eq!(found[0].pipe, Path::new("/run/a"));
    assert_eq!((found[0].visible.as_deref(), found[1].visible.as_deref()), (Some("GPU-a"), None));
    assert_eq!(found[1].pipe, Path::new("/tmp/nvidia-mps"));
    assert_eq!(servers(&proc.paths), [14]);
}

#[test]
fn a_process_of_another_user_is_not_even_read() {
    let proc = Proc::new();
    let dir = proc.add(10, 1000, "/usr/bin/nvidia-cuda-mps-control", &[], &[]);
    for name in ["cmdline", "environ"] {
        fs::remove_file(dir.join(name)).unwrap();
        // Opening it to read would wait for a writer.
        nix::unistd::mkfifo(&dir.join(name), nix::sys::stat::Mode::S_IRWXU).unwrap();
    }
    assert!(control_daemons(&proc.paths).is_empty());
}

#[test]
fn an_index_counts_only_where_its_order_is_known() {
    let ids = ["GPU-aaaa", "GPU-bbbb", "GPU-cccc"].map(|uuid| DeviceId::new(uuid).unwrap());
    let device =
        |at: usize, index: u32, simulated: bool| DeviceName { uuid: &ids[at], index, simulated };
    let (first, second, ghost) = (device(0, 0, false), device(1, 1, false), device(2, 0, true));
    let control = |visible: Option<&str>, by_bus: bool| ControlDaemon {
        pid: 1,
        pipe: "/p".into(),
        visible: visible.map(str::to_owned),
        by_bus,
    };
    let serves = |visible: Option<&str>, by_bus: bool, device: &DeviceName<'_>| {
        control(visible, by_bus).serves(device, 2)
    };
    assert!(serves(None, false, &first) && serves(None, false, &second));
    assert!(!serves(None, false, &ghost) && serves(Some("GPU-cccc"), false, &ghost));
    assert!(serves(Some("GPU-bb, GPU-aaaa"), false, &first));
    assert!(!serves(Some("GPU-bbbb"), false, &first));
    assert!(!serves(Some("GPU-"), false, &first) && !serves(Some(""), false, &first));
    assert!(!serves(Some("1"), false, &second) && serves(Some("0,1"), true, &second));
    assert!(!serves(Some("0"), true, &ghost));
    assert!(control(Some("0"), false).serves(&first, 1));
}
