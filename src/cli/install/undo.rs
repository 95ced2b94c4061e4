//! `uninstall`: takes gpulease out of an engine's file.

use super::file::Target;
use super::record::{Place, Record};
use super::reload::Reload;
use super::report::{Report, answer};
use super::wire::precreate_files;
use super::{
    Answer, Edit, Engine, Fault, InstallOptions, Output, crio, docker, is_wired, podman, tables,
    unwired,
};
use crate::failure::Failure;
use crate::sys::{checked, failpoint};
use std::fs;
use std::path::{Path, PathBuf};

/// Takes gpulease out of an engine's configuration.
pub(in crate::cli) fn uninstall(
    engine: Engine,
    options: &InstallOptions,
    output: &Output,
) -> Result<Answer, Failure> {
    let precreate = || -> Result<[Report; 2], Failure> {
        let (drop_in, file) = precreate_files(engine, options)?;
        // The directory that Podman is to read goes first: the file in it does nothing from then on.
        let drop_in = unwire(Engine::PodmanHooksDir, &drop_in, options)?;
        Ok([drop_in, unwire(Engine::PodmanHook, &file, options)?])
    };
    if options.precreate {
        let [drop_in, hook] = precreate()?;
        return Ok(answer(drop_in, vec![hook], output));
    }
    let mut also = Vec::new();
    // A file that is named is the only one that is meant.
    if engine == Engine::Podman && options.config.is_none() {
        also.extend(precreate()?.into_iter().filter(|it| it.changed || !it.diff.is_empty()));
    }
    Ok(answer(unwire(engine, options.config_of(engine), options)?, also, output))
}

/// Takes gpulease out of one file.
fn unwire(engine: Engine, path: &Path, options: &InstallOptions) -> Result<Report, Failure> {
    let target = Target::read(path)?;
    let place = Place::of(&options.state_dir, engine, &target.path)?;
    let record = place.read()?;
    let old = target.text.as_deref();
    let path = target.path.display();
    let mut report = Report::new(engine, &target.path, options.dry_run);
    let Some(text) = old else {
        forget(&place, record.as_ref(), options)?;
        return Ok(report.saying(format!("`{path}` is not there; nothing to do\n")));
    };
    let fault = |fault: Fault| fault.in_file(&target.path);
    let mut new;
    (new, report.notes) = rest(engine, text, record.as_ref()).map_err(fault)?;
    if let Some(rest) = new.as_deref().filter(|_| engine == Engine::Docker && options.for_good)
        && let Some(named) = docker::with_default_named(text, rest).map_err(fault)?
    {
        new = Some(named);
        let note = "`default-runtime` is `runc` now, as it is where none is named: dockerd would \
                    go on with gpulease otherwise";
        report.notes.push(note.to_owned());
    }
    for other in others_with_our_default(engine, &target.path) {
        report.notes.push(format!(
            "`{}` still makes gpulease the default runtime: change that before it is used",
            other.display()
        ));
    }
    if new.as_deref() == Some(text) {
        // A record that is still there is of an uninstall whose reload failed.
        if record.is_some() && !options.dry_run {
            report.reload = Some(Reload::after_change(engine, options.reload)?);
            forget(&place, record.as_ref(), options)?;
        }
        return Ok(report.saying(format!("`{path}` does not have gpulease; nothing to do\n")));
    }
    if engine == Engine::Docker {
        report.notes.extend(docker::kept_by_reload(text, new.as_deref()));
    }
    report.diff = target.diff(new.as_deref());
    if options.dry_run {
        return Ok(report);
    }
    match &new {
        Some(new) => target.write(new)?,
        None => target.remove()?,
    }
    failpoint::hit("uninstall-written");
    // The record goes last: by it another try knows that the engine has not read the file yet.
    report.reload = Some(Reload::after_change(engine, options.reload)?);
    forget(&place, record.as_ref(), options)?;
    report.changed = true;
    let done = if new.is_some() { "does not have gpulease any more" } else { "is removed" };
    Ok(report.saying(format!("\n`{path}` {done}\n")))
}

/// The file without gpulease, `None` for none at all.
fn rest(
    engine: Engine,
    text: &str,
    record: Option<&Record>,
) -> Result<(Option<String>, Vec<String>), Fault> {
    if let Some(record) = record.filter(|record| record.after == text) {
        let mut notes = Vec::new();
        if record.before.as_deref().is_some_and(|before| is_wired(engine, before)) {
            notes.push(
                "the file is as it was before `gpulease install`, with a gpulease of that time; \
                 uninstall once more to remove it"
                    .to_owned(),
            );
        }
        return Ok((record.before.clone(), notes));
    }
    if !is_wired(engine, text) {
        // One that cannot be parsed may name gpulease all the same.
        unwired(engine, text, None, &[])?;
        return Ok((Some(text.to_owned()), Vec::new()));
    }
    let before = record.and_then(|record| record.before.as_deref());
    let added = record.map(|record| record.added.as_slice()).unwrap_or_default();
    let Edit { text: rest, notes, .. } = unwired(engine, text, before, added)?;
    let is_ours = record.is_some_and(|record| record.before.is_none());
    let is_blank = matches!(rest.split_whitespace().collect::<String>().as_str(), "" | "{}");
    // Podman starts nothing with a hook's file that is empty.
    let is_ours = is_ours || engine == Engine::PodmanHook;
    Ok((if is_ours && is_blank { None } else { Some(rest) }, notes))
}

/// Drops the record, and the directories that were made for the file if nothing else is there.
fn forget(place: &Place, record: Option<&Record>, options: &InstallOptions) -> Result<(), Failure> {
    let Some(record) = record.filter(|_| !options.dry_run) else { return Ok(()) };
    for dir in record.made_dirs.iter().rev() {
        // It is not empty if somebody else uses it by now.
        let _ = fs::remove_dir(dir);
    }
    place.remove()
}

/// The other files of Podman and CRI-O that make gpulease the default, though it is gone.
fn others_with_our_default(engine: Engine, ours: &Path) -> Vec<PathBuf> {
    let (main, layout) = match engine {
        Engine::Podman => ("containers.conf", podman::LAYOUT),
        Engine::Crio => ("crio.conf", crio::LAYOUT),
        _ => return Vec::new(),
    };
    let Some(dir) = ours.parent() else { return Vec::new() };
    let beside = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_read = |path: &PathBuf| path != ours && path.extension().is_some_and(|e| e == "conf");
    let mut files: Vec<PathBuf> = beside.filter(is_read).collect();
    files.sort();
    files.extend(dir.parent().map(|above| above.join(main)));
    files.retain(|path| {
        // It is not ours, and may be a pipe or of any size.
        let bytes = checked::read_foreign(path, checked::FILE_MAX).ok().flatten();
        let text = String::from_utf8(bytes.unwrap_or_default()).unwrap_or_default();
        tables::parse(&text).is_ok_and(|document| layout.is_default(&document))
    });
    files
}
