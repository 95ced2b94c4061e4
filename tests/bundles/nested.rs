//! An engine in a pid namespace of its own, as in a container, beside the host's: what each may say
//! of the other's leases.

use super::lab::{FUSE, Lab, Place, REAL, uuids};
use serde_json::Value;
use std::os::unix::net::UnixDatagram;

const FIRST: &[(&str, &str)] = &[("gpulease/devices", "0")];
const SECOND: &[(&str, &str)] = &[("gpulease/devices", "1")];

/// `nested CMD…` runs in a pid namespace that ends with the shell. `host CMD…` runs with the host's
/// cgroups, which the lab of v2 has hidden from this script: its own parent has not.
const PLACES: &str = r#"
cat >"$OUT/.nested" <<'END'
gl() { "$SHIM" --gpulease-config "$CONFIG" --root "$ROOT.nested" "$@"; }
cli() { "$CLI" --gpulease-config "$CONFIG" "$@"; }
mkdir -p "$ROOT.nested"
END
nested() {
    unshare --pid --fork --kill-child --mount-proc sh -c '. "$OUT/.nested"; eval "$1"' sh "$*"
}
host() { "$@"; }
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    host() { nsenter --cgroup="/proc/$PPID/ns/cgroup" --mount="/proc/$PPID/ns/mnt" "$@"; }
    # A runtime would hand on controllers from the root of the host's cgroups, and leave it so.
    sed 's|^runtime = .*|runtime = "/bin/true"|' "$CONFIG" >"$CONFIG.host"
else
    cp "$CONFIG" "$CONFIG.host"
fi
cli() { host "$CLI" --gpulease-config "$CONFIG" "$@"; }
next() {
    step "$1" host "$SHIM" --gpulease-config "$CONFIG.host" --root "$ROOT" run --detach \
        --bundle "$B/next" "$P-next"
}
"#;

/// Whether this is a host, or a container in which the tests run and which may judge no other.
fn is_host() -> bool {
    let is = |kind: &str, inode: &str| {
        let link = std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
        link.to_str() == Some(&format!("{kind}:[{inode}]"))
    };
    is("pid", "4026531836") && is("cgroup", "4026531835")
}

pub fn the_host_frees_what_a_dead_engine_held(place: Place) {
    if !is_host() {
        eprintln!("SKIPPED: this is not the host");
        return;
    }
    let lab = Lab::new(place, REAL);
    lab.bundle("web", FIRST, "echo END; sleep 60");
    lab.bundle("next", FIRST, "sleep 60");
    let script = r#"
        nested 'gl run --detach --bundle "$B/web" "$P-web" >"$OUT/web.out" 2>&1; echo $$ up \
            >"$OUT/nested.out"; exec sleep 1000' &
        engine=$!
        until_ says nested "1 up"
        until_ says web END
        child() { tr -d " " <"/proc/$1/task/$1/children"; }
        first=$(child "$(child "$engine")")
        next refused
        step leases cli leases --json
        step table cli leases
        step doctor cli doctor --json
        step release cli release --json "$P-web"
        leases before
        kill9 "$first"
        step dead cli leases --json
        next next
        leases after
        "#;
    let Some(steps) = lab.run(&format!("{PLACES}{script}")) else { return };
    let text = steps.refused("refused", "no-capacity");
    assert!(text.contains(&format!("container {}", lab.id("web"))), "{text}");
    assert!(text.contains("cannot be judged from here: it was recorded in another"), "{text}");
    let lease = |step: &str| -> Value {
        let all: Value = serde_json::from_str(&steps.ok(step)).unwrap();
        all["leases"][0].clone()
    };
    let alive = lease("leases");
    assert_eq!((&alive["holder"], &alive["state"]), (&"unknown".into(), &"bound".into()));
    assert!(alive["unjudged"].as_str().unwrap().contains("which has processes"), "{alive}");
    let table = steps.ok("table");
    assert!(table.contains(" unjudged ") && table.contains("\nunjudged: lease "), "{table}");
    assert!(steps.out("doctor").contains("\"leases-unjudged\""), "{}", steps.out("doctor"));
    let release: Value = serde_json::from_str(&steps.out("release")).unwrap();
    assert_eq!(steps.rc("release"), 7);
    assert_eq!(release["error"]["code"], "holder-unknown");
    let message = release["error"]["message"].as_str().unwrap();
    assert!(!message.contains("alive"), "{message}");
    assert_eq!(steps.lease("before").container_id.as_str(), lab.id("web"));
    assert_eq!(lease("dead")["holder"], "dead");
    steps.ok("next");
    let held = steps.lease("after");
    assert_eq!((held.container_id.as_str(), uuids(&held)), (lab.id("next").as_str(), vec![FUSE]));
}

