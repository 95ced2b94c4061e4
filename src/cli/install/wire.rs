//! `install`: puts gpulease into an engine's file.

use super::file::{Target, make_dirs_above, missing_above};
use super::record::{Place, Record, VERSION};
use super::reload::{Reload, absent};
use super::report::{Report, answer};
use super::{
    Answer, Engine, Fault, InstallOptions, Output, Wiring, is_wired, precreate, unwired, wired,
};
use crate::failure::{Failure, chain};
use crate::injection::HOOK_NAME;
use crate::model::code::Code;
use crate::paths::Paths;
use crate::start::lowlevel::installed_on;
use crate::sys::ask::ask_bounded;
use crate::sys::programs::SHIM_NAME;
use crate::sys::{PathError, checked, failpoint};
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
    Ok(answer(wire(engine, options.config_of(engine), &wiring, options)?, Vec::new(), output))
}

/// Has Podman call the hook. The directory that it is to read comes last: until then the file
/// in it does nothing.
fn install_precreate(
    engine: Engine,
    options: &InstallOptions,
    output: &Output,
) -> Result<Answer, Failure> {
    let (drop_in, file) = precreate_files(engine, options)?;
    if let Some(podman) = installed_on("podman", &Paths::default()) {
        precreate::check_version(
            &ask_bounded(&podman, &["--version"], ANSWER).unwrap_or_default(),
        )?;
    }
    let hook = program_beside_us(&[HOOK_NAME])?;
    let dir = file.parent().and_then(Path::to_str).ok_or_else(|| {
        Failure::new(Code::BadRequest, format!("the path `{}` is not UTF-8", file.display()))
    })?;
    let wiring = Wiring { runtime: "", default_runtime: false, hook: &hook, hooks_dir: dir };
    let hook = wire(Engine::PodmanHook, &file, &wiring, options)?;
    Ok(answer(wire(Engine::PodmanHooksDir, &drop_in, &wiring, options)?, vec![hook], output))
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
    let drop_in = options.config_of(Engine::PodmanHooksDir);
    let drop_in = std::path::absolute(drop_in).map_err(PathError::new("resolve", drop_in))?;
    let file = precreate::hook_file(&drop_in).ok_or_else(|| {
        let text = format!("`{}` is in no directory of drop-ins", drop_in.display());
        Failure::new(Code::BadRequest, text)
    })?;
    Ok((drop_in, file))
}

/// Puts gpulease into one file.
fn wire(
    engine: Engine,
    path: &Path,
    wiring: &Wiring<'_>,
    options: &InstallOptions,
) -> Result<Report, Failure> {
    let target = Target::read(path)?;
    let place = Place::of(&options.state_dir, engine, &target.path)?;
    let program = if wiring.runtime.is_empty() { wiring.hook } else { wiring.runtime };
    let old = target.text.as_deref();
    let fault = |fault: Fault| fault.in_file(&target.path);
    let edit = wired(engine, old.unwrap_or_default(), wiring).map_err(fault)?;
    let path = target.path.display();
    let mut report = Report::new(engine, &target.path, options.dry_run);
    report.runtime = Some(wiring.runtime.to_owned()).filter(|path| !path.is_empty());
    report.notes = edit.notes;
    // Of two files, the second says it.
    if engine != Engine::PodmanHook {
        report.notes.extend(replaceable(Path::new(program)));
        report.notes.extend(absent(engine));
    }
    if old == Some(edit.text.as_str()) {
        // An earlier reload may have failed, or not have been asked for.
        if options.reload && !options.dry_run {
            report.reload = Some(Reload::after_change(engine, true)?);
        }
        return Ok(report.saying(format!("`{path}` has gpulease already; nothing to do\n")));
    }
    report.diff = target.diff(Some(&edit.text));
    if options.dry_run {
        return Ok(report);
    }

    let mut record = record(engine, &target, place.read()?, &edit.text).map_err(fault)?;
    record.added.extend(edit.added);
    place.write(&record)?;
    failpoint::hit("install-recorded");
    make_dirs_above(&target.path)?;
    target.write(&edit.text)?;
    failpoint::hit("install-written");
    report.reload = Some(Reload::after_change(engine, options.reload)?);
    report.changed = true;
    report.backup = Some(place.path.display().to_string());
    let kept = if record.before.is_some() { "backup" } else { "record" };
    let kept = format!("{kept}: {}", place.path.display());
    Ok(report.saying(format!("\n`{path}` has gpulease now\n{kept}\n")))
}

/// What `uninstall` will need. What was there before gpulease is what counts: a second `install`
/// must not take the work of the first one for it.
fn record(
    engine: Engine,
    target: &Target,
    known: Option<Record>,
    after: &str,
) -> Result<Record, Fault> {
    let current = target.text.as_deref();
    let new = |before, made_dirs, added| {
        let (engine, path) = (engine.name().to_owned(), target.path.clone());
        Record { v: VERSION, engine, path, before, after: after.to_owned(), added, made_dirs }
    };
    let Some(known) = known.filter(|_| current.is_some_and(|text| is_wired(engine, text))) else {
        return Ok(new(current.map(str::to_owned), missing_above(&target.real), Vec::new()));
    };
    let Record { before, added, made_dirs, .. } = known;
    if current == Some(known.after.as_str()) {
        return Ok(new(before, made_dirs, added));
    }
    // Somebody else changed the file since: what they did is to stay.
    let rest = unwired(engine, current.unwrap_or_default(), before.as_deref(), &added)?.text;
    let before = if before.is_none() && rest.trim().is_empty() { None } else { Some(rest) };
    Ok(new(before, made_dirs, added))
}

/// What to say of programs that others could replace: the engine runs them as root.
fn replaceable(runtime: &Path) -> Option<String> {
    let hook = runtime.with_file_name(HOOK_NAME);
    let error = [runtime, &hook].into_iter().find_map(|path| checked::check_program(path).err())?;
    let why = chain(&error);
    Some(format!("{why}; install the programs where only root can write, as in /usr/local/bin"))
}

/// The first of these programs, which came with this one. All are checked here, because an engine
/// says of a wrong path only that a container cannot be started, or nothing at all.
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
