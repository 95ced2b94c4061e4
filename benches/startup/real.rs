//! Whole containers: runc and crun running busybox's `true`, with and without the shim.

use super::Programs;
use super::driver::{Call, Case, interleave, rounds};
use super::host::{Bundle, Folders, Host, NO_REQUEST, WHOLE, annotate};
use super::table::Table;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The same container can start again at once: its devices are not kept for it.
const NO_GRACE: &str = "[policy]\nrelease_grace = \"0s\"\n";

pub fn measure(programs: &Programs, folders: &Folders, table: &mut Table) {
    let rounds = rounds("GPULEASE_BENCH_CONTAINER_ROUNDS", 40);
    if rounds == 0 {
        return;
    }
    let template = folders.disk.join("template");
    let maker = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/bundle.sh");
    let made = Command::new(maker).arg(&template).status();
    assert!(made.is_ok_and(|status| status.success()), "tests/lab/bundle.sh failed");
    let text = fs::read(template.join("config.json")).unwrap();
    let mut config: Value = serde_json::from_slice(&text).unwrap();
    config["process"]["args"] = json!(["true"]);
    config["root"]["path"] = json!(template.join("rootfs"));

    for name in ["runc", "crun"] {
        let Some(runtime) = find(name) else {
            eprintln!("startup: {name} is not installed: NOT MEASURED");
            continue;
        };
        containers(name, &runtime, &config, rounds, programs, folders, table);
    }
}

fn find(name: &str) -> Option<PathBuf> {
    let dirs = ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"];
    dirs.iter().map(|dir| Path::new(dir).join(name)).find(|path| path.is_file())
}

fn containers(
    name: &str,
    runtime: &Path,
    config: &Value,
    rounds: usize,
    programs: &Programs,
    folders: &Folders,
    table: &mut Table,
) {
    let dir = folders.tmpfs.join(name);
    let host = |sub: &str| Host::new(dir.join(sub), runtime, &programs.hook, NO_GRACE);
    let empty = host("node-0");
    let mut full = host("node-32");
    full.fill(32, None);
    let bundle = |sub: &str, annotations| {
        let mut config = config.clone();
        annotate(&mut config, annotations);
        Bundle::with_config(dir.join(sub), &config)
    };
    let (free, asks) = (bundle("free", NO_REQUEST), bundle("asks", WHOLE));
    let id = |number: usize| format!("gpulease-startup-{}-{number}", std::process::id());
    let through = |host: &Host, bundle: &Bundle, number: usize| {
        let words = [
            programs.shim.as_os_str(),
            "--gpulease-config".as_ref(),
            host.config().as_os_str(),
            "--root".as_ref(),
            host.root().as_os_str(),
            "run".as_ref(),
            "--bundle".as_ref(),
            bundle.dir.as_os_str(),
            id(number).as_ref(),
        ]
        .map(ToOwned::to_owned);
        Call::new(words)
    };
    let plain = [
        runtime.as_os_str(),
        "--root".as_ref(),
        empty.root().as_os_str(),
        "run".as_ref(),
        "--bundle".as_ref(),
        free.dir.as_os_str(),
        id(0).as_ref(),
    ]
    .map(ToOwned::to_owned);
    let again = |host: &Host| {
        host.reset();
        asks.restore();
    };
    let cases = [
        Case::new("plain run", Call::new(plain)),
        Case::new("shim run, no request", through(&empty, &free, 1)).over(0),
        Case::new("shim run, whole GPU, 0 leases", through(&empty, &asks, 2))
            .over(0)
            .before(|| again(&empty)),
        Case::new("shim run, whole GPU, 32 leases", through(&full, &asks, 3))
            .over(0)
            .before(|| again(&full)),
    ];
    let samples = interleave(&cases, rounds);
    table.group(&format!("{rounds} rounds of {name}"), &cases, &samples);
    assert_eq!(full.leases().len(), 32, "a container that ended still has its lease");
}
