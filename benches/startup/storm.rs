//! Sixty-four creates at one moment, which together fill eight devices to the last tenth.

use super::Programs;
use super::driver::rounds;
use super::host::{Bundle, EIGHTH, Folders, Host, NO_REQUEST};
use super::starts::{create, options};
use super::table::{Table, quantile_of};
use super::tools::Tools;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};

const CREATES: usize = 64;
const WAVES: usize = 10;
/// On the 99th percentile, on two cores.
const BUDGET_MS: u64 = 50;

pub fn measure(programs: &Programs, tools: &Tools, folders: &Folders, table: &mut Table) {
    // Few rounds are asked for to see whether the bench works.
    let waves = WAVES.min(rounds("GPULEASE_BENCH_ROUNDS", 400));
    let dir = folders.tmpfs.join("storm");
    let host = Host::new(dir.join("node"), &tools.arrive, &programs.hook, "");
    let bundles = |kind: &str, annotations| -> Vec<Bundle> {
        (0..CREATES).map(|n| Bundle::new(dir.join(format!("{kind}-{n}")), annotations)).collect()
    };
    let (free, asks) = (bundles("free", NO_REQUEST), bundles("asks", EIGHTH));
    let ours = options(&host);
    let plain = [OsString::from("--root"), host.root().into()];
    let mut times: [Vec<f64>; 3] = Default::default();
    let mut correct = 0;
    for _ in 0..waves {
        times[0].extend(wave(&tools.gate, &tools.arrive, &plain, &free, || ()));
        times[1].extend(wave(&tools.gate, &programs.shim, &ours, &free, || ()));
        host.reset();
        asks.iter().for_each(Bundle::restore);
        times[2].extend(wave(&tools.gate, &programs.shim, &ours, &asks, || {
            correct += usize::from(is_correct(&host));
        }));
    }
    println!(
        "\n{:<44}{:>8}{:>8}{:>8}",
        format!("{CREATES} creates at one moment, {waves} times: ms"),
        "p50",
        "p99",
        "max"
    );
    let row = |name: &str, times: &[f64]| {
        let [p50, p99, max] = [0.5, 0.99, 1.0].map(|q| quantile_of(times.to_vec(), q));
        println!("{name:<44}{p50:>8.1}{p99:>8.1}{max:>8.1}");
        p99
    };
    row("plain", &times[0]);
    row("shim, no request", &times[1]);
    let p99 = row("shim, 125m each", &times[2]);
    println!(
        "{:<68}{:>12}",
        "all granted, no device past its capacity",
        format!("{correct}/{waves}")
    );
    if correct < waves {
        table.fault("64 creates: not all correct");
    }
    table.figure("shim, 125m each: p99", p99.ceil() as u64, BUDGET_MS, " ms");
}

/// Starts a create for each bundle at once; milliseconds until each low-level runtime was
/// reached. `look` is called while all of them live.
fn wave(
    gate: &Path,
    program: &Path,
    options: &[OsString],
    bundles: &[Bundle],
    look: impl FnOnce(),
) -> Vec<f64> {
    let (wait, release) = std::io::pipe().unwrap();
    let start = |(number, bundle): (usize, &Bundle)| -> Child {
        let call = create(program, options, &bundle.dir, &format!("{number:064x}"));
        let words: Vec<&OsStr> = call.words().collect();
        let mut command = Command::new(gate);
        command.args(words).stdin(wait.try_clone().unwrap()).stdout(Stdio::piped());
        command.spawn().unwrap()
    };
    let mut children: Vec<Child> = bundles.iter().enumerate().map(start).collect();
    // All of them are to stand at the gate.
    std::thread::sleep(std::time::Duration::from_millis(30));
    let begin = monotonic_ns();
    drop(release);
    let times = children
        .iter_mut()
        .map(|child| {
            let mut text = String::new();
            child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
            let arrived: i64 = text.trim().parse().expect("a create failed");
            (arrived - begin) as f64 / 1e6
        })
        .collect();
    look();
    for mut child in children {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    times
}

fn is_correct(host: &Host) -> bool {
    let leases = host.leases();
    let mut used: BTreeMap<String, u32> = BTreeMap::new();
    for device in leases.iter().flat_map(|lease| &lease.devices) {
        *used.entry(device.uuid.to_string()).or_default() += device.milli.0;
    }
    leases.len() == CREATES && used.len() == 8 && used.values().all(|milli| *milli == 1000)
}

fn monotonic_ns() -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid, writable timespec for the duration of the call.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    assert_eq!(result, 0);
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}
