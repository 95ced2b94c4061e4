//! What we take for the bundle, the configuration and the container of a command line is what the
//! real runc and crun take. All that they could open is no JSON, and their errors tell by its letter
//! which it was; nothing is ever started.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod support;

use gpulease::door::runtime::args::{self, Certainty, Invocation, Verb};
use gpulease::door::start::lowlevel::RuntimeKind;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::needs_root;

/// `D` is a directory with the bundles `one` and `two` and the file `three.json`; it is a bundle
/// itself, and the current directory. `A` and `B` are containers.
const LINES: &[&str] = &[
    "run c",
    "run -b D/one c",
    "run c -b D/one",
    "run -bD/one c",
    "run -b=D/one c",
    "run -b= c",
    "run --bundle D/one c",
    "run --bundle=D/two c",
    "run -bundle D/one c",
    "run -bundle=one c",
    "run --b one c",
    "run --b=one c",
    "run --bundl one c",
    "run --bundl=one c",
    "run -db one c",
    "run -dbone c",
    "run -d -b one c",
    "run --detach -b one c",
    "run --detach=true -b one c",
    "run --detach=maybe -b one c",
    "run --detach c -b one",
    "run c --detach -b one",
    "run --det -b one c",
    "run --help=false -b one c",
    "run -h=false -b one c",
    "run --help=0 c -b one",
    "run --help -b one c",
    "run -? -b one c",
    "run -b one -- c",
    "run -- c",
    "run -- -b one",
    "run c -- -b one",
    "run -- -c -b one",
    "run - -b one",
    "run -b one -",
    "run -b two -b one c",
    "run --bundle --detach c",
    "run --pid-file x -b one c",
    "run --pid x -b one c",
    "run --preserve-fds 0 --no-pivot c -b one",
    "run --no-p -b one c",
    "run --no -b one c",
    "run --program-name x -b one c",
    "run --HANG=0 -b one c",
    "run -b one",
    "run",
    "run c d -b one",
    "run -b one -f three.json c",
    "run -b one -fthree.json c",
    "run -b one --config D/three.json c",
    "run -b one --conf=D/three.json c",
    "run -b one --config=config.json c",
    "run -b one -f ./config.json c",
    "run -b one -f two/config.json c",
    "create -b one c",
    "create -bone c",
    "create c --bundle=two",
    "-- run -b one c",
    "--debug run -b one c",
    "--debug=false run -b one c",
    "-debug run -b one c",
    "--log /dev/null run -b one c",
    "-log=/dev/null run -b one c",
    "--lo /dev/null run -b one c",
    "--log-f json run -b one c",
    "--help=false run -b one c",
    "--rootless=true run c -b one",
    "state A",
    "state -- B",
    "--debug state B",
    "delete A",
    "delete B --force",
    "delete -f B",
    "kill A 9",
    "kill -a B 9",
    "kill --all A",
    "ps -f json B",
    "ps --format=json A",
    "exec A true",
    "exec -d B true",
    "exec -p D/one B",
    "exec -pD/one A",
    "exec --process=D/one -e X=1 B",
    "exec -eX=1 A true",
    "exec -te X=1 B true",
    "exec -tB A true",
    "exec --user 1:2 --cwd / -- A true",
    "exec B -p A",
];

/// What only versions of runc take that are not installed here, or may take one day.
const LATER: &[&str] = &[
    "--HANG",
    "--program-name",
    "--config",
    "-config",
    "--detach c",
    "--no-pivot c",
    "run - -b",
    "-b one -",
];

/// The letter of what there is to open at each place.
const PLACES: &[(&str, char)] = &[
    ("config.json", 'P'),
    ("one/config.json", 'Q'),
    ("two/config.json", 'R'),
    ("three.json", 'S'),
    ("root/A/state.json", 'X'),
    ("root/A/status", 'X'),
    ("root/B/state.json", 'Y'),
    ("root/B/status", 'Y'),
];

fn letter_of(path: &Path, dir: &Path) -> Option<char> {
    let found = PLACES.iter().find(|(place, _)| path == dir.join(place));
    found.map(|(_, letter)| *letter)
}

/// What we say that the runtime opens; `None` if we leave it to the runtime.
fn ours(call: &Invocation, kind: RuntimeKind, dir: &Path) -> Option<char> {
    let certain = call.certainty == Certainty::Sure;
    match call.verb {
        _ if !certain => None,
        Verb::Create | Verb::Run => {
            let bundle = dir.join(call.bundle.as_deref().unwrap_or(Path::new("")));
            let own = bundle.join("config.json");
            let config = match &call.config_file {
                Some(given)
                    if kind == RuntimeKind::Runc || given.path != Path::new("config.json") =>
                {
                    dir.join(&given.path).components().collect()
                }
                _ => own,
            };
            letter_of(&config, dir)
        }
        Verb::Exec | Verb::Delete | Verb::Update | Verb::Other => {
            letter_of(&dir.join("root").join(call.id.as_deref()?).join("status"), dir)
        }
        _ => None,
    }
}

