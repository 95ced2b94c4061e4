//! The rules of the house that no lint of the compiler holds.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

#[path = "layering/imports.rs"]
mod imports;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The floors. A module may use itself and those before it, but no face another.
const FLOORS: &[(&str, &[&str])] = &[
    ("pure", &["model", "request", "allocator", "injection"]),
    ("machine", &["paths", "sys", "failure", "config", "inventory", "store", "engines"]),
    ("host", &["host"]),
    ("transaction", &["claim", "mps"]),
    ("start", &["start"]),
    ("view", &["view"]),
    ("faces", &["runtime", "hook", "cli", "rocm"]),
];

/// Folders in which files still use each other in circles. The list only gets shorter: a test fails
/// for a folder that has none left.
const FOLDERS_WITH_CIRCLES: &[&str] =
    &["engines", "failure", "injection", "inventory/cdi", "request", "start"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn sources() -> Vec<(String, PathBuf, String)> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    let root = root();
    let mut found = Vec::new();
    walk(&root, &mut found);
    found
        .into_iter()
        .map(|path| {
            let inside = path.strip_prefix(&root).unwrap();
            let first = inside.components().next().unwrap().as_os_str().to_string_lossy();
            let module = first.trim_end_matches(".rs").to_owned();
            let text = fs::read_to_string(&path).unwrap();
            (module, path, text)
        })
        .collect()
}

/// Files of unit tests, and what follows `#[cfg(test)]` in the others.
fn without_tests(path: &Path, text: &str) -> String {
    let name = path.to_string_lossy();
    if ["tests.rs", "/tests/", "properties.rs", "fixtures.rs"]
        .iter()
        .any(|part| name.contains(part))
    {
        return String::new();
    }
    text.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned()
}

/// Each module with its floor, from the lowest up.
fn modules() -> Vec<(&'static str, &'static str)> {
    FLOORS.iter().flat_map(|(floor, modules)| modules.iter().map(|m| (*floor, *m))).collect()
}

#[test]
fn no_module_uses_one_of_a_higher_floor() {
    let modules = modules();
    let place = |module: &str| modules.iter().position(|(_, known)| *known == module);
    let mut arrows = 0;
    for (module, path, text) in sources() {
        let Some(own) = place(&module) else { continue };
        assert!(!text.contains("crate::{"), "{}: write one `use` a module", path.display());
        for rest in text.split("crate::").skip(1) {
            let used: String =
                rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let Some(theirs) = place(&used) else { continue };
            arrows += 1;
            let is_other_face = modules[theirs].0 == "faces" && theirs != own;
            assert!(
                theirs <= own && !is_other_face,
                "{}: `{module}` uses `{used}`",
                path.display()
            );
        }
    }
    assert!(arrows > 100, "only {arrows} uses found: is the layout another?");
}

#[test]
fn every_module_has_a_floor() {
    let lib = fs::read_to_string(root().join("lib.rs")).unwrap();
    let mut declared: Vec<&str> =
        lib.lines().filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';')).collect();
    let mut named: Vec<&str> = modules().into_iter().map(|(_, module)| module).collect();
    declared.sort_unstable();
    named.sort_unstable();
    assert_eq!(declared, named);
}

#[test]
fn no_circle_of_files_crosses_a_folder() {
    let mut circles = imports::Sources::read(&root()).circles();
    circles.retain(|circle| circle.folders > 1);
    assert!(circles.is_empty(), "{circles:#?}");
}

#[test]
fn no_circle_of_files_lies_in_a_folder() {
    let mut circles = imports::Sources::read(&root()).circles();
    circles.retain(|circle| circle.folders == 1);
    let lies_in = |circle: &imports::Circle, folder: &str| {
        let is_in = |file: &String| Path::new(file).starts_with(folder);
        circle.files.iter().all(is_in)
    };
    for folder in FOLDERS_WITH_CIRCLES {
        let is_there = circles.iter().any(|circle| lies_in(circle, folder));
        assert!(is_there, "no circle is left in `{folder}`: take it out of the list");
    }
    circles.retain(|circle| !FOLDERS_WITH_CIRCLES.iter().any(|folder| lies_in(circle, folder)));
    assert!(circles.is_empty(), "untie: {circles:#?}");
}

