//! `install`: puts gpulease into an engine's file.

use super::config_file::{ConfigFile, make_dirs_above, missing_above};
use super::record::{InstallRecord, RecordFile, VERSION};
use super::reload::{self, absent};
use super::report::answer;
use super::{Answer, InstallOptions, Output};
use crate::engines::{EditError, Engine, EngineFile, Wiring, check_version, hook_file_of};
use crate::failure::{Failure, chain};
use crate::injection::HOOK_NAME;
use crate::model::code::Code;
use crate::paths::Paths;
use crate::sys::ask::ask_bounded;
use crate::sys::programs::{SHIM_NAME, installed_on};
use crate::sys::{PathError, checked, failpoint};
use crate::view::install::EngineEdit;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a program may take to tell its version.
const ANSWER: Duration = Duration::from_secs(10);

/// Puts gpulease into an engine's configuration.
pub(in crate::cli) fn install(
    engine: Engine,
    default_runtime: bool,
    options: &InstallOptions,
    output: &Output,
) -> Result<Answer, Failure> {
    if options.precreate {
        return install_precreate(engine, options, output);
    }
    let runtime = program_beside_us(&[SHIM_NAME, HOOK_NAME])?;
    let wiring = Wiring { runtime: &runtime, default_runtime, hook: "", hooks_dir: "" };
    let file = engine.file();
    Ok(answer(wire(file, options.path_of(file), &wiring, options)?, Vec::new(), output))
}

/// Has Podman call the hook. The drop-in that names the hook's directory comes last: until then
/// the file in the directory does nothing.
fn install_precreate(
    engine: Engine,
    options: &InstallOptions,
    output: &Output,
) -> Result<Answer, Failure> {
    let (drop_in, hook_file) = precreate_files(engine, options)?;
    if let Some(podman) = installed_on(engine.program(), &Paths::default()) {
        check_version(&ask_bounded(&podman, &["--version"], ANSWER).unwrap_or_default())?;
    }
    let hook = program_beside_us(&[HOOK_NAME])?;
    let dir = hook_file.parent().and_then(Path::to_str).ok_or_else(|| {
        Failure::new(Code::BadRequest, format!("the path `{}` is not UTF-8", hook_file.display()))
    })?;
    let wiring = Wiring { runtime: "", default_runtime: false, hook: &hook, hooks_dir: dir };
    let hook = wire(EngineFile::PodmanHook, &hook_file, &wiring, options)?;
    let drop_in = wire(EngineFile::PodmanHooksDir, &drop_in, &wiring, options)?;
    Ok(answer(drop_in, vec![hook], output))
}

/// The drop-in and the hook's file.
pub(super) fn precreate_files(
    engine: Engine,
    options: &InstallOptions,
) -> Result<(PathBuf, PathBuf), Failure> {
    if engine != Engine::Podman {
        let text = format!("--precreate is for podman, and `{}` has no such hook", engine.name());
        return Err(Failure::new(Code::BadRequest, text).hint("leave --precreate out"));
    }
    let drop_in = options.path_of(EngineFile::PodmanHooksDir);
    let drop_in = std::path::absolute(drop_in).map_err(PathError::new("resolve", drop_in))?;
    let hook_file = hook_file_of(&drop_in).ok_or_else(|| {
        let text = format!("`{}` is in no directory of drop-ins", drop_in.display());
        Failure::new(Code::BadRequest, text)
    })?;
    Ok((drop_in, hook_file))
}

