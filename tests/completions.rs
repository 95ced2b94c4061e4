//! `gpulease completions`: what is offered is what the commands take.

#![cfg(feature = "cli")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests, which clippy does not know as tests"
)]

mod support;

use gpulease::door::inventory::profiles::PROFILES;
use gpulease::door::request::{Input, Policy, keys, parse};
use std::collections::BTreeMap;
use std::process::Command;
use support::{CLI, ok};

fn script(shell: &str) -> String {
    let output = ok(Command::new(CLI).args(["completions", shell]).output().unwrap());
    String::from_utf8(output.stdout).unwrap()
}

/// What bash offers at the end of a line, by the words into which it breaks it.
fn bash(line: &str) -> Vec<String> {
    let driver = r#"
        eval "$1"
        COMP_LINE=$2 COMP_POINT=${#2}
        read -ra COMP_WORDS <<<"${2//=/ = }"
        [[ $2 != *' ' ]] || COMP_WORDS+=('')
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        [[ $(complete -p gpulease) == *_gpulease_words* ]] || exit 9
        _gpulease_words gpulease "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        printf '%s\n' "${COMPREPLY[@]}""#;
    let mut command = Command::new("bash");
    command.args(["--norc", "-c", driver, "bash", &script("bash"), line]);
    let output = ok(command.output().unwrap());
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn bash_offers_what_the_tables_have() {
    assert_eq!(bash("gpulease install d"), ["docker"]);
    assert_eq!(bash("gpulease unins"), ["uninstall"]);
    assert_eq!(bash("gpulease explain vend"), ["vendor=nvidia", "vendor=amd", "vendor=intel"]);
    // Behind `=`, bash itself has put what is before it.
    assert_eq!(bash("gpulease explain count=1 vendor="), ["nvidia", "amd", "intel"]);
    assert_eq!(bash("gpulease explain vendor=a"), ["amd"]);
    assert_eq!(bash("gpulease explain min"), ["min-memory="]);
    assert_eq!(bash("gpulease completions z"), ["zsh"]);
    assert_eq!(bash("gpulease --color n"), ["never"]);
    let profiles = bash("gpulease inventory example ");
    for profile in PROFILES {
        assert!(profiles.iter().any(|offered| offered == profile.name), "{profiles:?}");
    }
}

#[test]
fn what_is_for_our_own_programs_is_offered_to_nobody() {
    assert_eq!(bash("gpulease mps re"), ["reap"]);
    for shell in ["bash", "zsh", "fish"] {
        let script = script(shell);
        assert!(script.contains("reap") && !script.contains("attach"), "{shell}");
    }
    let output = Command::new(CLI).args(["mps", "attac"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("'attac'") && !said.contains("'attach'"), "{said}");
}

/// Whatever is offered for `explain` can be granted or refused, but is not a wrong request.
#[test]
fn what_is_offered_as_a_request_is_one() {
    let offered = bash("gpulease explain ");
    let words: Vec<_> = offered.iter().filter_map(|word| word.split_once('=')).collect();
    for (key, value) in &words {
        let key = keys::by_short_name(key).unwrap_or_else(|| panic!("{key}"));
        let value = if value.is_empty() { key.example } else { value };
        let mut annotations = BTreeMap::from([(key.name.to_owned(), value.to_owned())]);
        if value == "shared" {
            annotations.insert("gpulease/compute".to_owned(), "0.5".to_owned());
        }
        let input = Input { annotations: &annotations, env: &[], container_name: None };
        let request = parse(&input, &Policy::default());
        assert!(matches!(request, Ok(Some(_))), "{annotations:?}: {request:?}");
    }
    for key in keys::KEYS {
        let is_offered = words.iter().any(|(word, _)| *word == key.short());
        let can_be_asked = key.support != keys::Support::Only(&[]);
        assert_eq!(is_offered, can_be_asked, "{}", key.name);
    }
}

#[test]
fn zsh_and_fish_get_the_same_words() {
    let mut words: Vec<String> = bash("gpulease explain ");
    words.extend(PROFILES.iter().map(|profile| profile.name.to_owned()));
    words.extend(["docker", "podman", "containerd", "crio"].map(str::to_owned));
    for shell in ["zsh", "fish"] {
        let script = script(shell);
        for word in words.iter().map(|word| word.trim_start_matches('-')) {
            assert!(script.contains(word), "{shell} lacks {word}");
        }
    }
    // Whoever takes `count=` goes on behind it.
    assert!(script("zsh").contains("compadd -S \"\" - count="));
}

#[test]
fn json_holds_the_script() {
    let output = ok(Command::new(CLI).args(["completions", "fish", "--json"]).output().unwrap());
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&told["shell"], &told["script"]), (&"fish".into(), &script("fish").into()));
    let unknown = Command::new(CLI).args(["completions", "tcsh"]).output().unwrap();
    assert_eq!(unknown.status.code(), Some(2));
}
