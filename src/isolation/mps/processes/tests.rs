use super::*;

struct Proc {
    dir: tempfile::TempDir,
    paths: Paths,
}

impl Proc {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths { proc: dir.path().to_owned(), ..Paths::default() };
        Self { dir, paths }
    }

    fn add(&self, pid: i32, uid: u32, argv: &[&str], environ: &[&str]) {
        let dir = self.dir.path().join(pid.to_string());
        fs::create_dir(&dir).unwrap();
        let joined =
            |words: &[&str]| words.iter().map(|word| format!("{word}\0")).collect::<String>();
        fs::write(dir.join("cmdline"), joined(argv)).unwrap();
        fs::write(dir.join("environ"), joined(environ)).unwrap();
        fs::write(dir.join("status"), format!("Name:\tx\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\n"))
            .unwrap();
    }
}

#[test]
fn daemons_are_told_from_front_ends_and_servers() {
    let proc = Proc::new();
    let pipe = "CUDA_MPS_PIPE_DIRECTORY=/run/a";
    proc.add(
        10,
        0,
        &["/usr/bin/nvidia-cuda-mps-control", "-d"],
        &[pipe, "CUDA_VISIBLE_DEVICES=GPU-a"],
    );
    proc.add(11, 0, &["nvidia-cuda-mps-control", "-S", "-f"], &["CUDA_DEVICE_ORDER=PCI_BUS_ID"]);
    proc.add(12, 0, &["nvidia-cuda-mps-control"], &[pipe]);
    proc.add(13, 1000, &["nvidia-cuda-mps-control", "-d"], &[]);
    proc.add(14, 1000, &["nvidia-cuda-mps-server"], &[pipe, "CUDA_MPS_PIPE_DIRECTORY=/run/b"]);
    proc.add(15, 0, &["cat", "nvidia-cuda-mps-control", "-d"], &[]);
    // A zombie.
    proc.add(16, 0, &[], &[]);
    let mut found = controls(&proc.paths);
    found.sort_by_key(|control| control.pid);
    let pids: Vec<_> = found.iter().map(|c| (c.pid, c.is_root, c.by_bus)).collect();
    assert_eq!(pids, [(10, true, false), (11, true, true), (13, false, false)]);
    assert_eq!(found[0].pipe, Path::new("/run/a"));
    assert_eq!((found[0].visible.as_deref(), found[1].visible.as_deref()), (Some("GPU-a"), None));
    assert_eq!(found[1].pipe, Path::new("/tmp/nvidia-mps"));
    assert_eq!(servers(Path::new("/run/a"), &proc.paths), [14]);
    assert!(servers(Path::new("/run/b"), &proc.paths).is_empty());
}

#[test]
fn which_device_is_served_is_told_only_where_it_is_sure() {
    let ids = ["GPU-aaaa", "GPU-bbbb", "GPU-cccc"].map(|uuid| DeviceId::new(uuid).unwrap());
    let device =
        |at: usize, index: u32, simulated: bool| Target { uuid: &ids[at], index, simulated };
    let (first, second, ghost) = (device(0, 0, false), device(1, 1, false), device(2, 0, true));
    let control = |visible: Option<&str>, by_bus: bool| Control {
        pid: 1,
        is_root: true,
        pipe: "/p".into(),
        visible: visible.map(str::to_owned),
        by_bus,
    };
    let serves = |visible: Option<&str>, by_bus: bool, device: &Target<'_>| {
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
