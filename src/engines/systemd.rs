//! The command line of a service, as systemd reads it from a unit and its drop-ins.

use super::files::{drop_ins, read_text};
use crate::paths::Paths;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The directories of units, the first of which wins (systemd.unit(5)).
const UNIT_DIRS: [&str; 5] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

/// The words of a service's `ExecStart`, with its variables replaced; `None` if there is no such
/// unit, or if it starts nothing.
pub(super) fn exec_start(service: &str, paths: &Paths) -> Option<Vec<String>> {
    let dirs = UNIT_DIRS.map(|dir| paths.on_host(Path::new(dir)));
    let unit = dirs.iter().map(|dir| dir.join(service)).find(|path| path.exists())?;
    // A drop-in replaces those of the same name in later directories.
    let mut drop_in_files: BTreeMap<_, PathBuf> = BTreeMap::new();
    for dir in &dirs {
        for path in drop_ins(&dir.join(format!("{service}.d")), "*.conf") {
            if let Some(name) = path.file_name() {
                drop_in_files.entry(name.to_owned()).or_insert(path);
            }
        }
    }
    let mut command = None;
    let mut variables = BTreeMap::new();
    // A file that systemd cannot read either has no settings.
    let text = |path: &Path| read_text(path).ok().flatten().unwrap_or_default();
    for file in std::iter::once(unit).chain(drop_in_files.into_values()) {
        for (key, value) in service_settings(&text(&file)) {
            match key.as_str() {
                "ExecStart" => command = Some(value).filter(|value| !value.is_empty()),
                "Environment" if value.is_empty() => variables.clear(),
                "Environment" => variables.extend(words(&value).iter().filter_map(assignment)),
                "EnvironmentFile" => {
                    let path = paths.on_host(Path::new(value.trim_start_matches('-')));
                    let text = text(&path);
                    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
                    variables.extend(lines.filter_map(|line| assignment(words(line).join(" "))));
                }
                _ => {}
            }
        }
    }
    let command = command?;
    let mut all = words(command.trim_start_matches(['@', '-', ':', '+', '!', '|']));
    if command.starts_with('@') && all.len() > 1 {
        all.remove(1);
    }
    Some(all.iter().flat_map(|word| expanded(word, &variables)).collect())
}

/// The settings of the section `[Service]`, in their order. A line that ends with a backslash goes
/// on in the next one.
fn service_settings(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut is_service = false;
    let mut whole = String::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(part) = line.strip_suffix('\\') {
            whole.push_str(part);
            whole.push(' ');
            continue;
        }
        whole.push_str(line);
        let line = std::mem::take(&mut whole);
        if line.starts_with('[') {
            is_service = line == "[Service]";
        } else if let Some((key, value)) = line.split_once('=').filter(|_| is_service) {
            found.push((key.trim().to_owned(), value.trim().to_owned()));
        }
    }
    found
}

fn assignment(text: impl AsRef<str>) -> Option<(String, String)> {
    let (name, value) = text.as_ref().split_once('=')?;
    Some((name.trim().to_owned(), value.trim().to_owned()))
}

/// The words of a line: quotes keep blanks, a backslash keeps the next character.
fn words(line: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        match c {
            '"' | '\'' if quote == Some(c) => quote = None,
            '"' | '\'' if quote.is_none() => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            '\\' => word.get_or_insert_default().extend(rest.next()),
            c if c.is_whitespace() && quote.is_none() => all.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    all.extend(word);
    all
}

/// A word with its variables: `$NAME` alone becomes the words of the value, `${NAME}` is replaced
/// where it stands.
fn expanded(word: &str, variables: &BTreeMap<String, String>) -> Vec<String> {
    let value = |name: &str| variables.get(name).map(String::as_str).unwrap_or_default();
    if let Some(name) = word.strip_prefix('$').filter(|name| !name.starts_with('{')) {
        return words(value(name));
    }
    let mut out = String::new();
    let mut rest = word;
    while let Some((before, name, after)) = rest.split_once("${").and_then(|(before, tail)| {
        let (name, after) = tail.split_once('}')?;
        Some((before, name, after))
    }) {
        out.push_str(before);
        out.push_str(value(name));
        rest = after;
    }
    out.push_str(rest);
    vec![out]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// The command of a service whose files are these.
    fn command(files: &[(&str, &str)]) -> Option<String> {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        exec_start("x.service", &Paths::below(dir.path())).map(|words| words.join("|"))
    }

    const UNIT: &str = "usr/lib/systemd/system/x.service";

    #[test]
    fn drop_ins_are_read_in_the_order_of_their_names() {
        let unit = (UNIT, "[Unit]\nExecStart=no\n[Service]\nExecStart=/bin/x -H fd:// \\\n  --a\n");
        assert_eq!(command(&[unit]).unwrap(), "/bin/x|-H|fd://|--a");
        let first =
            ("etc/systemd/system/x.service.d/a.conf", "[Service]\nExecStart=\nExecStart=/a");
        let last = (
            "usr/lib/systemd/system/x.service.d/b.conf",
            "[Service]\nExecStart=\nExecStart=@/b b --c",
        );
        let hidden = ("etc/systemd/system/x.service.d/b.conf", "");
        assert_eq!(command(&[unit, first]).unwrap(), "/a");
        assert_eq!(command(&[unit, first, last]).unwrap(), "/b|--c");
        assert_eq!(command(&[unit, first, last, hidden]).unwrap(), "/a");
        assert_eq!(command(&[unit, (first.0, "[Service]\nExecStart=\n")]), None);
        assert_eq!(command(&[first]), None);
        let own = ("etc/systemd/system/x.service", "[Service]\nExecStart=-/own\n");
        assert_eq!(command(&[unit, own]).unwrap(), "/own");
    }

    #[test]
    fn variables_and_quotes_are_resolved() {
        let text = "[Service]\nEnvironment=\"A=1 2\" B=3\nEnvironmentFile=-/etc/default/x\n\
                    ExecStart=/x $OPTS ${A}-${B} \"a b\" c\\ d $NONE\n";
        let defaults = ("etc/default/x", "# OPTS=no\nOPTS=\"--one --two='2 2'\"\n");
        assert_eq!(command(&[(UNIT, text), defaults]).unwrap(), "/x|--one|--two=2 2|1 2-3|a b|c d");
        assert_eq!(command(&[(UNIT, text)]).unwrap(), "/x|1 2-3|a b|c d");
    }
}
