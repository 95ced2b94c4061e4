//! All that gpulease says to people, in one file, and the rules for how it is said.
//!
//! `make messages` writes `docs/messages.md`: the help texts, and each string of the source that
//! has words. The rules hold for these and for the comments of `src`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may")]

#[path = "messages/help.rs"]
mod help;
#[path = "messages/prose.rs"]
mod prose;
#[path = "messages/source.rs"]
mod source;

use help::help_texts;
use prose::{comments, has_vague_subject, sentences, vague_persons};
use source::{Source, sources};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

const PAGE: &str = "docs/messages.md";
const HEAD: &str = "# Messages

All that gpulease says to people. `make messages` writes this page from the help texts and from the
strings of the source. Each text stands once, in the file that has it first. `{…}` is filled in.
";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The spaces of a text made equal, to compare it with one that is wrapped elsewhere.
fn unwrapped(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The page as the source has it now.
fn page() -> String {
    let mut page = HEAD.to_owned();
    let mut help = String::new();
    page.push_str("\n## Help\n");
    for (command, text) in help_texts() {
        write!(page, "\n### {command}\n\n```\n{text}\n```\n").unwrap();
        help.push_str(&text);
        help.push('\n');
    }
    let help = unwrapped(&help);
    let mut written = BTreeSet::new();
    for Source { path, messages, .. } in sources(&root().join("src")) {
        let new: Vec<&String> = messages
            .iter()
            .filter(|text| !help.contains(&unwrapped(text)) && written.insert((*text).clone()))
            .collect();
        if new.is_empty() {
            continue;
        }
        write!(page, "\n## {path}\n\n").unwrap();
        for text in new {
            if text.trim().contains('\n') {
                writeln!(page, "```\n{}\n```", text.trim_matches('\n')).unwrap();
            } else {
                writeln!(page, "- {}", text.trim()).unwrap();
            }
        }
    }
    page
}

#[test]
fn the_page_of_messages_is_current() {
    let text = page();
    assert!(text.contains("\n### gpulease lease resize\n"), "commands of commands are missing");
    assert!(
        text.contains("\n## src/allocator/hints.rs\n"),
        "the strings of the source are missing"
    );
    let path = root().join(PAGE);
    if std::env::var_os("GPULEASE_WRITE_MESSAGES").is_some() {
        fs::write(path, text).unwrap();
        return;
    }
    let current = fs::read_to_string(path).unwrap_or_default();
    let differs = text.lines().zip(current.lines()).find(|(new, old)| new != old);
    assert!(text == current, "{PAGE} is not current, run `make messages`: {differs:?}");
}

/// Fails with the list if it is not empty.
fn check(found: &[String], rule: &str) {
    assert!(found.is_empty(), "{rule}:\n{}", found.join("\n"));
}

#[test]
fn no_vague_person_is_spoken_of() {
    let mut found = Vec::new();
    for source in sources(&root().join("src")) {
        for (number, line) in source.text.lines().enumerate() {
            for word in vague_persons(line) {
                found.push(format!("{}:{}: {word}", source.path, number + 1));
            }
        }
    }
    check(&found, "`nobody`, `somebody`, `whoever`, `whomever`: name the one who acts");
}

#[test]
fn no_message_has_a_vague_subject() {
    let mut found = Vec::new();
    for (command, text) in help_texts() {
        for sentence in text.split("\n\n").flat_map(sentences) {
            if has_vague_subject(&sentence) {
                found.push(format!("{command}: {sentence}"));
            }
        }
    }
    for Source { path, messages, .. } in sources(&root().join("src")) {
        for sentence in messages.iter().flat_map(|text| sentences(text)) {
            if has_vague_subject(&sentence) {
                found.push(format!("{path}: {sentence}"));
            }
        }
    }
    check(&found, "`what`, `who` or `that` as subject: name the thing");
}

#[test]
fn no_comment_has_a_vague_subject() {
    let mut found = Vec::new();
    for source in sources(&root().join("src")) {
        for (line, comment) in comments(&source.text) {
            for sentence in sentences(&comment).into_iter().filter(|s| has_vague_subject(s)) {
                found.push(format!("{}:{line}: {sentence}", source.path));
            }
        }
    }
    check(&found, "`what`, `who` or `that` as subject: name the thing");
}

#[test]
fn the_names_of_tests_are_short() {
    const LONGEST: usize = 50;
    let mut found = Vec::new();
    for folder in ["src", "tests"] {
        for (path, name) in source::test_names(&root().join(folder)) {
            if name.len() > LONGEST {
                found.push(format!("{path}: {name} ({})", name.len()));
            }
        }
    }
    check(&found, "names of tests over 50 characters: say the case");
}

#[test]
fn what_the_rules_look_for_is_found() {
    let text = "//! A head.\n/// What is known\n/// of it. That is all.\nlet x = 1; // Who asks?\n";
    let found: Vec<String> = comments(text).iter().flat_map(|(_, text)| sentences(text)).collect();
    assert_eq!(found, ["A head", "What is known of it", "That is all", "Who asks?"]);
    assert_eq!(found.iter().filter(|sentence| has_vague_subject(sentence)).count(), 3);
    assert!(!has_vague_subject("whatever it is"));
    assert_eq!(vague_persons("Whoever of nobody's, nobody").count(), 3);
    assert_eq!(vague_persons("anybody is_nobody").count(), 0);

    let text = r#"
        #[derive(Debug)]
        #[error("no `{name}` is there")]
        struct Missing;
        #[cfg(test)]
        mod tests { const A: &str = "not this one"; }
        #[cfg(test)]
        mod others;
        #[serde(rename = "nor this one")]
        fn f() { g(&format!("{a} of \"many\" words"), "word", b"two words", "io.x/y z"); }
    "#;
    let read = source::read(text).unwrap();
    assert_eq!(read.messages, ["no `{name}` is there", "{a} of \"many\" words", "two words"]);
    assert_eq!(read.tests_in, ["others"]);
    let text =
        "proptest! { #[test] fn holds(a in 0..1) {} } #[test] #[ignore] fn one() {} fn no() {}";
    assert_eq!(source::read(text).unwrap().tests, ["holds", "one"]);
    assert!(source::read("fn f( {").is_none());
    let path = PathBuf::from("src/a/mod.rs");
    assert_eq!(source::module_files(&path, "b")[0], Path::new("src/a/b.rs"));
    let path = PathBuf::from("src/a.rs");
    assert_eq!(source::module_files(&path, "b")[1], Path::new("src/a/b/"));
}
