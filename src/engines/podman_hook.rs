//! Podman without the shim: its `precreate` hook, in a directory of its own, and a drop-in of
//! containers.conf that names the directory.
//!
//! The directory is not the default one, /usr/share/containers/oci/hooks.d: `podman build` and
//! CRI-O read that too, know no stage `precreate`, and fail. It is not below /etc/gpulease, which
//! some users may not read: rootless Podman reads the directory too. The drop-in appends to the list
//! of directories, which Podman can since 4.8: the default directory stays, and so do those of other
//! drop-ins.

use super::toml_settings::{self, Setting, SettingValue};
use super::{EditError, EditedText, Wiring};
use crate::failure::Failure;
use crate::injection::HOOK_NAME;
use crate::model::code::Code;
use crate::model::text::shown_line;
use serde_json::Value;
use std::path::{Path, PathBuf};
use toml_edit::{DocumentMut, Item};

const ENGINE: &[&str] = &["engine"];
const HOOKS_DIR: &str = "hooks_dir";

pub(super) const DROP_IN: &str = "/etc/containers/containers.conf.d/90-gpulease-precreate.conf";
pub(super) const HOOK_FILE: &str = "/etc/containers/gpulease-hooks.d/60-gpulease.json";
/// The directory that `install` makes for the hook.
pub const OWN_HOOKS_DIR: &str = "/etc/containers/gpulease-hooks.d";

/// The directory's name, by which it is known wherever it lies.
const DIR_NAME: &str = "gpulease-hooks.d";
/// The hook's file in it.
const FILE_NAME: &str = "60-gpulease.json";

/// Checks the answer of `podman --version`. Fails for a Podman older than 5. Before 4.8, Podman
/// fails at every command because of the drop-in's list. An answer without a version passes.
pub fn check_version(said: &str) -> Result<(), Failure> {
    let version = said.split_whitespace().find_map(|word| word.split_once('.'));
    let Some(Ok(major)) = version.map(|(major, _)| major.parse::<u32>()) else { return Ok(()) };
    if major >= 5 {
        return Ok(());
    }
    let text = format!("this is {}: its hooks need Podman 5 or later", shown_line(said.trim()));
    Err(Failure::new(Code::NotSupportedYet, text)
        .hint("`gpulease install podman` wires the runtime, which needs no hook"))
}

/// The hook's file that belongs to a drop-in: its directory lies beside the one of the drop-ins.
pub fn hook_file_of(drop_in: &Path) -> Option<PathBuf> {
    Some(drop_in.parent()?.parent()?.join(DIR_NAME).join(FILE_NAME))
}

/// The file that has Podman call the hook, for every container: a request may be in annotations, in
/// variables or in devices, and a condition of the file would miss some.
fn text(program: &str) -> String {
    let program = Value::from(program);
    format!(
        r#"{{
  "version": "1.0.0",
  "hook": {{
    "path": {program},
    "args": ["{HOOK_NAME}", "precreate"],
    "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
    "timeout": 30
  }},
  "when": {{ "always": true }},
  "stages": ["precreate"]
}}
"#
    )
}

/// The hook's file. A file that calls the same program for every container stays as it is: its
/// arguments and its time-out are the administrator's.
pub(super) fn wire_hook(body: &str, wiring: &Wiring<'_>) -> EditedText {
    if calls_our_hook(body).is_some_and(|program| program == wiring.hook) {
        return EditedText::new(body.to_owned());
    }
    let mut edit = EditedText::new(text(wiring.hook));
    if !body.trim().is_empty() && calls_our_hook(body).is_none() {
        edit.notes.push("the file had another hook than gpulease's, and is replaced".into());
    }
    edit
}

/// The program of ours that a file has Podman call for every container.
pub fn calls_our_hook(body: &str) -> Option<String> {
    let hook: Value = serde_json::from_str(body).ok()?;
    let program = hook.get("hook")?.get("path")?.as_str()?;
    let argument = hook.get("hook")?.get("args")?.get(1)?.as_str()?;
    let always = hook.get("when")?.get("always")?.as_bool()?;
    let stages = hook.get("stages")?.as_array()?;
    let is_ours = Path::new(program).ends_with(HOOK_NAME)
        && argument == "precreate"
        && always
        && stages.iter().all(|stage| stage == "precreate")
        && !stages.is_empty();
    is_ours.then(|| program.to_owned())
}

/// Adds the directory to those that Podman reads.
pub(super) fn wire_dir(body: &str, wiring: &Wiring<'_>) -> Result<EditedText, EditError> {
    let value = SettingValue::Appended(wiring.hooks_dir);
    toml_settings::wire(body, &[Setting { table: ENGINE.to_vec(), key: HOOKS_DIR, value }])
}

