//! What the shim costs at a container start, beside the same start without it: all in one run,
//! in interleaved rounds, so that a busy machine is busy for every row.
//!
//! Needs root: records belong to root, and real containers are started. `GPULEASE_BIN` is where
//! the programs are (default `dist/bin`), `GPULEASE_BENCH_ROUNDS` how often each start is measured
//! (400), `GPULEASE_BENCH_CONTAINER_ROUNDS` how often each real container is (40; 0 for none),
//! `GPULEASE_BENCH_ENGINE_ROUNDS` how often each container of a real engine is (20; 0 for none).
//! Nothing is asserted; the last lines name what is over its budget, which stands beside it.

#![allow(
    unsafe_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench prints its result and may stop on a mistake of its own"
)]

mod driver;
mod engines;
mod host;
mod lab;
mod real;
mod starts;
mod storm;
mod table;
mod tools;

use host::Folders;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use table::Table;
use tools::Tools;

/// Says that this process is in a mount namespace of its own.
const INSIDE: &str = "GPULEASE_BENCH_INSIDE";

/// The largest file of the hot pair, and the largest resident set of the shim.
const SIZE_BUDGET: u64 = 1_500_000;
const RSS_BUDGET_KIB: u64 = 5 * 1024;

/// The programs under test.
struct Programs {
    shim: PathBuf,
    hook: PathBuf,
}

fn main() -> ExitCode {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("startup: NOT MEASURED: this bench needs root");
        return ExitCode::SUCCESS;
    }
    let programs = programs();
    let inside = std::env::var_os(INSIDE).is_some();
    if !inside {
        enter_namespace(&programs);
        eprintln!("startup: no mount namespace with one version of cgroups can be had here:");
        eprintln!(
            "startup: NOT MEASURED are real containers, engines and calls without a configuration"
        );
    }

    let folders = Folders::new();
    let tools = Tools::build(&folders.disk);
    let mut table = Table::default();
    println!("{}", surroundings());
    starts::measure(&programs, &tools, &folders, inside, &mut table);
    if inside {
        real::measure(&programs, &folders, &mut table);
        engines::measure(&mut table);
    }
    storm::measure(&programs, &tools, &folders, &mut table);
    weigh(&programs, &mut table);
    println!("\nThe allocator by itself: cargo bench --bench allocate");
    table.verdict();
    println!("The hot pair's libc: {}", libc_of(&programs.shim));
    ExitCode::SUCCESS
}

fn programs() -> Programs {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dir = std::env::var_os("GPULEASE_BIN").map_or_else(|| "dist/bin".into(), PathBuf::from);
    let find = |name: &str| {
        let path = manifest.join(&dir).join(name);
        std::fs::canonicalize(&path)
            .unwrap_or_else(|error| panic!("{}: {error}; run `make build`", path.display()))
    };
    Programs { shim: find("gpulease-runtime"), hook: find("gpulease-hook") }
}

/// Starts again where mounts can be changed and both runc and crun can run; returns if there is
/// no such place.
fn enter_namespace(programs: &Programs) {
    let lab = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/cgroup.sh");
    for version in ["v1", "v2"] {
        let can = Command::new(&lab).args([version, "true"]).output();
        if can.is_ok_and(|output| output.status.success()) {
            let error = Command::new(&lab)
                .arg(version)
                .arg(std::env::current_exe().unwrap())
                .env(INSIDE, version)
                .env(lab::PROGRAMS, programs.shim.parent().unwrap())
                .exec();
            eprintln!("startup: {}: {error}", lab.display());
        }
    }
}

/// Where and when: without it no two results can be compared.
fn surroundings() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let load = read("/proc/loadavg");
    let load = load.split_whitespace().next().unwrap_or("?").to_owned();
    format!(
        "gpulease {}\nLinux {}, {cpus} CPUs, load {load} at the start",
        gpulease::VERSION,
        read("/proc/sys/kernel/osrelease").trim(),
    )
}

/// What a static program was linked with, told by the words that only one libc has: its symbol
/// versions, or its text for the error 0.
fn libc_of(program: &Path) -> &'static str {
    let bytes = std::fs::read(program).unwrap();
    let has = |word: &[u8]| bytes.windows(word.len()).any(|window| window == word);
    if has(b"No error information") {
        "musl"
    } else if has(b"GLIBC_") {
        "glibc"
    } else {
        "unknown"
    }
}

fn weigh(programs: &Programs, table: &mut Table) {
    println!("\n{:<44}{:>12}{:>24}", "sizes", "bytes", "budget");
    for path in [&programs.shim, &programs.hook] {
        let size = std::fs::metadata(path).unwrap().len();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        table.figure(&name, size, SIZE_BUDGET, "");
    }
}
