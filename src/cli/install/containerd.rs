//! containerd: a runtime of the CRI plugin, in config.toml.
//!
//! Where the plugin's table is depends on the version of the file. containerd 1.x reads version 1
//! and 2, containerd 2.x all, though of version 1 nothing of this plugin; a file without a
//! version is of version 1, a file that is not there is as good as one with nothing in it.
//! Imported files are left alone.

use super::tables::{self, Layout, Setting, Wanted};
use super::{ANNOTATIONS, Edit, Fault, NAME, Wiring};
use toml_edit::{DocumentMut, Item};

const V1: &str = "cri";
const V2: &str = "io.containerd.grpc.v1.cri";
const V3: &str = "io.containerd.cri.v1.runtime";

/// What a file without anything in it is made: both 1.x and 2.x read it.
const NEW_VERSION: i64 = 2;
/// containerd 2.3's; the plugin's table is that of version 3.
const LAST_VERSION: i64 = 4;

const DEFAULT: &str = "default_runtime_name";
const RUNC: &str = "runc";
const SHIM: &str = "io.containerd.runc.v2";

fn version(document: &DocumentMut) -> i64 {
    document.get("version").map_or(1, |item| item.as_integer().unwrap_or(-1))
}

/// The plugin whose table has the runtimes.
fn plugin(document: &DocumentMut) -> Result<&'static str, Fault> {
    if document.as_table().is_empty() {
        return Ok(V2);
    }
    match version(document) {
        // 1.x finds the plugin of a version 1 by its short name alone, 2.1 by no name at all. With
        // the long one somebody has a mistake to find: another table would only hide it.
        0 | 1 if tables::find(document, &["plugins", V2]).is_some() => Ok(V2),
        0 | 1 => Ok(V1),
        2 => Ok(V2),
        3..=LAST_VERSION => Ok(V3),
        _ => Err(Fault::Shape { key: "`version`".to_owned(), expected: "a number from 1 to 4" }),
    }
}

/// Adds the runtime, or sets right what is there.
pub(super) fn wire(body: &str, wiring: &Wiring<'_>) -> Result<Edit, Fault> {
    let document = tables::parse(body)?;
    let plugin = plugin(&document)?;
    let layout = Layout { table: &["plugins", plugin, "containerd"], default: DEFAULT };
    let setting =
        |table: &[&'static str], key, value| Setting { table: layout.below(table), key, value };

    let mut settings = Vec::new();
    if document.as_table().is_empty() {
        let value = Wanted::Number(NEW_VERSION);
        settings.push(Setting { table: Vec::new(), key: "version", value });
    }
    settings.extend(layout.by_default(wiring));
    let runtimes = tables::find(&document, &layout.below(&["runtimes"]));
    if runtimes.is_none_or(|table| table.is_empty()) {
        // In containerd 1.x the runtimes of the file replace the built-in ones: with ours alone
        // there would be no runc any more, and without its default the plugin does not load.
        settings.push(setting(&["runtimes", RUNC], "runtime_type", Wanted::Text(SHIM)));
    }
    settings.push(setting(&["runtimes", NAME], "runtime_type", Wanted::Text(SHIM)));
    for key in ["pod_annotations", "container_annotations"] {
        settings.push(setting(&["runtimes", NAME], key, Wanted::Includes(ANNOTATIONS)));
    }
    let options = &["runtimes", NAME, "options"];
    settings.push(setting(options, "BinaryName", Wanted::Text(wiring.runtime)));
    // A runtime whose cgroup driver is not the kubelet's has its pods killed over and over.
    let of_runc = tables::find(&document, &layout.below(&["runtimes", RUNC, "options"]));
    if let Some(is_systemd) = of_runc.and_then(|table| table.get("SystemdCgroup")?.as_bool()) {
        settings.push(setting(options, "SystemdCgroup", Wanted::Bool(is_systemd)));
    }
    let mut edit = tables::wire(body, &settings)?;
    edit.notes = notes(&document, plugin);
    Ok(edit)
}

fn notes(document: &DocumentMut, plugin: &str) -> Vec<String> {
    let list = |key: &str| document.get(key).and_then(Item::as_array);
    let mut notes = Vec::new();
    let is_cri = |name: &str| [V1, V2, V3].contains(&name);
    if list("disabled_plugins").is_some_and(|l| l.iter().filter_map(|v| v.as_str()).any(is_cri)) {
        notes.push(
            "`disabled_plugins` turns the CRI plugin off, and with it the runtime".to_owned(),
        );
    }
    if list("imports").is_some_and(|imports| !imports.is_empty()) {
        notes.push(format!(
            "`imports` is not followed; in containerd 1.x an imported `plugins.\"{plugin}\"` \
             replaces the one of this file"
        ));
    }
    if matches!(version(document), 0 | 1) && !document.as_table().is_empty() {
        notes.push(if plugin == V1 {
            format!("the file is of version 1: containerd 2 does not look at its `plugins.{V1}`")
        } else {
            format!("the file has no `version`: containerd does not look at its `plugins.\"{V2}\"`")
        });
    }
    notes
}

pub(super) fn unwire(body: &str, before: Option<&str>, added: &[String]) -> Result<Edit, Fault> {
    let plugin = plugin(&tables::parse(body)?)?;
    let layout = Layout { table: &["plugins", plugin, "containerd"], default: DEFAULT };
    let runtimes = layout.below(&["runtimes"]);
    let mut edit = tables::unwire(body, before, added, &layout, keeps_runc)?;
    // The runc that was added for containerd 1.x, where nobody has come to need it.
    let is_lone = |document: &DocumentMut| {
        let runc = tables::find(document, &layout.below(&["runtimes", RUNC]));
        tables::find(document, &runtimes).is_some_and(|table| table.len() == 1)
            && runc.is_some_and(|table| table.len() == 1 && table.contains_key("runtime_type"))
    };
    let was = before.and_then(|before| tables::parse(before).ok());
    let had_none = was.is_some_and(|was| tables::find(&was, &runtimes).is_none());
    if had_none && is_lone(&tables::parse(&edit.text)?) {
        edit.text = tables::take_out(&edit.text, before, &runtimes, RUNC)?;
    }
    Ok(edit)
}

/// Whether runc is still there for those who have put a runtime beside it.
fn keeps_runc(document: &DocumentMut) -> bool {
    [V1, V2, V3].iter().all(|plugin| {
        tables::find(document, &["plugins", plugin, "containerd", "runtimes"])
            .is_none_or(|runtimes| runtimes.is_empty() || runtimes.contains_key(RUNC))
    })
}

/// Whether a file has the runtime.
pub(super) fn is_wired(document: &DocumentMut) -> bool {
    [V1, V2, V3].iter().any(|plugin| {
        Layout { table: &["plugins", plugin, "containerd"], default: DEFAULT }.is_wired(document)
    })
}