#[test]
fn a_circle_through_what_is_handed_on_is_seen() {
    let root = tempfile::tempdir().unwrap();
    let write = |file: &str, text: &str| {
        let path = root.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("lib.rs", "mod one;\nmod two;\n");
    write("one/mod.rs", "mod part;\npub use part::Part; // a '\"'\n");
    write("one/part.rs", "use crate::two::{self, other::Other};\npub struct Part;\n");
    write("two/mod.rs", "pub mod other;\n#[cfg(test)]\nmod tests { use crate::one; }\n");
    write("two/other.rs", "pub struct Other;\nfn of() -> Other { unreachable!(\"crate::one\") }\n");
    let circles = || imports::Sources::read(root.path()).circles();
    assert!(circles().is_empty(), "{:?}", circles());
    write("two/other.rs", "use crate::one;\npub struct Other;\nstruct Has<'a>(&'a one::Part);\n");
    let seen = circles();
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert_eq!(
        (seen[0].files.as_slice(), seen[0].folders),
        (["one/part", "two/other"].map(str::to_owned).as_slice(), 2)
    );
    assert!(
        seen[0].uses.iter().any(|arrow| arrow.starts_with("two/other -> one/part")),
        "{seen:?}"
    );
}

#[test]
fn every_file_is_written_by_the_atomic_writer() {
    // The report is appended to the engine's log, the lock file is no data, checked.rs reads, and the
    // kernel's own files are written in their place.
    let exempt = [
        "sys/atomic.rs",
        "sys/checked.rs",
        "sys/kernel_file.rs",
        "sys/lock.rs",
        "runtime/report.rs",
    ];
    for (_, path, text) in sources() {
        if exempt.iter().any(|file| path.ends_with(file)) {
            continue;
        }
        let code = without_tests(&path, &text);
        for call in ["fs::write(", "File::create", "OpenOptions", "fs::copy(", "fs::hard_link("] {
            assert!(!code.contains(call), "{} calls {call}", path.display());
        }
    }
}

#[test]
fn paths_of_engines_are_in_engines_alone() {
    let words = [
        "/etc/docker",
        "/etc/containerd",
        "/etc/crio",
        "/etc/containers",
        "/usr/share/containers",
        "hooks.d/",
        "rancher",
        ".service\"",
    ];
    let mut used = BTreeSet::new();
    for (module, path, text) in sources() {
        let text = without_tests(&path, &text);
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        for line in code {
            for word in words.into_iter().filter(|word| line.contains(word)) {
                assert_eq!(module, "engines", "{}: {line}", path.display());
                used.insert(word);
            }
        }
    }
    assert!(used.len() > 4, "{used:?}: is the layout another?");
}

#[test]
fn names_of_variables_are_in_one_table() {
    let starts = ["NVIDIA_", "CUDA_", "AMD_", "HIP_", "ROC", "GPU_", "HSA_", "ZE_", "DOCKER_"];
    let own = ["\"GPULEASE_CONFIG\"", "\"GPULEASE_SIMULATED\"", "\"LISTEN_FDS\"", "\"PATH\""];
    for (_, path, text) in sources() {
        if path.ends_with("model/variables.rs") {
            continue;
        }
        let code = without_tests(&path, &text);
        let words = code.lines().filter(|line| !line.trim_start().starts_with("//"));
        for line in words {
            let names_one = |start: &&str| {
                let quoted = format!("\"{start}");
                let mut after = line.split(&quoted).skip(1);
                after.any(|rest| rest.split('"').next().unwrap().chars().all(is_of_name))
            };
            let is_own = own.iter().any(|name| line.contains(name));
            assert!(!is_own && !starts.iter().any(names_one), "{}: {line}", path.display());
        }
    }
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'
}

#[test]
fn unsafe_code_is_in_sys_alone() {
    for (module, path, text) in sources() {
        let code: Vec<&str> =
            text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        let has = code.iter().any(|line| line.contains("unsafe {") || line.contains("unsafe fn"));
        assert!(!has || module == "sys", "{}", path.display());
    }
}

#[test]
fn files_are_short_enough_to_read() {
    let mut long = Vec::new();
    for (_, path, text) in sources() {
        let lines = text.lines().count();
        if lines > 400 {
            long.push(format!("{} has {lines} lines", path.display()));
        }
    }
    assert!(long.is_empty(), "{long:#?}");
}
