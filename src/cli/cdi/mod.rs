//! `gpulease cdi`: specs for engines that take `--device nvidia.com/gpu=0`, and
//! those that are there.

mod args;

pub(super) use args::{CDI_AFTER, CdiAction};

use super::output::{Answer, Output, Paint};
use super::table::Table;
use super::words;
use crate::failure::Failure;
use crate::host::Host;
use crate::inventory::cdi::{self, CdiDocument, Names};
use crate::model::code::Code;
use crate::model::device::{Device, Vendor};
use crate::model::text::shown;
use crate::sys::atomic;
use args::{Format, Generate, Name};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// Whoever applies a spec may read it; only its owner may change it, or it is ignored.
const MODE: u32 = 0o644;

/// One of the commands.
pub(super) fn run(host: &Host, action: &CdiAction, output: &Output) -> Result<Answer, Failure> {
    match action {
        CdiAction::Generate(wish) => generate(host, wish, output),
        CdiAction::List => list(host, output),
    }
}

fn generate(host: &Host, wish: &Generate, output: &Output) -> Result<Answer, Failure> {
    let inventory = host.inventory_now(host.config()?)?;
    let names =
        Names { index: wish.names.contains(&Name::Index), uuid: wish.names.contains(&Name::Uuid) };
    let wanted = |vendor: &Vendor| wish.vendor.is_none_or(|one| one == *vendor);
    let vendors = Vendor::ALL.into_iter().filter(wanted);
    let specs: Vec<(Vendor, CdiDocument)> = vendors
        .filter_map(|vendor| Some((vendor, cdi::generate(&inventory, vendor, names, &host.paths)?)))
        .collect();
    if specs.is_empty() {
        let text = "the node has no device that a spec could be of";
        return Err(
            Failure::new(Code::NoMatch, text).hint("`gpulease devices` lists the node's devices")
        );
    }
    let is_simulated =
        |(_, spec): &(Vendor, CdiDocument)| spec.annotations.contains_key(cdi::SIMULATED);
    if !wish.simulated && specs.iter().any(is_simulated) {
        let text = "the node's devices are simulated: no program could use them by a spec";
        return Err(
            Failure::new(Code::BadRequest, text).hint("add --simulated to try it all the same")
        );
    }
    make_spec_dir(host, &wish.output)?;
    let is_dir = wish.output.is_dir();
    if !is_dir && specs.len() > 1 {
        let kinds: Vec<&str> = specs.iter().map(|(vendor, _)| vendor.as_str()).collect();
        let text = format!(
            "a spec is of one vendor's devices, and the node has {}'s",
            kinds.join("'s and ")
        );
        return Err(Failure::new(Code::BadRequest, text)
            .hint("choose one by --vendor, or name a directory by --output"));
    }
    if wish.output == Path::new("-") {
        let text = specs.iter().map(|(_, spec)| written(spec, wish.format.unwrap_or(Format::Yaml)));
        let text = text.collect::<Result<String, Failure>>()?;
        let values: Vec<Value> = specs.iter().map(|(_, spec)| value(spec)).collect();
        return Ok(Answer::file(text, json!({ "specs": values })));
    }
    let mut text = String::new();
    let mut files = Vec::new();
    for (vendor, spec) in &specs {
        let (path, format) = place(wish, *vendor, is_dir);
        refuse_conflict(host, &path, spec)?;
        atomic::create(&path, written(spec, format)?.as_bytes(), MODE)?;
        let names = words::count(spec.devices.len(), "name");
        text.push_str(&format!("wrote `{}`: {}, {names}\n", path.display(), spec.kind));
        files.push(json!({ "path": path.display().to_string(), "kind": spec.kind,
            "devices": spec.devices.iter().map(|device| device.name.as_str()).collect::<Vec<_>>() }));
    }
    if specs.iter().any(is_simulated) {
        let what = "these devices are simulated: no program can compute on them";
        text.push_str(&output.line(Paint::Yellow, "note:", what));
    }
    Ok(Answer::new(text, json!({ "files": files })))
}

