//! Shares that are made true: MPS clients of NVIDIA's real control daemon on a GPU that does not
//! exist, and masks of compute units on AMD's GPUs of a faked /sys.

use super::amd::{ENTER, LEAVE};
use super::lab::{Lab, Place, Steps, has_line, values};
use super::support::amd_machines::mi300x_spx;
use super::support::images::fetched;
use gpulease::door::model::isolation::{Enforcement, Isolation};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// A short UUID: the daemon's sockets lie in a directory of that name, and their paths have a limit.
const GPU: &str = r#"
simulated = true
[[device]]
uuid = "GPU-m5"
vendor = "nvidia"
model = "NVIDIA H100 80GB HBM3"
memory_mib = 10000
pci = "0000:01:00.0"
nodes = [{ path = "/dev/nvidia0", major = 1219, minor = 0 }]
"#;

/// What scripts with daemons begin with: who of them is there, and that none is left, whatever comes.
const DAEMONS: &str = r#"
    daemons() {
        for _e in /proc/[0-9]*/environ; do
            tr '\0' '\n' <"$_e" 2>/dev/null | grep -q "^CUDA_MPS_PIPE_DIRECTORY=$RUN_DIR/" || continue
            _e=${_e#/proc/}
            echo "${_e%/environ}"
        done
    }
    none() { [ -z "$(daemons)" ] && ! grep -q "$RUN_DIR/mps" /proc/self/mountinfo; }
    end() {
        for _d in $(daemons); do kill -9 "$_d"; done
        cleanup
    }
    trap end EXIT
    unseat() { [ ! -e "$RUN_DIR/mps/GPU-m5" ] && none; }
"#;

/// A share of compute and memory by MPS, as kaiwo spells it.
const fn kaiwo<'a>(part: &'a str, mib: &'a str) -> [(&'a str, &'a str); 3] {
    [
        ("kaiwo.ai/gpu-isolation", "mps"),
        ("kaiwo.ai/gpu-fraction", part),
        ("kaiwo.ai/gpu-memory", mib),
    ]
}

fn lab(place: Place, control: &Path) -> Lab {
    lab_of(place, control, GPU)
}

fn lab_of(place: Place, control: &Path, devices: &str) -> Lab {
    let lab = Lab::new(place, devices);
    let keys = "start_timeout = \"5s\"\nstop_grace = \"0s\"";
    lab.host.configure(&place.program(), &format!("[mps]\ncontrol = {control:?}\n{keys}"));
    lab
}

fn real(place: Place) -> Lab {
    lab(place, &fetched("nvidia.sh").join("usr/bin/nvidia-cuda-mps-control"))
}

#[track_caller]
fn has_limits(text: &str, percent: &str, memory: &str) {
    for (name, value) in [
        ("CUDA_MPS_PIPE_DIRECTORY", "/run/gpulease-mps/pipe"),
        ("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", percent),
        ("CUDA_MPS_PINNED_DEVICE_MEM_LIMIT", memory),
        ("CUDA_VISIBLE_DEVICES", "GPU-m5"),
        ("GPULEASE_ENFORCEMENT", "compute=advisory,memory=advisory"),
    ] {
        assert_eq!(values(text, name), [value], "{name}: {text}");
    }
    let others: Vec<&str> = text.lines().filter(|line| line.starts_with("CUDA_MPS_")).collect();
    assert_eq!(others.len(), 3, "{others:?}");
}