pub fn a_nested_engine_keeps_what_the_host_holds(place: Place) {
    let lab = Lab::new(place, REAL);
    lab.bundle("web", FIRST, "echo END; sleep 60");
    lab.bundle("late", FIRST, "echo END");
    lab.bundle("next", SECOND, "echo END; sleep 60");
    let log = UnixDatagram::bind(lab.host.path("out/.log")).unwrap();
    log.set_nonblocking(true).unwrap();
    let script = r#"
        make web create web
        step start gl start "$P-web"
        until_ says web END
        # Its own it judges: that one lives, and then that it is dead.
        nested 'gl run --detach --bundle "$B/next" "$P-next" >"$OUT/next.out" 2>&1
            cli leases --json >"$OUT/own.out"
            cli doctor --json >"$OUT/doctor.out"
            cli release --json "$P-web" >"$OUT/release.out"; echo $? >"$OUT/release.rc"
            gl run --bundle "$B/late" "$P-late" >"$OUT/late.out" 2>"$OUT/late.err"
            echo $? >"$OUT/late.rc"
            "$RUNTIME" --root "$ROOT.nested" kill "$P-next" KILL
            while cli leases --json | jq -e "any(.leases[]; .container_id == \"$P-next\" and
                .holder == \"alive\")" >/dev/null; do sleep 0.02; done'
        leases kept
        # Dead or alive: that is for the host to say.
        kill9 "$(pid web)"
        nested 'cli leases --json >"$OUT/dead.out"
            mount -t tmpfs lab /dev; touch /dev/log; mount --bind "$OUT/.log" /dev/log
            cli release --json --assume-dead "$P-web" >"$OUT/assumed.out"; echo $? >"$OUT/assumed.rc"'
        leases gone
        "#;
    let Some(steps) = lab.run(&format!("{PLACES}{script}")) else { return };
    steps.ok("start");
    let of = |step: &str, name: &str| -> Value {
        let all: Value = serde_json::from_str(&steps.out(step)).unwrap();
        let leases = all["leases"].as_array().unwrap().clone();
        leases.into_iter().find(|lease| lease["container_id"] == *lab.id(name)).unwrap()
    };
    for step in ["own", "dead"] {
        let web = of(step, "web");
        assert_eq!(web["holder"], "unknown", "{step}: {web}");
        assert!(web["unjudged"].as_str().unwrap().contains("not the host's"), "{web}");
    }
    let next = of("own", "next");
    assert_eq!((&next["holder"], &next["unjudged"]), (&"alive".into(), &Value::Null));
    assert!(steps.out("doctor").contains("\"leases-unjudged\""));
    let release: Value = serde_json::from_str(&steps.out("release")).unwrap();
    assert_eq!((steps.rc("release"), &release["error"]["code"]), (7, &"holder-unknown".into()));
    let late = steps.refused("late", "no-capacity");
    assert!(late.contains("cannot be judged from here"), "{late}");
    let kept = steps.leases("kept");
    let web = kept.iter().find(|lease| lease.container_id.as_str() == lab.id("web")).unwrap();
    assert_eq!(uuids(web), [FUSE]);
    let assumed: Value = serde_json::from_str(&steps.ok("assumed")).unwrap();
    let released = &assumed["released"];
    assert_eq!((&released["assumed_dead"], &released["holder"]), (&true.into(), &"unknown".into()));
    assert!(steps.records("gone").iter().all(|lease| lease.id != web.id));
    let mut buffer = [0; 4096];
    let length = log.recv(&mut buffer).unwrap();
    let line = String::from_utf8_lossy(&buffer[..length]).into_owned();
    assert!(line.starts_with("<28>gpulease["), "{line}");
    assert!(line.contains(web.id.as_str()) && line.contains("--assume-dead"), "{line}");
}
