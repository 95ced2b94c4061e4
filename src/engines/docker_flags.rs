//! The flags that docker.service gives to dockerd. dockerd does not start with a setting that is
//! both a flag and in daemon.json (moby, `findConfigurationConflicts`).

use super::docker::{CONFIG, PROGRAM};
use super::systemd::exec_start;
use super::{NAME, Wiring};
use crate::failure::Failure;
use crate::model::code::Code;
use crate::model::text::{shown, shown_line};
use crate::paths::Paths;
use crate::sys::ask::run_bounded;
use crate::sys::handed;
use crate::sys::programs::installed_on;
use std::fs;
use std::path::Path;
use std::time::Duration;

const SERVICE: &str = "docker.service";
const CONFIG_FILE: &str = "--config-file";
const DEFAULT_RUNTIME: &str = "--default-runtime";
const ADD_RUNTIME: &str = "--add-runtime";

/// How long dockerd may take to check a file.
const ANSWER: Duration = Duration::from_secs(10);
/// The least number of the descriptor through which dockerd reads the new text.
const LEAST_FD: i32 = 20;

/// Holds the new text of a daemon.json against the flags of docker.service. Returns notes. Fails
/// with `bad-config` if the service reads another file, or if dockerd would not start with this
/// one.
pub(super) fn check(
    path: &Path,
    old: Option<&str>,
    new: &str,
    wiring: &Wiring<'_>,
    paths: &Paths,
) -> Result<Vec<String>, Failure> {
    let words = exec_start(SERVICE, paths).unwrap_or_default();
    let flags = words.get(1..).unwrap_or_default();
    let read = last(flags, CONFIG_FILE).unwrap_or(CONFIG);
    let is_read = is_same(path, &paths.on_host(Path::new(read)));
    let mut notes = Vec::new();
    if !is_read && last(flags, CONFIG_FILE).is_some() {
        let read = shown(read);
        let text =
            format!("{SERVICE} has dockerd read `{read}` by {CONFIG_FILE}, and not this file");
        if is_same(path, &paths.on_host(Path::new(CONFIG))) {
            return Err(Failure::new(Code::BadConfig, text).hint(format!("add `--config {read}`")));
        }
        notes.push(text);
    }
    if let Some(given) = last(flags, DEFAULT_RUNTIME).filter(|_| wiring.default_runtime) {
        let text = format!(
            "{SERVICE} gives the flag `{DEFAULT_RUNTIME}={}`, and a dockerd with it does not start \
             if `default-runtime` is in `{}` too",
            shown(given),
            path.display()
        );
        if is_read {
            return Err(Failure::new(Code::BadConfig, text).hint(format!(
                "take the flag out of the file that `systemctl cat {SERVICE}` shows, or leave \
                 {DEFAULT_RUNTIME} out here"
            )));
        }
        notes.push(text);
    }
    if values(flags, ADD_RUNTIME).any(|value| value.split('=').next() == Some(NAME)) {
        notes.push(format!(
            "{SERVICE} adds a runtime `{NAME}` by {ADD_RUNTIME}, which `uninstall` leaves: take \
             the flag out"
        ));
    }
    if is_read && let Some(why) = rejected(flags, old, new, paths) {
        let text = format!("dockerd would not start with gpulease in `{}`: {why}", path.display());
        return Err(Failure::new(Code::BadConfig, text).hint(format!(
            "nothing was changed; `systemctl cat {SERVICE}` shows the flags of dockerd"
        )));
    }
    Ok(notes)
}

/// The complaint of the installed dockerd about the new text, unless it has one about the old text
/// too, or cannot check files (before 23.0).
fn rejected(flags: &[String], old: Option<&str>, new: &str, paths: &Paths) -> Option<String> {
    let dockerd = installed_on(PROGRAM, paths).filter(|_| paths.are_own())?;
    let complaint = |text: &str| {
        let file = handed::hand_on(text.as_bytes(), LEAST_FD).ok()?;
        // dockerd has none of our descriptors open.
        let file = format!("/proc/{}/fd/{}", std::process::id(), file.file_name()?.to_str()?);
        let mut args = vec!["--validate".to_owned(), format!("{CONFIG_FILE}={file}")];
        args.extend(without(flags, CONFIG_FILE));
        let finished = run_bounded(&dockerd, &args, ANSWER).ok()?;
        let said = finished.stderr.replace(&file, "the file");
        (!finished.success && !said.contains("--validate")).then(|| shown_line(&said))
    };
    let why = complaint(new)?;
    complaint(old.unwrap_or_default()).is_none().then_some(why)
}