pub fn clients_of_one_gpu_have_one_daemon_and_each_its_limits(place: Place) {
    let lab = real(place);
    let look = "env; cd /run/gpulease-mps; echo has $(ls); ls -l pipe/control_privileged; \
                [ -S pipe/control ] && echo socket; cat /dev/shm/*; echo $0 >/dev/shm/of-$0; \
                touch /dev/shm/x && echo END; sleep 60";
    for (name, part, mib) in [("one", "0.4", "4100"), ("two", "0.5", "3000")] {
        lab.bundle_with(name, &kaiwo(part, mib), |spec| {
            spec["process"]["args"] = serde_json::json!(["sh", "-c", look, name]);
            let env = spec["process"]["env"].as_array_mut().unwrap();
            for brought in [
                "CUDA_MPS_PIPE_DIRECTORY=/tmp/nvidia-mps",
                "CUDA_MPS_LOG_DIRECTORY=/x",
                "CUDA_MPS_ENABLE_PER_CTX_DEVICE_MULTIPROCESSOR_PARTITIONING=1",
                "CUDA_MPS_SM_PARTITION=y",
                "CUDA_MPS_OF_TOMORROW=z",
            ] {
                env.push(brought.into());
            }
        });
    }
    lab.bundle("three", &kaiwo("0.2", "1000"), "echo END");
    lab.bundle(
        "sliced",
        &[("gpulease/compute", "0.1"), ("gpulease/isolation", "time-slicing")],
        "",
    );
    lab.bundle("whole", &[("gpulease/count", "1")], "echo END");
    let script = format!(
        r#"{DAEMONS}
        make one run one --detach
        until_ says one END
        make two run two --detach
        until_ says two END
        make three run three
        make sliced run sliced
        make whole run whole
        leases live
        step daemons daemons
        step status "$CLI" --gpulease-config "$CONFIG" mps status --json
        cat >"$OUT/process.json" <<'JSON'
{{"terminal":false,"user":{{"uid":0,"gid":0}},"cwd":"/","args":["env"],
 "env":["PATH=/bin","CUDA_MPS_ACTIVE_THREAD_PERCENTAGE=100","CUDA_MPS_LOG_DIRECTORY=/x","KEPT=1"]}}
JSON
        step exec gl exec --process "$OUT/process.json" "$P-one"
        step delete gl delete --force "$P-one"
        step left daemons
        step delete2 gl delete --force "$P-two"
        until_ unseat
        make whole2 run whole
        leases end"#
    );
    let Some(steps) = lab.run(&script) else { return };
    steps.ok("delete");
    steps.ok("delete2");
    let (one, two) = (steps.out("one"), steps.out("two"));
    has_limits(&one, "40", "GPU-m5=4100M");
    has_limits(&two, "50", "GPU-m5=3000M");
    for text in [&one, &two] {
        has_line(text, "has pipe");
        has_line(text, "socket");
        let masked = text.lines().find(|line| line.ends_with("pipe/control_privileged")).unwrap();
        assert!(masked.starts_with('c') && masked.contains("1,   3"), "{masked}");
    }
    has_line(&two, "one");
    let three = steps.refused("three", "no-capacity");
    assert!(three.contains("200m"), "{three}");
    let sliced = steps.refused("sliced", "no-capacity");
    assert!(sliced.contains("mps"), "{sliced}");
    steps.refused("whole", "no-capacity");
    one_daemon_for_both(&steps);
    let exec = steps.ok("exec");
    has_limits(&exec, "40", "GPU-m5=4100M");
    has_line(&exec, "KEPT=1");
    assert_eq!(steps.out("left"), steps.out("daemons"), "the other one has it still");
    steps.ok("whole2");
    assert!(steps.leases("end").is_empty());
}

#[track_caller]
fn one_daemon_for_both(steps: &Steps) {
    let leases = steps.leases("live");
    let pipes: Vec<_> = leases.iter().map(|lease| lease.mps.clone().unwrap().pipe).collect();
    assert_eq!(pipes.len(), 2, "{leases:?}");
    assert!(pipes[0].is_some() && pipes[0] == pipes[1], "{pipes:?}");
    for lease in &leases {
        assert_eq!(lease.isolation.effective, Isolation::Mps);
        assert_eq!(lease.isolation.compute_enforcement, Enforcement::Advisory);
        assert_eq!(lease.mps.as_ref().unwrap().uid, 0);
    }
    assert_eq!(steps.out("daemons").lines().count(), 1, "{}", steps.out("daemons"));
    steps.ok("status");
}

/// As root inside: what may be done to the pipe directory, and a program of CUDA's.
const HOSTILE: &str = r#"
    cd /run/gpulease-mps/pipe
    try() { if "$@" 2>/dev/null; then echo "allowed: $*"; else tried=$((tried + 1)); fi; }
    add() { echo x >>"$1"; }
    try touch x
    try mkdir d
    try mkfifo f
    try ln -s control s
    for file in *; do
        try rm -f $file
        try mv -f $file moved
        try chmod 600 $file
        try chown 1:1 $file
    done
    try add control_lock
    try umount /run/gpulease-mps/pipe
    # What is masked opens, and leads nowhere.
    for file in control_privileged log nvidia-cuda-mps-control.pid; do
        test -c $file && yes | head -c 1000000 >$file && echo "nowhere: $file"
    done
    echo tried $tried
    LD_LIBRARY_PATH=/cuda /cuda-check
    echo END
    sleep 60
"#;

