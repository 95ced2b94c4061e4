//! Changes by other processes while a daemon is asked.

use super::*;

/// Other processes use the ledger meanwhile, and get no amount that is not given back yet.
#[test]
fn the_ledger_is_free_while_a_daemon_is_asked() {
    let host = Host::new();
    let lease = with_daemon(host.lease("web", &["GPU-a"], 250, 4));
    host.put(&lease);
    for (milli, gib, fails) in
        [(500, 8, vec![]), (100, 2, vec![]), (800, 9, vec![2]), (50, 1, vec![2, 3])]
    {
        host.put(&lease);
        let setter =
            Fake { host: Some((host.store.clone(), lease.clone())), ..Fake::failing(&fails) };
        let amounts = Amounts { milli: Some(MilliGpu(milli)), memory: Some(Bytes(gib * GIB)) };
        assert_eq!(host.resize("web", amounts, &setter).is_ok(), fails.is_empty());
        assert_eq!((setter.held.get(), setter.idle.get()), (1, 0));
    }
    // A lease without a daemon of its own has none to lock.
    let plain = host.lease("plain", &["GPU-b"], 250, 4);
    host.put(&plain);
    let setter = Fake { host: Some((host.store.clone(), plain)), ..Fake::default() };
    host.resize("plain", memory(5), &setter).unwrap();
    assert_eq!(setter.held.get(), 0);
}

#[test]
fn a_lease_that_ends_meanwhile_stays_ended() {
    let host = Host::new();
    let lease = with_daemon(host.lease("web", &["GPU-a"], 250, 4));
    let released = |store: &Store, lease: &Lease| {
        store
            .lock(CREATE_DEADLINE, &Paths::default())
            .unwrap()
            .remove(&lease.key().unwrap())
            .unwrap();
    };
    let succeeded = |store: &Store, lease: &Lease| {
        let nonce = Nonce::new(&"f".repeat(32)).unwrap();
        let next = Lease { id: nonce.lease_id(), nonce, ..lease.clone() };
        store.lock(CREATE_DEADLINE, &Paths::default()).unwrap().put(&next).unwrap();
    };
    let cases: [(Meanwhile, bool); 2] = [(released, false), (succeeded, true)];
    for (meanwhile, is_there) in cases {
        for fails in [vec![], vec![2]] {
            host.put(&lease);
            let setter = Fake {
                host: Some((host.store.clone(), lease.clone())),
                meanwhile: Some(meanwhile),
                ..Fake::failing(&fails)
            };
            let amounts = Amounts { milli: Some(MilliGpu(500)), memory: Some(Bytes(8 * GIB)) };
            let error = host.resize("web", amounts, &setter).unwrap_err().to_string();
            assert!(error.contains("was taken back meanwhile"), "{error}");
            assert_eq!(error.contains("step 2 failed"), !fails.is_empty(), "{error}");
            let dmem = setter.steps.borrow().iter().filter(|step| step.starts_with("drm/")).count();
            assert_eq!(dmem, 1, "the limit of the next one is not touched");
            let now = host.store.entry(&lease.key().unwrap()).unwrap();
            assert_eq!(now.is_some(), is_there);
            if let Some(Entry::Lease(next)) = now {
                assert_ne!(next.nonce, lease.nonce);
                assert_eq!(next.devices, lease.devices);
                host.store
                    .lock(CREATE_DEADLINE, &host.paths)
                    .unwrap()
                    .remove(&next.key().unwrap())
                    .unwrap();
            }
        }
    }
}

#[test]
fn daemons_of_dead_leases_are_reaped() {
    let host = Host::new();
    host.put(&host.lease("web", &["GPU-a"], 250, 4));
    let mut dead = with_daemon(host.lease("dead", &["GPU-b"], 250, 4));
    dead.cgroup = None;
    dead.owner.boot_id = "another".into();
    host.put(&dead);
    let setter = Fake::default();
    assert!(host.resize("web", memory(100), &setter).is_err());
    assert_eq!(setter.idle.get(), 1, "whether it is resized or not");
}
