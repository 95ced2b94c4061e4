//! Checks that gpulease's own programs exist, are executable, and can be changed only by root.

use super::configuration::fix_of;
use super::engines::Wired;
use super::finding::{Findings, plain, quoted};
use crate::config::Config;
use crate::failure::chain;
use crate::host::Host;
use crate::injection::HOOK_NAME;
use crate::paths::Paths;
use crate::sys::checked::{FileError, check_unread};
use crate::sys::programs::{SHIM_NAME, beside, installed_on};
use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The codes for one program: absent, not executable, writable by others.
struct Codes {
    ok: &'static str,
    missing: &'static str,
    not_executable: &'static str,
    insecure: &'static str,
}

const SHIM: Codes = Codes {
    ok: "shim",
    missing: "shim-missing",
    not_executable: "shim-not-executable",
    insecure: "shim-insecure",
};

const HOOK: Codes = Codes {
    ok: "hook",
    missing: "hook-missing",
    not_executable: "hook-not-executable",
    insecure: "hook-insecure",
};

/// The program that Podman calls by a hook file. If the file is absent, the check is left out (see
/// `hooks_dirs`).
const PRECREATE: Codes = Codes {
    ok: "hooks-program",
    missing: "hooks-program-missing",
    not_executable: "hooks-program-not-executable",
    insecure: "hooks-program-insecure",
};

/// Checks the program of a hook file that exists.
pub(super) fn check_precreate(path: &Path, found: &mut Findings) {
    check_program(path, &PRECREATE, found);
}

/// Checks each shim that an engine calls, and the hook that belongs to it.
pub(super) fn check(host: &Host, config: Option<&Config>, wired: &Wired, found: &mut Findings) {
    let shims: BTreeSet<PathBuf> = if wired.shims.is_empty() {
        installed(&host.paths).into_iter().collect()
    } else {
        wired.shims.clone()
    };
    if shims.is_empty() && !wired.by_precreate {
        found.fault(
            SHIM.missing,
            format!("{SHIM_NAME} is neither beside this program nor in a system directory"),
            format!("install {SHIM_NAME} and {HOOK_NAME} into /usr/local/bin"),
        );
    }
    for shim in &shims {
        check_program(shim, &SHIM, found);
    }
    let Some(config) = config else { return };
    match &config.hook {
        Some(hook) => check_program(hook, &HOOK, found),
        None => {
            for hook in shims.iter().filter_map(|shim| Some(real(shim).parent()?.join(HOOK_NAME))) {
                check_program(&hook, &HOOK, found);
            }
        }
    }
}

/// Checks the hook alone: the configured one, or the one beside the installed shim.
pub(super) fn check_hook(host: &Host, config: &Config, found: &mut Findings) {
    let beside = || Some(real(&installed(&host.paths)?).parent()?.join(HOOK_NAME));
    match config.hook.clone().or_else(beside) {
        Some(hook) => check_program(&hook, &HOOK, found),
        None => found.fault(
            HOOK.missing,
            format!("{SHIM_NAME} is not installed, so {HOOK_NAME} cannot be looked for beside it"),
            format!("install {SHIM_NAME} and {HOOK_NAME} into /usr/local/bin"),
        ),
    }
}

/// The shim beside this program, or else the installed one of the host.
fn installed(paths: &Paths) -> Option<PathBuf> {
    // This program may not belong to the host that it checks.
    let own = if paths.are_own() { beside(SHIM_NAME) } else { None };
    let fixed = || installed_on(SHIM_NAME, paths);
    own.filter(|path| path.is_file()).or_else(fixed)
}

/// The shim looks for the hook beside its own file, not beside a link to it.
fn real(shim: &Path) -> PathBuf {
    std::fs::canonicalize(shim).unwrap_or_else(|_| shim.to_owned())
}

fn check_program(path: &Path, codes: &Codes, found: &mut Findings) {
    let shown = quoted(path);
    let name = path.file_name().unwrap_or_default().display();
    match check_unread(path) {
        Ok(None) => found.fault(
            codes.missing,
            format!("{shown} does not exist: every start with a request fails"),
            format!("install it: `install -m 0755 dist/bin/{name} {}`", plain(path)),
        ),
        Ok(Some(metadata)) if metadata.mode() & 0o111 == 0 => found.fault(
            codes.not_executable,
            format!("{shown} cannot be executed: its mode is {:04o}", metadata.mode() & 0o7777),
            format!("`chmod 0755 {}`", plain(path)),
        ),
        Ok(Some(_)) => found.ok(codes.ok, format!("{shown} exists, and only root can change it")),
        Err(FileError::Insecure { path: at, fault }) => {
            let how = match at == path {
                true => "others can change it".to_owned(),
                false => format!("through {} others can replace it", quoted(&at)),
            };
            let text = format!("{shown} runs as root, but {how}: {fault}");
            found.fault(codes.insecure, text, fix_of(&at, fault));
        }
        Err(error) => found.unchecked(path, &chain(&error)),
    }
}