/// With libcuda, which has no GPU here: it says so when it has heard that from the daemon.
pub fn from_a_container_a_daemon_is_reached_and_not_harmed(place: Place) {
    let lab = real(place);
    let program = Path::new(super::support::CLI).with_file_name("examples/cuda-check");
    assert!(program.exists(), "build it: cargo build --features failpoints --example cuda-check");
    let triple = super::support::images::machine().multiarch;
    let libraries = fetched("nvidia.sh").join("usr/lib").join(triple).join("nvidia/current");
    let mounts = [
        (program.as_path(), "/cuda-check"),
        (&libraries, "/cuda"),
        (Path::new("/lib64"), "/lib64"),
        (&Path::new("/usr/lib").join(triple), &format!("/lib/{triple}")),
    ];
    lab.bundle_with("web", &kaiwo("0.4", "4096"), |spec| {
        spec["process"]["args"] = serde_json::json!(["sh", "-c", HOSTILE]);
        for (source, destination) in mounts {
            let bind = serde_json::json!({
                "type": "bind", "source": source, "destination": destination,
                "options": ["bind", "ro"]
            });
            spec["mounts"].as_array_mut().unwrap().push(bind);
        }
        // Its mount points are made in it.
        let rootfs = lab.host.path("rootfs");
        let template = lab.host.path("template/rootfs");
        let copied = std::process::Command::new("cp").arg("-a").args([&template, &rootfs]).status();
        assert!(copied.unwrap().success());
        spec["root"] = serde_json::json!({ "path": rootfs });
    });
    lab.bundle("next", &kaiwo("0.4", "4096"), "echo END");
    let script = format!(
        r#"{DAEMONS}
        null() {{ stat -c '%A %u %t:%T' /dev/null; }}
        step before null
        make web run web --detach
        until_ says web END
        step null null
        step daemons daemons
        step log cat "$RUN_DIR/mps/GPU-m5/log/control.log"
        make next run next
        step after daemons
        step delete gl delete --force "$P-web"
        until_ unseat"#
    );
    let Some(steps) = lab.run(&script) else { return };
    assert_eq!(steps.ok("null"), steps.ok("before"), "the host's device");
    let said = steps.out("web");
    assert!(!said.contains("allowed:"), "{said}");
    for masked in ["control_privileged", "log", "nvidia-cuda-mps-control.pid"] {
        has_line(&said, &format!("nowhere: {masked}"));
    }
    // Of the five files, each in four ways; and the others.
    has_line(&said, "tried 26");
    has_line(&said, "cuda-check: cuInit: CUDA error 805");
    let log = steps.out("log");
    assert!(log.contains("NEW CLIENT") && log.contains("Starting new server"), "{log}");
    steps.ok("next");
    assert_eq!(steps.out("daemons").lines().count(), 1, "{}", steps.all());
    assert_eq!(steps.out("after"), steps.out("daemons"), "the same daemon serves the next one");
}

