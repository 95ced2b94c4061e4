//! What removes directories never goes into what is mounted below them, and nothing of the host's
//! `/dev` is mounted where a directory is removed later: one clean-up that did both would leave the
//! host without its nodes.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};

/// Every text of the project that may be run.
fn texts() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut todo: Vec<PathBuf> =
        ["Makefile", "src", "tests", "benches", "packaging", ".ci"].map(|n| root.join(n)).into();
    let mut texts = Vec::new();
    while let Some(path) = todo.pop() {
        if path.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.file_name().is_some_and(|name| name != "cleanups.rs")
            && let Ok(text) = fs::read_to_string(&path)
        {
            texts.push((path, text));
        }
    }
    assert!(texts.len() > 300, "{}", texts.len());
    texts
}

/// The commands of this name with their words, in scripts and in scripts within Rust.
fn commands(text: &str, name: &str) -> Vec<Vec<String>> {
    let is_end = |word: &&&str| !matches!(**word, "&&" | "||" | "|" | "do" | "then");
    let mut found = Vec::new();
    // A function of that name is another thing.
    let text = text.replace(&format!("{name}("), "").replace("\\\n", " ");
    for line in text.lines() {
        let between = |c: char| c.is_whitespace() || "`;()'\"[],".contains(c);
        let words: Vec<&str> = line.split(between).filter(|word| !word.is_empty()).collect();
        for at in (0..words.len()).filter(|at| words[*at] == name) {
            let command = words[at..].iter().take_while(is_end);
            found.push(command.map(|word| (*word).to_owned()).collect());
        }
    }
    found
}

fn goes_into_mounts(words: &[String]) -> bool {
    let is_short = |word: &str| word.starts_with('-') && !word.starts_with("--");
    let recurses =
        |word: &String| word == "--recursive" || (is_short(word) && word.contains(['r', 'R']));
    words.iter().any(recurses) && !words.iter().any(|word| word == "--one-file-system")
}

fn mounts_dev(words: &[String]) -> bool {
    let is_bind = |word: &String| ["bind", "-B", "-R"].iter().any(|bind| word.contains(bind));
    let is_dev = |word: &&String| *word == "/" || *word == "/dev" || word.starts_with("/dev/");
    let is_option = |word: &&String| word.starts_with('-') || word.contains("bind");
    let places = words.iter().skip(1).filter(|word| !is_option(word));
    words.iter().any(is_bind) && places.take(1).any(|first| is_dev(&first))
}

#[test]
fn what_removes_directories_stays_out_of_mounts() {
    for (path, text) in texts() {
        for words in commands(&text, "rm") {
            assert!(!goes_into_mounts(&words), "{}: {words:?}", path.display());
        }
    }
}

#[test]
fn nothing_of_the_hosts_dev_is_mounted_elsewhere() {
    for (path, text) in texts() {
        for words in commands(&text, "mount") {
            assert!(!mounts_dev(&words), "{}: {words:?}", path.display());
        }
    }
}

#[test]
fn the_spellings_of_both_are_known() {
    let removes = |text: &str| commands(text, "rm").iter().any(|words| goes_into_mounts(words));
    for text in [
        "rm -rf \"$d\"",
        "x && rm -fr x",
        "trap 'rm -r x' EXIT",
        "if a; then rm --recursive x; fi",
        "rm -f -R \\\n  x",
        "Command::new(\"rm\").args([\"-rf\", path])",
        "(cd x;rm -rf y)",
    ] {
        assert!(removes(text), "{text}");
    }
    for text in ["rm -f x", "rm x-r", "rm -rf --one-file-system x", "docker rm x", "rm --force x"] {
        assert!(!removes(text), "{text}");
    }
    let mounts = |text: &str| commands(text, "mount").iter().any(|words| mounts_dev(words));
    for text in ["mount --rbind /dev \"$r/dev\"", "mount -o bind /dev/pts x", "mount -B / x"] {
        assert!(mounts(text), "{text}");
    }
    for text in ["mount --rbind \"$x\" /dev", "mount -t tmpfs none /dev", "mount --bind /srv x"] {
        assert!(!mounts(text), "{text}");
    }
}
