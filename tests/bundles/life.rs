//! Whose life a lease hangs on, and every way of ending it.

use super::lab::{FUSE, Lab, Place, REAL, uuids};
use gpulease::door::model::lease::LeaseState;
use serde_json::json;

const HOLDS: &[(&str, &str)] = &[("gpulease/devices", "0")];

pub fn a_lease_hangs_on_the_containers_init(place: Place) {
    let lab = Lab::new(place, REAL);
    lab.bundle("web", HOLDS, "echo END; sleep 60");
    let script = r#"
        make web create web
        leases created
        step init cat "$B/web/init.pid"
        # Field 22; the name in field 2 may have blanks.
        step born sh -c "sed 's/.*) //' /proc/$(pid web)/stat | cut -d' ' -f20"
        step cgroup sh -c 'jq -r .cgroup "$RUN_DIR"/leases/*.json'
        step member grep -x "$(pid web)" "$(cat "$OUT/cgroup.out")/cgroup.procs"
        step start gl start "$P-web"
        until_ says web END
        leases started
        step state gl state "$P-web"
        step kill gl kill "$P-web" KILL
        until_ gone "$(pid web)"
        leases killed
        step delete gl delete "$P-web"
        leases deleted
        step again gl delete --force "$P-web"
        "#;
    let Some(steps) = lab.run(script) else { return };
    for step in ["web", "start", "state", "kill", "delete", "again"] {
        steps.ok(step);
    }
    let lease = steps.lease("created");
    assert_eq!(lease.state, LeaseState::Bound);
    assert_eq!(u64::try_from(lease.owner.pid).unwrap(), steps.number("init"));
    assert_eq!(lease.owner.start_time, steps.number("born"));
    assert_eq!(lease.container_id.as_str(), lab.id("web"));
    assert_eq!(lease.engine, place.runtime);
    steps.ok("member");
    let cgroup = lease.cgroup.clone().expect("the container has its own cgroup");
    assert!(cgroup.starts_with("/sys/fs/cgroup/") && cgroup.contains(&lab.prefix), "{cgroup}");
    assert_eq!(steps.lease("started"), lease, "the pid stays");
    assert_eq!(steps.lease("killed"), lease, "nobody has told yet");
    assert!(steps.leases("deleted").is_empty());
    let grace = steps.records("deleted");
    assert_eq!((grace.len(), &grace[0].nonce), (1, &lease.nonce), "kept for a restart");
}

pub fn the_end_of_a_foreground_run_releases(place: Place) {
    let lab = Lab::new(place, REAL);
    lab.bundle("web", HOLDS, "echo END; exit 5");
    lab.bundle("next", HOLDS, "try /dev/fuse; echo END");
    let script = r#"
        make web run web
        leases ended
        make next run next
        leases last
        "#;
    let Some(steps) = lab.run(script) else { return };
    assert_eq!(steps.rc("web"), 5, "the process's own status: {}", steps.err("web"));
    // By the poststop hook: no delete, and no other create has swept yet.
    let ended = steps.records("ended");
    assert_eq!((ended.len(), ended[0].state), (1, LeaseState::Grace));
    assert!(steps.ok("next").contains("open /dev/fuse: ok"));
    assert!(steps.leases("last").is_empty());
}

pub fn a_killed_container_needs_no_delete(place: Place) {
    let lab = Lab::new(place, REAL);
    for name in ["old", "new"] {
        lab.bundle(name, HOLDS, "try /dev/fuse; echo END; sleep 60");
    }
    let script = r#"
        make old run old --detach
        until_ says old END
        make refused run new --detach
        leases before
        kill9 "$(pid old)"
        make new run new --detach
        until_ says new END
        leases after
        step late gl delete --force "$P-old"
        leases late
        step delete gl delete --force "$P-new"
        leases end
        "#;
    let Some(steps) = lab.run(script) else { return };
    let refused = steps.refused("refused", "no-capacity");
    assert!(refused.contains(&lab.id("old")), "says who holds it: {refused}");
    assert_eq!(steps.lease("before").container_id.as_str(), lab.id("old"));
    assert!(steps.ok("new").contains("open /dev/fuse: ok"));
    let lease = steps.lease("after");
    assert_eq!(lease.container_id.as_str(), lab.id("new"));
    assert_eq!(uuids(&lease), [FUSE]);
    steps.ok("late");
    assert_eq!(steps.lease("late"), lease, "a late delete of the old one is not the new one's");
    steps.ok("delete");
    assert!(steps.leases("end").is_empty());
}