fn theirs(program: &Path, words: &[OsString], dir: &Path) -> (Option<char>, String) {
    let output = Command::new(program)
        .args(words)
        .current_dir(dir)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let letters = ['P', 'Q', 'R', 'S', 'X', 'Y'];
    let opened = letters.into_iter().find(|letter| {
        said.contains(&format!("invalid character '{letter}'"))
            || said.contains(&format!("{{{letter}{letter}"))
    });
    // crun removes one whose state it cannot read.
    let removed =
        [('X', "root/A"), ('Y', "root/B")].into_iter().find(|(_, id)| !dir.join(id).exists());
    (opened.or(removed.map(|(letter, _)| letter)), said)
}

/// Anew for each line: crun removes a container whose state it cannot read.
fn make(dir: &Path) {
    for (place, letter) in PLACES {
        let path = dir.join(place);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("{{{letter}{letter}\n")).unwrap();
    }
}

/// Made-up lines, the same ones each time.
fn made_up(count: usize) -> Vec<String> {
    const BEFORE: &[&str] =
        &["--debug", "-debug=false", "--", "--log /dev/null", "--deb", "--help=0"];
    const VERBS: &[&str] = &["run", "run", "run", "exec", "state", "kill", "ps"];
    const AFTER: &[&str] = &[
        "-b one",
        "-bone",
        "-b=one",
        "--bundle D/two",
        "--bundle=two",
        "-bundle two",
        "--bun one",
        "-d",
        "--detach",
        "--det",
        "-db two",
        "--no-pivot",
        "--no-p",
        "--keep=true",
        "--help=f",
        "-h",
        "--",
        "-",
        "A",
        "B",
        "A",
        "B",
        "",
        "-f three.json",
        "-fthree.json",
        "--conf=D/three.json",
        "--pid-file x",
        "--pid-file=x",
        "--preserve-fds 0",
        "-p one",
        "-pone",
        "--process=D/one",
        "-e X=1",
        "-eX=1",
        "-t",
        "-tB",
        "--tty=false",
        "--cwd /",
        "--unknown",
        "-z",
        "--unknown=1",
        "-a",
        "--all",
        "true",
    ];
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut below = move |most: usize| {
        // xorshift64 (Marsaglia).
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % most as u64).unwrap()
    };
    let mut line = || {
        let mut words = Vec::new();
        if below(4) == 0 {
            words.push(BEFORE[below(BEFORE.len())]);
        }
        words.push(VERBS[below(VERBS.len())]);
        for _ in 0..=below(5) {
            words.push(AFTER[below(AFTER.len())]);
        }
        words.join(" ")
    };
    (0..count).map(|_| line()).collect()
}

#[test]
fn we_read_a_command_line_as_the_runtime_does() {
    needs_root!();
    let temporary = tempfile::Builder::new().prefix("gpulease-argv-").tempdir().unwrap();
    let dir = temporary.path();
    let programs: [(RuntimeKind, PathBuf); 2] =
        [(RuntimeKind::Runc, "/usr/sbin/runc".into()), (RuntimeKind::Crun, "/usr/bin/crun".into())];
    let (mut opened, mut wrong) = (0, Vec::new());
    for (kind, program) in programs {
        assert!(program.is_file(), "no {}: run tests/lab/setup.sh", program.display());
        let count = std::env::var("GPULEASE_ARGV_LINES").ok().and_then(|n| n.parse().ok());
        let made_up = made_up(count.unwrap_or(60));
        let known = LINES.iter().map(|line| (*line, true));
        for (line, is_known) in known.chain(made_up.iter().map(|line| (line.as_str(), false))) {
            make(dir);
            let root = dir.join("root").display().to_string();
            let line = line.replace("D/", &format!("{}/", dir.display()));
            let words = ["--root".to_owned(), root].into_iter();
            let words = words.chain(line.split_whitespace().map(str::to_owned));
            let words = args::parse(words.map(OsString::from));
            let call = words.read(kind);
            let (real, said) = theirs(&program, &words.forwarded, dir);
            // Of an uncertain one nothing is claimed: it is refused where that matters.
            if matches!(call.certainty, Certainty::Unsure(_)) {
                continue;
            }
            let is_later =
                kind == RuntimeKind::Runc && LATER.iter().any(|part| line.contains(part));
            // Of these crun says no more than that there was an error.
            let is_silent = kind == RuntimeKind::Crun && said.contains("error loading config.json");
            // That it refuses may be no more than this version's.
            if is_silent || real.is_none() && (is_later || !is_known) {
                continue;
            }
            opened += usize::from(real.is_some());
            let ours = ours(&call, kind, dir);
            if ours != real {
                wrong.push(format!("{kind:?} {line}: {ours:?}, not {real:?}: {call:?}\n{said}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(opened > 80, "only {opened} were opened: are the errors worded differently?");
}