/// Takes the directory out, and the list with it if it was for that alone.
pub(super) fn unwire_dir(body: &str, before: Option<&str>) -> Result<EditedText, EditError> {
    let mut document = toml_settings::parse(body)?;
    let Some(list) = hooks_dirs_mut(&mut document) else {
        return Ok(EditedText::new(body.to_owned()));
    };
    list.retain(|value| !value.as_str().is_some_and(is_ours));
    if list.iter().any(toml_edit::Value::is_str) {
        return Ok(EditedText::new(document.to_string()));
    }
    Ok(EditedText::new(toml_settings::take_out(body, before, ENGINE, HOOKS_DIR)?))
}

fn is_ours(dir: &str) -> bool {
    is_own_hooks_dir(Path::new(dir))
}

fn hooks_dirs_mut(document: &mut DocumentMut) -> Option<&mut toml_edit::Array> {
    document.get_mut("engine")?.get_mut(HOOKS_DIR)?.as_array_mut()
}

/// Whether a directory is the one for the hook, by its name.
pub fn is_own_hooks_dir(dir: &Path) -> bool {
    dir.file_name().is_some_and(|name| name == DIR_NAME)
}

/// Whether a file names the directory.
pub(super) fn is_dir_wired(body: &str) -> bool {
    let Ok(document) = toml_settings::parse(body) else { return false };
    let list = toml_settings::find(&document, ENGINE).and_then(|table| table.get(HOOKS_DIR));
    let list = list.and_then(Item::as_array);
    list.is_some_and(|list| list.iter().any(|value| value.as_str().is_some_and(is_ours)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIRING: Wiring<'_> = Wiring {
        runtime: "",
        default_runtime: false,
        hook: "/usr/local/bin/gpulease-hook",
        hooks_dir: "/etc/containers/gpulease-hooks.d",
    };

    #[test]
    fn a_podman_older_than_5_is_refused() {
        for fits in ["podman version 5.4.2\n", "podman version 10.0.0-dev", "", "nonsense"] {
            assert_eq!(check_version(fits).ok(), Some(()), "{fits}");
        }
        let failure = check_version("podman version 4.3.1\n").unwrap_err();
        assert_eq!(
            failure.message,
            "this is podman version 4.3.1: its hooks need Podman 5 or later"
        );
    }

    #[test]
    fn the_example_files_are_the_ones_written() {
        let hook = include_str!("../../hooks/podman-precreate/60-gpulease.json");
        let drop_in = include_str!("../../hooks/podman-precreate/90-gpulease-precreate.conf");
        assert_eq!(wire_hook("", &WIRING).text, hook);
        assert_eq!(wire_dir("", &WIRING).unwrap().text, drop_in);
        let file = hook_file_of(Path::new("/etc/containers/containers.conf.d/90-x.conf")).unwrap();
        assert_eq!(file, Path::new(WIRING.hooks_dir).join(FILE_NAME));
    }

    #[test]
    fn arguments_stay_and_the_program_is_corrected() {
        let hook = wire_hook("", &WIRING).text;
        let edited =
            hook.replace(r#""precreate"],"#, r#""precreate", "--gpulease-config", "/x"],"#);
        assert_ne!(edited, hook);
        assert_eq!(wire_hook(&edited, &WIRING).text, edited);
        let elsewhere = hook.replace("/usr/local/bin", "/opt");
        let edit = wire_hook(&elsewhere, &WIRING);
        assert_eq!((edit.text, edit.notes.len()), (hook.clone(), 0));
        for odd in
            ["{", "{}", &hook.replace("true", "false"), &hook.replace("precreate\"]", "x\"]")]
        {
            let edit = wire_hook(odd, &WIRING);
            assert_eq!((edit.text, edit.notes.len()), (hook.clone(), 1), "{odd}");
        }
    }

    #[test]
    fn the_directory_goes_in_and_out_of_any_list() {
        for (text, wired) in [
            (
                "[engine]\nhooks_dir = [\"/x\"]\n",
                "[\"/x\", \"/etc/containers/gpulease-hooks.d\", { append = true }]",
            ),
            (
                "engine.hooks_dir = [\"/x\", {append=true}]\n",
                "{append=true}, \"/etc/containers/gpulease-hooks.d\"]",
            ),
            (
                "# nothing\n",
                "hooks_dir = [\"/etc/containers/gpulease-hooks.d\", { append = true }]",
            ),
        ] {
            let edit = wire_dir(text, &WIRING).unwrap();
            assert!(edit.text.contains(wired), "{}", edit.text);
            assert!(is_dir_wired(&edit.text));
            assert_eq!(wire_dir(&edit.text, &WIRING).unwrap().text, edit.text);
            let back = unwire_dir(&edit.text, Some(text)).unwrap().text;
            assert!(!is_dir_wired(&back), "{back}");
            assert_eq!(back.contains("/x"), text.contains("/x"), "{back}");
        }
        assert!(wire_dir("engine = 1\n", &WIRING).is_err());
    }
}
