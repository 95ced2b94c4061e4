use super::*;
use crate::injection::visibility::fixtures::device;
use crate::model::cu_set::CuSet;
use crate::model::id::{ContainerId, DeviceId, Nonce};
use crate::model::isolation::{Enforcement, IsolationRecord};
use crate::model::lease::{LeaseState, Owner, RECORD_VERSION, Sharing};
use crate::model::quantity::Bytes;

fn leased(device: &Device, milli: u32, memory: Option<u64>, units: Option<&str>) -> LeasedDevice {
    LeasedDevice {
        uuid: device.uuid.clone(),
        index: device.index,
        vendor: device.vendor,
        model: device.model.clone(),
        pci: device.pci,
        nodes: Vec::new(),
        milli: MilliGpu(milli),
        memory_bytes: memory.map(Bytes),
        sharing: Sharing::Shared,
        simulated: false,
        mig: None,
        cu_mask: units.map(|units| CuSet::parse(units).unwrap()),
        dmem_region: None,
    }
}

fn lease(effective: Isolation, devices: Vec<LeasedDevice>) -> Lease {
    let nonce = Nonce::new(&"ab".repeat(16)).unwrap();
    Lease {
        v: RECORD_VERSION,
        id: nonce.lease_id(),
        nonce,
        state: LeaseState::Pending,
        container_id: ContainerId::new("web").unwrap(),
        runtime_root: "/run/runc".to_owned(),
        engine: "runc".to_owned(),
        runtime: "runc".to_owned(),
        bundle: "/b".to_owned(),
        pid_file: None,
        created_at: String::new(),
        owner: Owner { pid: 1, start_time: 1, boot_id: String::new(), pid_namespace: 1 },
        precreate: None,
        cgroup: None,
        devices,
        isolation: IsolationRecord {
            requested: Isolation::Auto,
            requested_as: None,
            effective,
            compute_enforcement: Enforcement::Driver,
            memory_enforcement: Enforcement::Advisory,
            missing: Vec::new(),
        },
        mps: None,
        env: BTreeMap::new(),
        priority: 5,
        workload: None,
        release_grace_ms: 0,
        grace_until_ms: None,
    }
}

fn seat(pipe: Option<&str>, shm: Option<&str>) -> MpsSeat {
    MpsSeat {
        daemon: "GPU-1".to_owned(),
        uid: 0,
        pinned: false,
        pipe: pipe.map(str::to_owned),
        shm: shm.map(str::to_owned),
        adopted: false,
        process: None,
    }
}

fn get<'a>(env: &'a BTreeMap<String, Option<String>>, name: &str) -> Option<Option<&'a str>> {
    env.get(name).map(Option::as_deref)
}

#[test]
fn an_mps_client_gets_its_daemon_and_limits_by_uuid() {
    let gpu = device(Vendor::Nvidia, 1, None);
    let one = leased(&gpu, 255, Some((3 << 30) + 5), None);
    let there = [("CUDA_MPS_NEW".to_owned(), "1".to_owned()), ("A".to_owned(), "1".to_owned())];
    let env = limits(&lease(Isolation::Mps, vec![one.clone()]), &[&gpu], &there);
    assert_eq!(get(&env, MPS_PIPE), Some(Some("/run/gpulease-mps/pipe")));
    assert_eq!(get(&env, MPS_THREADS), Some(Some("25")));
    assert_eq!(get(&env, MPS_MEMORY), Some(Some("GPU-1=3072M")));
    assert_eq!(get(&env, "GPULEASE_ENFORCEMENT"), Some(Some("compute=driver,memory=advisory")));
    for removed in MPS_OTHERS.iter().chain(&["CUDA_MPS_NEW"]) {
        assert_eq!(get(&env, removed), Some(None), "{removed}");
    }
    assert_eq!((get(&env, "A"), get(&env, CU_MASK)), (None, None));
    // A device whose memory size is unknown.
    let unknown = lease(Isolation::Mps, vec![LeasedDevice { memory_bytes: None, ..one }]);
    assert_eq!(get(&limits(&unknown, &[&gpu], &[]), MPS_MEMORY), Some(None));
}

