//! Answers with `--json`, held against the files of `tests/fixtures/json`.
//!
//! A value that differs from run to run is masked: a time, an id and a path by a word in its place,
//! a number by 0. With `GPULEASE_WRITE_JSON` in the environment the files are written anew.

use super::CLI;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// The keys whose values differ from run to run.
const VOLATILE: &[&str] = &[
    "boot_id",
    "command",
    "created_at",
    "ctime_ns",
    "device",
    "inode",
    "made_at",
    "mtime_ns",
    "nonce",
    "pid",
    "pid_namespace",
    "script",
    "start_time",
];

/// The keys whose values depend on the host, whatever their type.
const HOSTS: &[&str] = &["cgroup", "lacks"];

/// The file of a golden answer.
pub fn file(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/json");
    folder.join(format!("{name}.json"))
}

/// Asserts that `answer` is what the golden file of this name has. `dir` is the folder in which
/// the host of the test lies.
#[track_caller]
pub fn check(name: &str, mut answer: Value, dir: &Path) {
    mask(&mut answer, dir);
    let text = format!("{answer:#}\n");
    if std::env::var_os("GPULEASE_WRITE_JSON").is_some() {
        fs::write(file(name), text).unwrap();
        return;
    }
    let golden = fs::read_to_string(file(name)).unwrap_or_default();
    assert!(
        text == golden,
        "`{name}` answers otherwise than tests/fixtures/json/{name}.json; if that is meant, run \
         the test with GPULEASE_WRITE_JSON=1. First difference: {:?}",
        first_difference(&golden, &text)
    );
}

/// The golden line and the line of the answer.
fn first_difference<'a>(golden: &'a str, text: &'a str) -> Option<(&'a str, &'a str)> {
    let lines = text.lines().chain([""]);
    golden.lines().chain([""]).zip(lines).find(|(golden, line)| golden != line)
}

fn mask(value: &mut Value, dir: &Path) {
    match value {
        Value::Array(list) => list.iter_mut().for_each(|value| mask(value, dir)),
        Value::Object(map) => {
            for (key, value) in map {
                if let ("leases", Value::Array(leases)) = (key.as_str(), &mut *value) {
                    // Those of one second come by their ids.
                    leases.sort_by_key(|lease| lease["container_id"].to_string());
                }
                match value {
                    value if HOSTS.contains(&key.as_str()) => *value = key.to_uppercase().into(),
                    Value::Number(_) if VOLATILE.contains(&key.as_str()) => *value = 0.into(),
                    Value::String(_) if VOLATILE.contains(&key.as_str()) => {
                        *value = key.to_uppercase().into();
                    }
                    value => mask(value, dir),
                }
            }
        }
        Value::String(text) => *text = masked(text, dir),
        _ => {}
    }
}

fn masked(text: &str, dir: &Path) -> String {
    let programs = Path::new(CLI).parent().unwrap().to_str().unwrap();
    let dir = dir.to_str().unwrap();
    let mut text = text.replace(dir, "DIR").replace(programs, "PROGRAMS");
    // The names of records have the path of a file or directory.
    for slash in ["!", "%2F"] {
        text = text.replace(&dir.trim_start_matches('/').replace('/', slash), "DIR");
    }
    let text = lease_ids_masked(&text.replace(gpulease::VERSION, "VERSION"));
    let text = masked_after("since ", &text, |part| {
        part.split_inclusive('Z').next().filter(|time| time.len() == 20).map_or(0, str::len)
    });
    masked_after("process ", &text, |part| part.chars().take_while(char::is_ascii_digit).count())
}

/// A text in which the first bytes behind each `word` are masked, as many as `length` says.
fn masked_after(word: &str, text: &str, length: impl Fn(&str) -> usize) -> String {
    let mut parts = text.split(word);
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        let (masked, rest) = part.split_at(length(part));
        text + word + if masked.is_empty() { "" } else { "MASKED" } + rest
    })
}

/// `l-` and twelve hexadecimal digits.
fn lease_ids_masked(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("l-") {
        let digits = after.chars().take_while(char::is_ascii_hexdigit).count();
        out.push_str(before);
        out.push_str(if digits == 12 { "LEASE" } else { "l-" });
        rest = if digits == 12 { &after[digits..] } else { after };
    }
    out + rest
}
