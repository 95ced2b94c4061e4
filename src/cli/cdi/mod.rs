//! `gpulease cdi`: writes CDI specs for engines that take `--device nvidia.com/gpu=0`, and lists
//! the devices of the host's.

mod args;

pub(super) use args::{CDI_AFTER, CdiAction};

use super::output::{Answer, Output, Paint};
use super::table::Table;
use super::words;
use crate::failure::Failure;
use crate::host::Host;
use crate::inventory::cdi::{self, CdiDocument, Names};
use crate::model::code::Code;
use crate::model::device::Vendor;
use crate::model::text::shown;
use crate::sys::atomic;
use crate::view::cdi::{CdiDevicesView, CdiFileView, CdiFilesView, CdiSpecsView};
use args::{GenerateOptions, NameKind, SpecFormat};
use std::fs;
use std::path::{Path, PathBuf};

/// An engine that runs as another user than root may read a spec. It ignores one that others may
/// change.
const MODE: u32 = 0o644;

pub(super) fn run(host: &Host, action: &CdiAction, output: &Output) -> Result<Answer, Failure> {
    match action {
        CdiAction::Generate(options) => generate(host, options, output),
        CdiAction::List => list(host, output),
    }
}

fn generate(host: &Host, options: &GenerateOptions, output: &Output) -> Result<Answer, Failure> {
    let inventory = host.inventory_now(host.config()?)?;
    let names = Names {
        index: options.names.contains(&NameKind::Index),
        uuid: options.names.contains(&NameKind::Uuid),
    };
    let is_asked_for = |vendor: &Vendor| options.vendor.is_none_or(|one| one == *vendor);
    let vendors = Vendor::ALL.into_iter().filter(is_asked_for);
    let specs: Vec<(Vendor, CdiDocument)> = vendors
        .filter_map(|vendor| Some((vendor, cdi::generate(&inventory, vendor, names, &host.paths)?)))
        .collect();
    if specs.is_empty() {
        let text = "the node has no device for which a spec can be written";
        return Err(
            Failure::new(Code::NoMatch, text).hint("`gpulease devices` lists the node's devices")
        );
    }
    let is_simulated =
        |(_, spec): &(Vendor, CdiDocument)| spec.annotations.contains_key(cdi::SIMULATED);
    if !options.simulated && specs.iter().any(is_simulated) {
        let text = "the node's devices are simulated: no program can compute on them";
        return Err(Failure::new(Code::BadRequest, text)
            .hint("add --simulated to write the spec nevertheless"));
    }
    make_spec_dir(host, &options.output)?;
    let is_dir = options.output.is_dir();
    if !is_dir && specs.len() > 1 {
        let kinds: Vec<&str> = specs.iter().map(|(vendor, _)| vendor.as_str()).collect();
        let text = format!(
            "a spec has the devices of one vendor, and the node has devices of {}",
            kinds.join(" and ")
        );
        return Err(Failure::new(Code::BadRequest, text)
            .hint("choose one by --vendor, or name a directory by --output"));
    }
    if options.output == Path::new("-") {
        let text =
            specs.iter().map(|(_, spec)| written(spec, options.format.unwrap_or(SpecFormat::Yaml)));
        let text = text.collect::<Result<String, Failure>>()?;
        let specs = specs.iter().map(|(_, spec)| spec).collect();
        return Ok(Answer::file(text, &CdiSpecsView { specs }));
    }
    let mut text = String::new();
    let mut files = Vec::new();
    for (vendor, spec) in &specs {
        let (path, format) = file_of(options, *vendor, is_dir);
        refuse_conflict(host, &path, spec)?;
        atomic::create(&path, written(spec, format)?.as_bytes(), MODE)?;
        let names = words::count(spec.devices.len(), "name");
        text.push_str(&format!("wrote `{}`: {}, {names}\n", path.display(), spec.kind));
        files.push(CdiFileView {
            path: path.display().to_string(),
            kind: &spec.kind,
            devices: spec.devices.iter().map(|device| device.name.as_str()).collect(),
        });
    }
    if specs.iter().any(is_simulated) {
        let note = "these devices are simulated: no program can compute on them";
        text.push_str(&output.line(Paint::Yellow, "note:", note));
    }
    Ok(Answer::of(text, &CdiFilesView { files }))
}

/// Makes the directory if it is one of those that engines read and is missing, as on a host that
/// has had no spec.
fn make_spec_dir(host: &Host, output: &Path) -> Result<(), Failure> {
    for dir in cdi::SPEC_DIRS.map(|dir| host.paths.on_host(Path::new(dir))) {
        if (output == dir || output.parent() == Some(&dir)) && !dir.exists() {
            atomic::make_dir(&dir, 0o755)?;
        }
    }
    Ok(())
}

fn file_of(options: &GenerateOptions, vendor: Vendor, is_dir: bool) -> (PathBuf, SpecFormat) {
    if is_dir {
        let format = options.format.unwrap_or(SpecFormat::Yaml);
        return (options.output.join(format!("gpulease-{vendor}.{}", format.extension())), format);
    }
    let format =
        options.format.or_else(|| SpecFormat::of(&options.output)).unwrap_or(SpecFormat::Yaml);
    (options.output.clone(), format)
}

fn written(spec: &CdiDocument, format: SpecFormat) -> Result<String, Failure> {
    let failed =
        |why: String| Failure::new(Code::BadInventory, format!("cannot write a spec: {why}"));
    match format {
        SpecFormat::Yaml => {
            serde_norway::to_string(spec).map_err(|error| failed(error.to_string()))
        }
        SpecFormat::Json => serde_json::to_string_pretty(spec)
            .map(|text| text + "\n")
            .map_err(|error| failed(error.to_string())),
    }
}

/// Refuses a spec if another one of its directory has a device of the same name: engines then use
/// neither.
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
            let text = format!("`{other}` describes `{name}` too, and engines would use neither");
            return Err(Failure::new(Code::BadRequest, text)
                .hint("remove that file, or write to another directory"));
        }
    }
    Ok(())
}

fn list(host: &Host, output: &Output) -> Result<Answer, Failure> {
    let inventory = host.inventory_now(host.config()?)?;
    let view = CdiDevicesView::look(&inventory.node, &host.paths);
    let mut text = match view.devices.as_slice() {
        [] => format!("no devices in {}\n", cdi::SPEC_DIRS.join(", ")),
        devices => Table::of(devices)
            .left("NAME", 0, |row| shown(&row.name))
            .left("INDEX", 0, |row| words::or_dash(row.place()))
            .left("UUID", 2, |row| words::or_dash(row.uuid.as_ref()))
            .left("SPEC", 1, |row| shown(&row.spec))
            .render(false, output),
    };
    text.push_str(&words::notes(&view.notes, output));
    Ok(Answer::of(text, &view))
}