/// A daemon that waits for a next lease by MPS, and one that was started by hand.
pub fn an_idle_daemon_makes_way_and_one_that_is_kept_does_not(place: Place) {
    let control = fetched("nvidia.sh").join("usr/bin/nvidia-cuda-mps-control");
    let lab = Lab::new(place, GPU);
    let keys = "start_timeout = \"5s\"\nstop_grace = \"600s\"";
    lab.host.configure(&place.program(), &format!("[mps]\ncontrol = {control:?}\n{keys}"));
    lab.bundle("mps", &kaiwo("0.4", "4096"), "echo END");
    lab.bundle("whole", &[("gpulease/count", "1")], "echo END");
    let sliced = [("gpulease/compute", "0.1"), ("gpulease/isolation", "time-slicing")];
    lab.bundle("sliced", &sliced, "echo END");
    let script = format!(
        r#"{DAEMONS}
        reapers() {{
            for _p in /proc/[0-9]*/cmdline; do
                tr '\0' ' ' <"$_p" 2>/dev/null | grep -q "mps reap --run-dir $RUN_DIR" || continue
                _p=${{_p#/proc/}}
                echo "${{_p%/cmdline}}"
            done
        }}
        hurry() {{ for _r in $(reapers); do kill -9 "$_r"; done; end; }}
        trap hurry EXIT
        for other in whole sliced; do
            make mps-$other run mps
            gl delete --force "$P-mps" 2>/dev/null
            step idle-$other daemons
            make $other run $other
            step left-$other daemons
            gl delete --force "$P-$other" 2>/dev/null
        done
        step start "$CLI" --gpulease-config "$CONFIG" mps start 0
        make refused run whole
        leases end
        step stop "$CLI" --gpulease-config "$CONFIG" mps stop 0
        make again run whole"#
    );
    let Some(steps) = lab.run(&script) else { return };
    for other in ["whole", "sliced"] {
        steps.ok(&format!("mps-{other}"));
        assert_eq!(steps.out(&format!("idle-{other}")).lines().count(), 1, "{}", steps.all());
        steps.ok(other);
        assert_eq!(steps.out(&format!("left-{other}")), "", "{}", steps.all());
    }
    steps.ok("start");
    let said = steps.refused("refused", "isolation-failed");
    assert!(
        said.contains("started by hand") && said.contains("gpulease mps stop GPU-m5"),
        "{said}"
    );
    assert!(steps.leases("end").is_empty());
    steps.ok("stop");
    steps.ok("again");
}

pub fn a_start_whose_daemon_fails_leaves_nothing(place: Place) {
    let lab = lab(place, Path::new("/bin/false"));
    lab.bundle("web", &kaiwo("0.4", "4096"), "echo END");
    let before = fs::read(lab.config_json("web")).unwrap();
    let script = format!("{DAEMONS}\nmake web run web\nleases end\nuntil_ none");
    let Some(steps) = lab.run(&script) else { return };
    let said = steps.refused("web", "isolation-failed");
    assert!(said.contains("no place at an MPS daemon"), "{said}");
    assert!(steps.records("end").is_empty());
    assert_eq!(fs::read(lab.config_json("web")).unwrap(), before);
}

pub fn a_foreign_daemon_serves_who_has_the_hosts_shm(place: Place) {
    let control = fetched("nvidia.sh").join("usr/bin/nvidia-cuda-mps-control");
    // No other test's: its daemon would serve that one, too.
    let uuid = format!("GPU-f{}{}", place.runtime, place.cgroup);
    let lab = lab_of(place, &control, &GPU.replace("GPU-m5", &uuid));
    let look = "env; ls -di /dev/shm; echo END";
    lab.bundle("own", &kaiwo("0.4", "4096"), look);
    lab.bundle_with("hosts", &kaiwo("0.4", "4096"), |spec| {
        spec["process"]["args"] = serde_json::json!(["sh", "-c", look]);
        let mounts = spec["mounts"].as_array_mut().unwrap();
        mounts.retain(|mount| mount["destination"] != "/dev/shm");
        let options = ["rbind", "rprivate"];
        mounts.push(serde_json::json!({
            "destination": "/dev/shm", "type": "bind", "source": "/dev/shm", "options": options
        }));
    });
    let script = format!(
        r#"{DAEMONS}
        mkdir -p "$RUN_DIR/foreign" "$RUN_DIR/foreign-log"
        CUDA_MPS_PIPE_DIRECTORY=$RUN_DIR/foreign CUDA_MPS_LOG_DIRECTORY=$RUN_DIR/foreign-log \
            CUDA_VISIBLE_DEVICES={uuid} {} -f >/dev/null 2>&1 </dev/null &
        has_socket() {{ [ -S "$RUN_DIR/foreign/control" ]; }}
        until_ has_socket
        make own run own
        leases refused
        step inode ls -di /dev/shm
        make hosts run hosts"#,
        control.display()
    );
    let Some(steps) = lab.run(&script) else { return };
    let said = steps.refused("own", "isolation-failed");
    assert!(said.contains("not gpulease's") && said.contains("--ipc=host"), "{said}");
    assert!(steps.records("refused").is_empty());
    let text = steps.ok("hosts");
    assert_eq!(values(&text, "CUDA_MPS_PIPE_DIRECTORY"), ["/run/gpulease-mps/pipe"], "{text}");
    let inode = steps.out("inode");
    assert!(text.lines().any(|line| line.trim() == inode.trim()), "{inode} {text}");
}

pub fn both_errors_of_a_failed_start_are_told(place: Place) {
    let lab = lab(place, Path::new("/nowhere"));
    // A program that fails, and that keeps the lease from being taken back.
    let control = lab.host.path("control");
    let lock = lab.host.run_dir().join("lock");
    let text = format!("#!/bin/sh\nrm -f {0}\nmkdir -p {0}\nexit 1\n", lock.display());
    fs::write(&control, text).unwrap();
    fs::set_permissions(&control, fs::Permissions::from_mode(0o755)).unwrap();
    let more = format!("[mps]\ncontrol = {control:?}\nstart_timeout = \"2s\"\nstop_grace = \"0s\"");
    lab.host.configure(&place.program(), &more);
    lab.bundle("web", &kaiwo("0.4", "4096"), "echo END");
    let script = format!("{DAEMONS}\nmake web run web\nrmdir \"$RUN_DIR/lock\"\nuntil_ none");
    let Some(steps) = lab.run(&script) else { return };
    let said = steps.refused("web", "isolation-failed");
    assert!(said.contains("no place at an MPS daemon"), "{said}");
    assert!(said.contains("and its lease stays until the next sweep: "), "{said}");
    assert!(said.contains("lock"), "{said}");
}

pub fn a_hook_that_fails_leaves_no_daemon(place: Place) {
    let lab = real(place);
    lab.bundle("web", &kaiwo("0.4", "4096"), "echo END");
    let script = format!(
        r#"{DAEMONS}
        export GPULEASE_FAILPOINT=bind.described=kill
        make web create web
        unset GPULEASE_FAILPOINT
        # As every engine does.
        step delete gl delete --force "$P-web"
        until_ unseat
        leases end
        make again run web
        until_ unseat"#
    );
    let Some(steps) = lab.run(&script) else { return };
    assert_ne!(steps.rc("web"), 0, "{}", steps.all());
    assert!(steps.leases("end").is_empty());
    steps.ok("again");
}

pub fn a_shim_killed_after_its_daemon_came_leaves_none_to_the_next(place: Place) {
    let lab = real(place);
    lab.bundle("web", &kaiwo("0.4", "4096"), "echo END");
    lab.bundle("whole", &[("gpulease/count", "1")], "echo END");
    let script = format!(
        r#"{DAEMONS}
        export GPULEASE_FAILPOINT=create.attached=kill
        make web run web
        unset GPULEASE_FAILPOINT
        step daemons daemons
        make whole run whole
        until_ unseat
        leases end"#
    );
    let Some(steps) = lab.run(&script) else { return };
    assert_eq!(steps.out("daemons").lines().count(), 1, "it was there");
    steps.ok("whole");
    assert!(steps.leases("end").is_empty());
}

pub fn masks_of_compute_units_do_not_overlap(place: Place) {
    let sys = mi300x_spx();
    let lab = Lab::new(place, "");
    lab.host.configure(&place.program(), "sources = [\"amd\"]");
    let words = |part: &'static str| {
        let first = ("gpulease/devices", "renderD128");
        [first, ("gpulease/compute", part), ("gpulease/isolation", "cu-mask")]
    };
    for (name, part) in [("half", "0.5"), ("rest", "0.4"), ("more", "0.2")] {
        lab.bundle_with(name, &words(part), |spec| {
            spec["process"]["args"] = serde_json::json!(["sh", "-c", "env; echo END; sleep 60"]);
            let env = spec["process"]["env"].as_array_mut().unwrap();
            for brought in
                ["HSA_CU_MASK=0:0-303", "HSA_CU_MASK_SKIP_INIT=1", "ROCR_VISIBLE_DEVICES=1"]
            {
                env.push(brought.into());
            }
        });
    }
    let script = format!(
        r#"FIX={}
        {ENTER}
        make half run half --detach
        until_ says half END
        make rest run rest --detach
        until_ says rest END
        make more run more
        leases live
        cat >"$OUT/process.json" <<'JSON'
{{"terminal":false,"user":{{"uid":0,"gid":0}},"cwd":"/","args":["env"],
 "env":["PATH=/bin","HSA_CU_MASK=0:0-303","HSA_CU_MASK_SKIP_INIT=1","ROCR_VISIBLE_DEVICES=1"]}}
JSON
        step exec gl exec --process "$OUT/process.json" "$P-rest"
        step delete gl delete --force "$P-half"
        step delete2 gl delete --force "$P-rest"
        {LEAVE}"#,
        sys.root.display()
    );
    let Some(steps) = lab.run(&script) else { return };
    let mask = |text: &str| {
        assert_eq!(values(text, "HSA_CU_MASK_SKIP_INIT"), [""; 0], "{text}");
        assert_eq!(values(text, "ROCR_VISIBLE_DEVICES"), [""; 0], "{text}");
        let masks = values(text, "HSA_CU_MASK");
        assert_eq!(masks.len(), 1, "{text}");
        masks[0].to_owned()
    };
    let (half, rest) = (mask(&steps.out("half")), mask(&steps.out("rest")));
    let of = |name: &str| {
        let id = lab.id(name);
        let lease = steps.leases("live").into_iter().find(|l| l.container_id.as_str() == id);
        lease.unwrap().devices[0].cu_mask.clone().unwrap()
    };
    assert_eq!((half, rest.clone()), (format!("0:{}", of("half")), format!("0:{}", of("rest"))));
    let (half, others) = (of("half"), of("rest"));
    assert!(
        others.ranges().iter().all(|(first, last)| !half.touches(*first, *last)),
        "{half} {others}"
    );
    steps.refused("more", "no-capacity");
    assert_eq!(mask(&steps.ok("exec")), rest);
    steps.ok("delete");
    steps.ok("delete2");
}