pub fn a_runtime_killed_while_it_creates_leaks_nothing(place: Place) {
    let lab = Lab::new(place, REAL);
    for name in ["old", "new"] {
        lab.bundle(name, HOLDS, "try /dev/fuse; echo END; sleep 60");
    }
    let script = r#"
        hook() {
            for _h in /proc/[0-9]*; do
                tr '\0' ' ' <"$_h/cmdline" 2>/dev/null | grep -q "create-runtime --run-dir $RUN_DIR " || continue
                grep -q ') T ' "$_h/stat" 2>/dev/null || continue
                echo "${_h#/proc/}" >"$OUT/hook.pid"
                return 0
            done
            return 1
        }
        GPULEASE_FAILPOINT=bind.begin=stop "$SHIM" --gpulease-config "$CONFIG" --root "$ROOT" \
            create --bundle "$B/old" --pid-file "$B/old/init.pid" "$P-old" >"$OUT/old.out" 2>&1 &
        runtime=$!
        echo $runtime >"$OUT/runtime.out"
        until_ hook
        hook=$(cat "$OUT/hook.pid")
        leases stopped
        step program readlink "/proc/$runtime/exe"
        # While the runtime lives, the lease is held.
        make refused run new --detach
        kill -9 $runtime
        wait $runtime
        # What the runtime had begun ends with it, in its own time.
        free() {
            make new run new --detach
            [ "$(cat "$OUT/new.rc")" = 0 ]
        }
        until_ free
        until_ says new END
        leases granted
        kill -CONT "$hook"
        until_ gone "$hook"
        leases continued
        step delete-old gl delete --force "$P-old"
        leases old-deleted
        step delete gl delete --force "$P-new"
        rm -rf --one-file-system "$ROOT/$P-old"
        find /sys/fs/cgroup -depth -type d -name "$P-old" -exec rmdir {} + 2>/dev/null
        make again run old --detach
        until_ says again END
        leases again
        step delete-again gl delete --force "$P-old"
        leases end
        "#;
    let Some(steps) = lab.run(script) else { return };
    let stopped = steps.lease("stopped");
    assert_eq!(stopped.state, LeaseState::Pending);
    assert_eq!(
        u64::try_from(stopped.owner.pid).unwrap(),
        steps.number("runtime"),
        "shim is runtime"
    );
    assert!(!steps.ok("program").contains("gpulease"), "{}", steps.out("program"));
    steps.refused("refused", "no-capacity");
    assert!(steps.ok("new").contains("open /dev/fuse: ok"));
    let lease = steps.lease("granted");
    assert_eq!(lease.container_id.as_str(), lab.id("new"));
    assert_eq!(steps.lease("continued"), lease, "the late hook binds nothing");
    assert_eq!(steps.lease("old-deleted"), lease);
    assert!(steps.ok("again").contains("open /dev/fuse: ok"));
    assert_eq!(steps.lease("again").container_id.as_str(), lab.id("old"));
    assert!(steps.leases("end").is_empty());
}

pub fn a_start_that_fails_leaves_no_lease(place: Place) {
    let lab = Lab::new(place, REAL);
    for name in ["one", "two"] {
        lab.bundle_with(name, HOLDS, |spec| spec["process"]["args"] = json!(["/nope"]));
    }
    lab.bundle("next", HOLDS, "try /dev/fuse; echo END");
    // Newer crun finds out at start only.
    let script = r#"
        begin() {
            make "$1" create "$1"
            [ "$(cat "$OUT/$1.rc")" != 0 ] || step "$1" gl --log "$B/$1/log.json" --log-format json start "$P-$1"
        }
        begin one
        step delete gl delete --force "$P-one"
        leases deleted
        begin two
        make next run next
        leases end
        "#;
    let Some(steps) = lab.run(script) else { return };
    for step in ["one", "two"] {
        let said = steps.err(step);
        assert_ne!(steps.rc(step), 0, "{said}");
        assert!(said.contains("/nope") && !said.contains("gpulease"), "its own message: {said}");
    }
    steps.ok("delete");
    assert!(steps.leases("deleted").is_empty(), "{:?}", steps.records("deleted"));
    assert!(steps.ok("next").contains("open /dev/fuse: ok"));
    assert!(steps.leases("end").is_empty(), "{:?}", steps.records("end"));
}

pub fn a_create_under_a_live_id_does_not_touch_its_lease(place: Place) {
    let lab = Lab::new(place, REAL);
    lab.bundle("web", HOLDS, "echo END; sleep 60");
    let script = r#"
        make web run web --detach
        until_ says web END
        leases before
        make again create web
        leases after
        step delete gl delete --force "$P-web"
        "#;
    let Some(steps) = lab.run(script) else { return };
    steps.refused("again", "already-leased");
    assert_eq!(steps.lease("before"), steps.lease("after"));
    steps.ok("delete");
}