/// The values of a flag, as `--flag=value` or `--flag value`.
fn values<'a>(flags: &'a [String], name: &'a str) -> impl Iterator<Item = &'a str> {
    flags.iter().enumerate().filter_map(move |(at, word)| {
        let rest = word.strip_prefix(name)?;
        if rest.is_empty() { flags.get(at + 1).map(String::as_str) } else { rest.strip_prefix('=') }
    })
}

fn last<'a>(flags: &'a [String], name: &'a str) -> Option<&'a str> {
    values(flags, name).last()
}

/// The flags without those of a name.
fn without(flags: &[String], name: &str) -> Vec<String> {
    let mut rest = Vec::new();
    let mut words = flags.iter();
    while let Some(word) = words.next() {
        match word.strip_prefix(name) {
            Some("") => drop(words.next()),
            Some(value) if value.starts_with('=') => {}
            _ => rest.push(word.clone()),
        }
    }
    rest
}

fn is_same(a: &Path, b: &Path) -> bool {
    a == b || fs::canonicalize(a).ok().is_some_and(|a| Some(a) == fs::canonicalize(b).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host whose docker.service has these flags, and what a check of a file there comes to.
    fn check_with(flags: &str, file: &str, default_runtime: bool) -> Result<Vec<String>, Failure> {
        let dir = tempfile::tempdir().unwrap();
        let units = dir.path().join("etc/systemd/system");
        fs::create_dir_all(&units).unwrap();
        let unit = format!("[Service]\nExecStart=/usr/bin/dockerd -H fd:// {flags}\n");
        fs::write(units.join(SERVICE), unit).unwrap();
        let paths = Paths::below(dir.path());
        let wiring = Wiring { runtime: "/x", default_runtime, hook: "", hooks_dir: "" };
        check(&paths.on_host(Path::new(file)), None, "{}", &wiring, &paths)
    }

    #[test]
    fn a_default_runtime_of_the_unit_is_refused() {
        for flag in ["--default-runtime=nvidia", "--default-runtime nvidia"] {
            let failure = check_with(flag, CONFIG, true).unwrap_err();
            assert!(failure.message.contains("`--default-runtime=nvidia`"), "{}", failure.message);
            assert!(failure.hint.unwrap().contains("systemctl cat docker.service"));
            assert_eq!(check_with(flag, CONFIG, false), Ok(Vec::new()));
            // Another dockerd may read another file.
            let notes = check_with(flag, "/srv/daemon.json", true).unwrap();
            assert!(notes[0].contains("does not start"), "{notes:?}");
        }
        assert_eq!(check_with("--default-runtimes=x", CONFIG, true), Ok(Vec::new()));
    }

    #[test]
    fn the_file_that_the_unit_names_is_the_one_to_edit() {
        let flags = "--config-file /srv/daemon.json --default-runtime=x";
        let failure = check_with(flags, CONFIG, false).unwrap_err();
        assert!(failure.message.contains("`/srv/daemon.json`"), "{}", failure.message);
        assert_eq!(failure.hint.unwrap(), "add `--config /srv/daemon.json`");
        assert_eq!(check_with(flags, "/srv/daemon.json", false), Ok(Vec::new()));
        check_with(flags, "/srv/daemon.json", true).unwrap_err();
        assert_eq!(check_with(flags, "/other.json", false).unwrap().len(), 1);
    }

    #[test]
    fn a_runtime_of_ours_among_the_flags_is_noted() {
        let notes = check_with("--add-runtime=gpulease=/x --add-runtime nvidia=/y", CONFIG, false);
        assert!(notes.unwrap()[0].contains("--add-runtime"));
        assert_eq!(check_with("--add-runtime=nvidia=/y", CONFIG, false), Ok(Vec::new()));
    }

    #[test]
    fn the_flags_without_one_keep_their_order() {
        let flags = ["-D", "--config-file", "/a", "--b=1", "--config-file=/c", "-H", "x"];
        let flags: Vec<String> = flags.map(str::to_owned).into();
        assert_eq!(without(&flags, CONFIG_FILE), ["-D", "--b=1", "-H", "x"]);
    }
}