/// Puts gpulease into one file.
fn wire(
    file: EngineFile,
    path: &Path,
    wiring: &Wiring<'_>,
    options: &InstallOptions,
) -> Result<EngineEdit, Failure> {
    let target = ConfigFile::read(file, path)?;
    let record_file = RecordFile::of(&options.state_dir, file, &target.path)?;
    let program = if wiring.runtime.is_empty() { wiring.hook } else { wiring.runtime };
    let old = target.text.as_deref();
    let in_file = |error: EditError| error.in_file(&target.path);
    let edit = file.wire(&target.path, old.unwrap_or_default(), wiring).map_err(in_file)?;
    let path = target.path.display();
    let mut report = EngineEdit::new(file, &target.path, options.dry_run);
    report.runtime = Some(wiring.runtime.to_owned()).filter(|path| !path.is_empty());
    report.notes = edit.notes;
    if wiring.default_runtime {
        report.notes.extend(file.later_defaults(&target.path));
    }
    report.notes.extend(file.check_flags(&target.path, old, &edit.text, wiring)?);
    // The drop-in, which is reported with the hook's file, has the same notes.
    if file != EngineFile::PodmanHook {
        report.notes.extend(replaceable(Path::new(program)));
        report.notes.extend(absent(file, &target.path));
    }
    if old == Some(edit.text.as_str()) {
        // An earlier reload may have failed, or not have been asked for.
        if options.reload && !options.dry_run {
            report.reload = Some(reload::after_change(file, &target.path, true)?);
        }
        return Ok(report.saying(format!("`{path}` has gpulease already; nothing to do\n")));
    }
    report.diff = target.diff(Some(&edit.text));
    if options.dry_run {
        return Ok(report);
    }

    let known = record_file.read()?;
    let mut record = record_of(file, &target, known, &edit.text).map_err(in_file)?;
    record.added.extend(edit.added);
    record_file.write(&record)?;
    failpoint::hit("install-recorded");
    make_dirs_above(&target.path)?;
    target.write(&edit.text)?;
    failpoint::hit("install-written");
    report.reload = Some(reload::after_change(file, &target.path, options.reload)?);
    report.changed = true;
    report.backup = Some(record_file.path.display().to_string());
    let kept = if record.before.is_some() { "backup" } else { "record" };
    let kept = format!("{kept}: {}", record_file.path.display());
    Ok(report.saying(format!("\n`{path}` has gpulease now\n{kept}\n")))
}

/// The record that `uninstall` will need. It holds the text from before the first `install`: a
/// second one must not take gpulease's own entry for the user's.
fn record_of(
    file: EngineFile,
    target: &ConfigFile,
    known: Option<InstallRecord>,
    after: &str,
) -> Result<InstallRecord, EditError> {
    let current = target.text.as_deref();
    let new = |before, made_dirs, added| {
        let (engine, path) = (file.name().to_owned(), target.path.clone());
        InstallRecord {
            v: VERSION,
            engine,
            path,
            before,
            after: after.to_owned(),
            added,
            made_dirs,
        }
    };
    let Some(known) =
        known.filter(|_| current.is_some_and(|text| file.is_wired(&target.path, text)))
    else {
        return Ok(new(current.map(str::to_owned), missing_above(&target.real), Vec::new()));
    };
    let InstallRecord { before, added, made_dirs, .. } = known;
    if current == Some(known.after.as_str()) {
        return Ok(new(before, made_dirs, added));
    }
    // The file was changed since, and that change is to stay.
    let rest =
        file.unwire(&target.path, current.unwrap_or_default(), before.as_deref(), &added)?.text;
    let before = if before.is_none() && file.is_blank(&rest) { None } else { Some(rest) };
    Ok(new(before, made_dirs, added))
}

/// The note for programs that users other than root could replace: the engine runs them as root.
fn replaceable(runtime: &Path) -> Option<String> {
    let hook = runtime.with_file_name(HOOK_NAME);
    let error = [runtime, &hook].into_iter().find_map(|path| checked::check_program(path).err())?;
    let why = chain(&error);
    Some(format!("{why}; install the programs where only root can write, as in /usr/local/bin"))
}

/// The path of the first of these programs, which lie beside this one. Fails if one of them is
/// missing: an engine says of a wrong path only that a container cannot be started, or nothing.
fn program_beside_us(names: &[&str]) -> Result<String, Failure> {
    let us = std::env::current_exe().map_err(PathError::new("find", Path::new("gpulease")))?;
    for name in names {
        let path = us.with_file_name(name);
        let is_program = std::fs::metadata(&path)
            .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0);
        if !is_program {
            let text = format!("there is no program `{}`", path.display());
            return Err(Failure::new(Code::NoRuntime, text)
                .hint("gpulease, gpulease-runtime and gpulease-hook belong into one directory"));
        }
    }
    let path = us.with_file_name(names.first().unwrap_or(&HOOK_NAME));
    path.to_str().map(str::to_owned).ok_or_else(|| {
        let text = format!("the path `{}` is not UTF-8, as engines want it", path.display());
        Failure::new(Code::NoRuntime, text).hint("install gpulease in another directory")
    })
}