#[test]
fn an_images_variables_reach_no_other_daemon() {
    let gpu = device(Vendor::Nvidia, 1, None);
    for isolation in [Isolation::None, Isolation::TimeSlicing, Isolation::Mig] {
        let env = limits(&lease(isolation, vec![leased(&gpu, 1000, None, None)]), &[&gpu], &[]);
        for name in [MPS_PIPE, MPS_THREADS, MPS_MEMORY].iter().chain(MPS_OTHERS) {
            assert_eq!(get(&env, name), Some(None), "{name}");
        }
    }
    let amd = device(Vendor::Amd, 1, Some(1));
    let env = limits(&lease(Isolation::None, vec![leased(&amd, 1000, None, None)]), &[&amd], &[]);
    let names: Vec<&str> = env.keys().map(String::as_str).collect();
    let removed = ["HSA_CU_MASK", "HSA_CU_MASK_SKIP_INIT", "ROC_GLOBAL_CU_MASK"];
    assert_eq!(names, [&["GPULEASE_ENFORCEMENT"], &removed[..]].concat());
    assert!(removed.iter().all(|name| get(&env, name) == Some(None)));
}

#[test]
fn masks_are_numbered_as_the_container_counts() {
    // The order is KFD's, the reverse of PCI order here.
    let (a, b) = (device(Vendor::Amd, 1, Some(9)), device(Vendor::Amd, 2, Some(4)));
    let c = device(Vendor::Amd, 3, Some(6));
    let part = |device: &Device, units| leased(device, 500, None, units);
    let all = vec![part(&a, Some("0-31")), part(&b, Some("32-63")), part(&c, None)];
    let env = limits(&lease(Isolation::CuMask, all), &[&a, &b, &c], &[]);
    assert_eq!(get(&env, CU_MASK), Some(Some("0:32-63;2:0-31")));
    assert_eq!(get(&env, ROCR_VISIBLE), Some(None), "it would number them anew");
    let two = vec![part(&b, Some("0-7,16-23"))];
    let env = limits(&lease(Isolation::CuMask, two), &[&b], &[]);
    assert_eq!(get(&env, CU_MASK), Some(Some("0:0-7,16-23")));
    // ROCr treats an empty list as a mistake, and then does not limit the device.
    let mut empty = part(&b, None);
    empty.cu_mask = Some(CuSet::default());
    let env = limits(&lease(Isolation::CuMask, vec![empty]), &[&b], &[]);
    assert_eq!(get(&env, CU_MASK), Some(None));
}

#[test]
fn amounts_are_rounded_down_and_are_never_nothing() {
    let gpu = device(Vendor::Nvidia, 1, None);
    let memory = |bytes| mps_memory(&leased(&gpu, 100, Some(bytes), None)).unwrap();
    assert_eq!([memory(1), memory((5 << 20) - 1), memory(6 << 20)], ["1M", "4M", "6M"]);
    let parts = [1, 100, 109, 333, 1000].map(|milli| percentage(MilliGpu(milli)));
    assert_eq!(parts, [1, 10, 10, 33, 100]);
}

#[test]
fn the_pipe_directory_is_read_only_and_masked() {
    let nothing = |_: &Path| false;
    let mounts =
        mps_mounts(&seat(Some("/run/gpulease/mps/GPU-1/pipe"), Some("/run/m/shm")), nothing);
    let shown: Vec<_> = mounts
        .iter()
        .map(|mount| (mount.source.as_str(), mount.destination.as_str(), mount.options.join(",")))
        .collect();
    // No `nodev`, because it is a device. Always `ro`, because it is the host's.
    let masked = |path| ("/dev/null", path, "bind,ro,nosuid,noexec".to_owned());
    assert_eq!(
        shown,
        [
            (
                "/run/gpulease/mps/GPU-1/pipe",
                "/run/gpulease-mps/pipe",
                "bind,ro,nosuid,nodev,noexec".to_owned()
            ),
            masked("/run/gpulease-mps/pipe/control_privileged"),
            masked("/run/gpulease-mps/pipe/log"),
            masked("/run/gpulease-mps/pipe/nvidia-cuda-mps-control.pid"),
            ("/run/m/shm", "/dev/shm", "bind,nosuid,nodev,noexec".to_owned()),
        ]
    );
    assert!(mounts.iter().all(|mount| mount.kind == "bind"));
    assert!(mps_mounts(&seat(None, None), nothing).is_empty());
    // A daemon that gpulease did not start uses the host's /dev/shm, and a mask needs a file to
    // cover.
    let adopted = MpsSeat { adopted: true, ..seat(Some("/tmp/nvidia-mps"), None) };
    let log = |path: &Path| path == Path::new("/tmp/nvidia-mps/log");
    let mounts = mps_mounts(&adopted, log);
    let places: Vec<_> = mounts.iter().map(|mount| mount.destination.as_str()).collect();
    assert_eq!(places, ["/run/gpulease-mps/pipe", "/run/gpulease-mps/pipe/log"]);
}

#[test]
fn uuids_go_into_a_list_without_a_comma() {
    assert!(DeviceId::new("GPU-1,GPU-2=1M").is_err(), "the limit's list is split at commas");
}