/// A directory of specs that is not there yet, as on a host where nobody has written one.
fn make_spec_dir(host: &Host, output: &Path) -> Result<(), Failure> {
    for dir in cdi::SPEC_DIRS.map(|dir| host.paths.on_host(Path::new(dir))) {
        if (output == dir || output.parent() == Some(&dir)) && !dir.exists() {
            atomic::make_dir(&dir, 0o755)?;
        }
    }
    Ok(())
}

fn place(wish: &Generate, vendor: Vendor, is_dir: bool) -> (PathBuf, Format) {
    if is_dir {
        let format = wish.format.unwrap_or(Format::Yaml);
        return (wish.output.join(format!("gpulease-{vendor}.{}", format.extension())), format);
    }
    let format = wish.format.or_else(|| Format::of(&wish.output)).unwrap_or(Format::Yaml);
    (wish.output.clone(), format)
}

fn value(spec: &CdiDocument) -> Value {
    serde_json::to_value(spec).unwrap_or(Value::Null)
}

fn written(spec: &CdiDocument, format: Format) -> Result<String, Failure> {
    let fault =
        |what: String| Failure::new(Code::BadInventory, format!("cannot write a spec: {what}"));
    match format {
        Format::Yaml => serde_norway::to_string(spec).map_err(|error| fault(error.to_string())),
        Format::Json => serde_json::to_string_pretty(spec)
            .map(|text| text + "\n")
            .map_err(|error| fault(error.to_string())),
    }
}

/// Two specs of one directory that name the same device rule each other out for every engine.
fn refuse_conflict(host: &Host, path: &Path, spec: &CdiDocument) -> Result<(), Failure> {
    let real = |path: &Path| fs::canonicalize(path).ok();
    let dir = path.parent().and_then(real);
    let others = cdi::read_all(&host.paths).files;
    let beside = others.iter().filter(|other| {
        other.path.parent().and_then(real) == dir && other.path.file_name() != path.file_name()
    });
    for other in beside.filter(|other| other.spec.kind == spec.kind) {
        let has = |name: &str| other.spec.devices.iter().any(|device| device.name == name);
        if let Some(device) = spec.devices.iter().find(|device| has(&device.name)) {
            let (name, other) = (spec.qualified(&device.name), other.path.display());
            let text = format!("`{other}` describes `{name}` too, and engines would go by neither");
            return Err(Failure::new(Code::BadRequest, text)
                .hint("take that file away, or write to another directory"));
        }
    }
    Ok(())
}

fn list(host: &Host, output: &Output) -> Result<Answer, Failure> {
    let inventory = host.inventory_now(host.config()?)?;
    let specs = cdi::read(&host.paths);
    let listed = cdi::list(&specs, &inventory.node, &host.paths);
    let devices: Vec<Value> = listed
        .iter()
        .map(|entry| {
            json!({
                "name": entry.name,
                "uuid": entry.device.map(|device| &device.uuid),
                "index": entry.device.map(|device| device.place().to_string()),
                "spec": entry.file.path.display().to_string(),
                "cdiVersion": entry.file.spec.cdi_version,
            })
        })
        .collect();
    let json = json!({ "devices": devices, "notes": specs.notes });
    let mut text = if listed.is_empty() {
        format!("no devices in {}\n", cdi::SPEC_DIRS.join(", "))
    } else {
        Table::of(&listed)
            .left("NAME", 0, |entry| shown(&entry.name))
            .left("INDEX", 0, |entry| words::or_dash(entry.device.map(Device::place)))
            .left("UUID", 2, |entry| words::or_dash(entry.device.map(|device| &device.uuid)))
            .left("SPEC", 1, |entry| shown(&entry.file.path.display().to_string()))
            .render(false, output)
    };
    for note in &specs.notes {
        text.push_str(&output.line(Paint::Yellow, "note:", note));
    }
    Ok(Answer::new(text, json))
}
