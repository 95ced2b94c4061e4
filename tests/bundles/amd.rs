//! AMD's partitions as found in a `/sys` tree, leased to real containers: nodes, groups and rules
//! are real, the numbers behind them are partly other drivers' and partly nobody's.

use super::lab::{Lab, Place, has_line, numbers_of, open_is, uuids, values};
use super::support::amd_machines::{TOPOLOGY, mi300x_cpx};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// Puts the tree in the place of /sys, and the machine's nodes into the scenario's /dev: KFD is
/// FUSE's number and the first partition the loop driver's, which anybody may open. The others have
/// DRM's own numbers, which nobody has here.
pub const ENTER: &str = r#"
    mkdir -p "$FIX/fs/cgroup"
    mount --rbind /sys/fs/cgroup "$FIX/fs/cgroup"
    mount --rbind "$FIX" /sys
    mkdir /dev/dri
    mknod -m 0660 "/dev/kfd" c 10 229
    mknod -m 0660 "/dev/dri/renderD128" c 10 237
    for _n in 1 2 3 4 5 6 7; do
        mknod -m 0660 "/dev/dri/renderD$((128 + _n))" c 226 $((128 + _n))
    done
    for _n in 1 2 3 4 5 6 7 8; do
        mknod -m 0660 "/dev/dri/card$_n" c 226 $_n
        chgrp 4244 "/dev/dri/card$_n"
    done
    chgrp 4242 "/dev/dri/renderD"*
    chgrp 4243 "/dev/kfd"
"#;
/// Or files below a mount would be read where they are gone.
pub const LEAVE: &str = r#"
    umount -R -l /sys
"#;

/// The nodes that a container has in /dev/dri.
fn dri(text: &str) -> Vec<&str> {
    let nodes = text.lines().filter(|line| line.starts_with('c'));
    let names = nodes.filter_map(|line| line.split(' ').next_back());
    names.filter(|name| name.starts_with("renderD") || name.starts_with("card")).collect()
}

fn change(config_json: &Path, edit: impl FnOnce(&mut Value)) {
    let mut spec = serde_json::from_slice(&fs::read(config_json).unwrap()).unwrap();
    edit(&mut spec);
    fs::write(config_json, serde_json::to_vec(&spec).unwrap()).unwrap();
}

fn given(path: &str, minor: u32) -> Value {
    json!({ "path": path, "type": "c", "major": 226, "minor": minor })
}

pub fn a_partition_is_leased_with_its_node_and_kfd_alone(place: Place) {
    let sys = mi300x_cpx(1);
    let lab = Lab::new(place, "");
    lab.host.configure(&place.program(), "sources = [\"amd\"]");
    let first = [("gpulease/devices", "GPU-e3aa140f9a5f9e31-0")];
    // Beside the grant: the card of another partition and its render node, under other names.
    let script = "id -G; ls -ln /dev /dev/dri; env; try /dev/kfd; try /dev/dri/renderD128";
    lab.bundle("user", &first, script);
    change(&lab.config_json("user"), |spec| {
        spec["process"]["user"] = json!({ "uid": 65534, "gid": 65534 });
        spec["linux"]["devices"] = json!([given("/dev/dri/card3", 3), given("/dev/x", 130)]);
        let env = spec["process"]["env"].as_array_mut().unwrap();
        env.extend([json!("ROCR_VISIBLE_DEVICES=3"), json!("HIP_VISIBLE_DEVICES=3")]);
    });
    let others = "ls -ln /dev /dev/dri; try /dev/kfd; other 226 129; other 226 1; other 226 130";
    lab.bundle("root", &first, others);
    let two = [("gpulease/devices", "renderD131,card2")];
    lab.bundle(
        "two",
        &two,
        "ls -ln /dev /dev/dri; env; other 10 237; other 226 129; other 226 131",
    );
    lab.bundle("whole", &[("gpulease/count", "8")], "ls -ln /dev/dri; env; sleep 60");
    lab.bundle("late", &[("gpulease/count", "1")], "true");
    lab.bundle("gone", &[("gpulease/devices", "GPU-e3aa140f9a5f9e31-7")], "true");
    let script = format!(
        r#"FIX={}
        {ENTER}
        make user run user
        make root run root
        make two create two
        leases two
        step start gl start "$P-two"
        until_ gone "$(pid two)"
        step delete gl delete --force "$P-two"
        make whole run whole --detach
        make late run late
        leases whole
        step delete2 gl delete --force "$P-whole"
        rm -r --one-file-system "/sys/{TOPOLOGY}/nodes/9"
        echo 81 >/sys/{TOPOLOGY}/generation_id
        make gone run gone
        {LEAVE}"#,
        sys.root.display()
    );
    let Some(steps) = lab.run(&script) else { return };

    let text = steps.ok("user");
    let groups = text.lines().next().unwrap();
    assert_eq!(groups, "65534 4242 4243", "the render group and KFD's, by the host's numbers");
    open_is(&text, "/dev/kfd", "ok");
    open_is(&text, "/dev/dri/renderD128", "ok");
    assert_eq!(dri(&text), ["renderD128"], "{text}");
    assert_eq!(numbers_of(&text, "renderD128"), Some((10, 237)));
    assert_eq!(numbers_of(&text, "x"), None, "another's render node under another name: {text}");
    assert_eq!(values(&text, "HIP_VISIBLE_DEVICES"), ["0"]);
    assert_eq!(values(&text, "AMD_VISIBLE_DEVICES"), ["0"]);
    assert_eq!(values(&text, "ROCR_VISIBLE_DEVICES"), [""; 0]);
    assert_eq!(values(&text, "NVIDIA_VISIBLE_DEVICES"), ["void"]);
    assert_eq!(values(&text, "GPULEASE_SIMULATED"), [""; 0]);

    let text = steps.ok("root");
    assert_eq!((numbers_of(&text, "kfd"), dri(&text)), (Some((10, 229)), vec!["renderD128"]));
    // Its neighbour, its own card, its neighbour's neighbour: no rule lets them through.
    let tried: Vec<&str> = text.lines().filter(|l| l.starts_with("open /dev/other")).collect();
    assert_eq!(tried.len(), 3, "{text}");
    assert!(tried.iter().all(|said| said.ends_with("Operation not permitted")), "{tried:?}");

    let lease = steps.lease("two");
    let mut named = uuids(&lease);
    named.sort_unstable();
    assert_eq!(named, ["GPU-e3aa140f9a5f9e31-1", "GPU-e3aa140f9a5f9e31-3"]);
    let text = steps.out("two");
    assert_eq!(dri(&text), ["renderD129", "renderD131"], "{text}");
    assert_eq!(values(&text, "HIP_VISIBLE_DEVICES"), ["0,1"]);
    let tried: Vec<&str> = text.lines().filter(|l| l.starts_with("open /dev/other")).collect();
    let ends =
        ["Operation not permitted", "No such device or address", "No such device or address"];
    assert_eq!(tried.len(), 3, "{text}");
    for (said, end) in tried.iter().zip(ends) {
        assert!(said.ends_with(end), "{tried:?}");
    }

    let lease = steps.lease("whole");
    assert_eq!(uuids(&lease).len(), 8);
    has_line(&steps.ok("whole"), "HIP_VISIBLE_DEVICES=0,1,2,3,4,5,6,7");
    steps.refused("late", "no-capacity");
    // KFD's generation is another one: the inventory is made anew before anything is granted.
    steps.refused("gone", "no-match");
}
