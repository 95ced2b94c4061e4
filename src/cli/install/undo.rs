//! `uninstall`: takes gpulease out of an engine's file.

use super::config_file::ConfigFile;
use super::record::{InstallRecord, RecordFile};
use super::reload;
use super::report::answer;
use super::wire::precreate_files;
use super::{Answer, InstallOptions, Output};
use crate::engines::{EditError, EditedText, Engine, EngineFile};
use crate::failure::Failure;
use crate::sys::failpoint;
use crate::view::install::EngineEdit;
use std::fs;
use std::path::Path;

/// Takes gpulease out of an engine's configuration.
pub(in crate::cli) fn uninstall(
    engine: Engine,
    options: &InstallOptions,
    output: &Output,
) -> Result<Answer, Failure> {
    let precreate = || -> Result<[EngineEdit; 2], Failure> {
        let (drop_in, hook) = precreate_files(engine, options)?;
        // Podman stops reading the hook's directory first: then the file in it does nothing.
        let drop_in = unwire(EngineFile::PodmanHooksDir, &drop_in, options)?;
        Ok([drop_in, unwire(EngineFile::PodmanHook, &hook, options)?])
    };
    if options.precreate {
        let [drop_in, hook] = precreate()?;
        return Ok(answer(drop_in, vec![hook], output));
    }
    let mut also = Vec::new();
    // With --config, only the file that is named is edited.
    if engine == Engine::Podman && options.config.is_none() {
        also.extend(precreate()?.into_iter().filter(|it| it.changed || !it.diff.is_empty()));
    }
    let file = engine.file();
    Ok(answer(unwire(file, options.path_of(file), options)?, also, output))
}

/// Takes gpulease out of one file.
pub(super) fn unwire(
    file: EngineFile,
    path: &Path,
    options: &InstallOptions,
) -> Result<EngineEdit, Failure> {
    let target = ConfigFile::read(file, path)?;
    let record_file = RecordFile::of(&options.state_dir, file, &target.path)?;
    let record = record_file.read()?;
    let old = target.text.as_deref();
    let shown = target.path.display();
    let mut report = EngineEdit::new(file, &target.path, options.dry_run);
    let Some(text) = old else {
        forget(&record_file, record.as_ref(), options)?;
        return Ok(report.saying(format!("`{shown}` is not there; nothing to do\n")));
    };
    let in_file = |error: EditError| error.in_file(&target.path);
    let mut new;
    (new, report.notes) = rest(file, &target.path, text, record.as_ref()).map_err(in_file)?;
    if let Some(rest) = new.as_deref().filter(|_| options.for_good)
        && let Some(named) = file.with_default_named(text, rest).map_err(in_file)?
    {
        new = Some(named);
        let note = "`default-runtime` is `runc` now, as it is where none is named: dockerd would \
                    go on with gpulease otherwise";
        report.notes.push(note.to_owned());
    }
    for other in file.others_with_our_default(&target.path) {
        report.notes.push(format!(
            "`{}` still makes gpulease the default runtime: change that before it is used",
            other.display()
        ));
    }
    if new.as_deref() == Some(text) {
        // A record that is still there is left of an uninstall whose reload failed.
        if record.is_some() && !options.dry_run {
            report.reload = Some(reload::after_change(file, &target.path, options.reload)?);
            forget(&record_file, record.as_ref(), options)?;
        }
        return Ok(report.saying(format!("`{shown}` does not have gpulease; nothing to do\n")));
    }
    report.notes.extend(file.kept_by_reload(text, new.as_deref()));
    report.diff = target.diff(new.as_deref());
    if options.dry_run {
        return Ok(report);
    }
    match &new {
        Some(new) => target.write(new)?,
        None => target.remove()?,
    }
    failpoint::hit("uninstall-written");
    // The record goes last: another try sees by it that the engine has not read the file yet.
    report.reload = Some(reload::after_change(file, &target.path, options.reload)?);
    forget(&record_file, record.as_ref(), options)?;
    report.changed = true;
    let done = if new.is_some() { "does not have gpulease any more" } else { "is removed" };
    Ok(report.saying(format!("\n`{shown}` {done}\n")))
}

/// The file's text without gpulease, `None` for no file, and notes.
fn rest(
    file: EngineFile,
    path: &Path,
    text: &str,
    record: Option<&InstallRecord>,
) -> Result<(Option<String>, Vec<String>), EditError> {
    if let Some(record) = record.filter(|record| record.after == text) {
        let mut notes = Vec::new();
        if record.before.as_deref().is_some_and(|before| file.is_wired(path, before)) {
            notes.push(
                "the file is as it was before `gpulease install`, with a gpulease of that time; \
                 uninstall once more to remove it"
                    .to_owned(),
            );
        }
        return Ok((record.before.clone(), notes));
    }
    if !file.is_wired(path, text) {
        // A file that cannot be parsed may have gpulease all the same: this fails for it.
        file.unwire(path, text, None, &[])?;
        return Ok((Some(text.to_owned()), Vec::new()));
    }
    let before = record.and_then(|record| record.before.as_deref());
    let added = record.map(|record| record.added.as_slice()).unwrap_or_default();
    let EditedText { text: rest, notes, .. } = file.unwire(path, text, before, added)?;
    let is_ours = record.is_some_and(|record| record.before.is_none());
    // Podman starts nothing while a hook's file is empty.
    let is_ours = is_ours || file == EngineFile::PodmanHook;
    Ok((if is_ours && file.is_blank(&rest) { None } else { Some(rest) }, notes))
}

/// Drops the record, and those directories made for the file that are empty.
fn forget(
    record_file: &RecordFile,
    record: Option<&InstallRecord>,
    options: &InstallOptions,
) -> Result<(), Failure> {
    let Some(record) = record.filter(|_| !options.dry_run) else { return Ok(()) };
    for dir in record.made_dirs.iter().rev() {
        // It fails for a directory that has another file by now.
        let _ = fs::remove_dir(dir);
    }
    record_file.remove()
}
