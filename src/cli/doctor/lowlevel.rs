//! Checks the low-level runtime and its version, and systemd's version.
//!
//! With the systemd cgroup driver a container's device rules are also properties of its unit, and
//! `systemctl daemon-reload` sets the rules again from those. runc before 1.1.7 leaves out devices
//! that are not in `/dev/char`, as NVIDIA's are not (opencontainers/runc#3708); systemd before 240
//! leaves them out by itself. Then the container loses its GPUs while it runs.

use super::configuration::fix_of;
use super::finding::{Findings, UNCHECKED, plain, quoted};
use crate::failure::{Failure, chain};
use crate::host::Host;
use crate::model::text::shown;
use crate::start::lowlevel::{RuntimeKind, UnfitRuntime, choose, fault_of, vendor_of};
use crate::start::permit;
use crate::sys::ask::ask_bounded;
use crate::sys::checked::{FileError, check_unread};
use crate::sys::programs::installed_on;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The time for one question; there are two. It is generous, because a busy node answers late, and
/// an unknown version would hide a warning.
const DEADLINE: Duration = Duration::from_secs(2);
/// The first runc that keeps the device rules of devices outside of `/dev/char`.
const RUNC_FIXED: (u32, u32, u32) = (1, 1, 7);
/// The first systemd that keeps them.
const SYSTEMD_FIXED: u32 = 240;
const CAP_SYS_RESOURCE: u32 = 24;

/// Checks the runtime and its version. Returns the runtime if it may be run.
pub(super) fn runtime(host: &Host, found: &mut Findings) -> Option<PathBuf> {
    let path = usable(host, found)?;
    if let Some(answer) = ask_version(&path, host, found) {
        let systemd = has_systemd(host);
        judge_runtime(&path, &answer, systemd, lacks_sys_resource(host), found);
    }
    Some(path)
}

/// The answer of a program to `--version`, if it may be run. Another check found it safe.
fn ask_version(path: &Path, host: &Host, found: &mut Findings) -> Option<String> {
    // The author of a tree below `--root` is not trusted here: it may be a mounted image. And a
    // program that was built for that host may not run on this one.
    if !host.paths.are_own() {
        found.note(
            UNCHECKED,
            format!(
                "the version of {} was not checked: no program below --root is run",
                quoted(path)
            ),
            "run `gpulease doctor` on the host itself, without --root",
        );
        return None;
    }
    match ask_bounded(path, &["--version"], DEADLINE) {
        Ok(answer) => Some(answer),
        Err(error) => {
            found.unchecked(path, &format!("`--version`: {error}"));
            None
        }
    }
}

/// As `sd_booted(3)` decides it.
fn has_systemd(host: &Host) -> bool {
    host.paths.on_host(Path::new("/run/systemd/system")).is_dir()
}

/// The runtime of the next start with a request, if it may be run.
pub(super) fn usable(host: &Host, found: &mut Findings) -> Option<PathBuf> {
    let chosen = host
        .runtime()
        .map_or_else(|| choose(host).map(|choice| choice.path), |path| Ok(path.into()));
    let path = match chosen {
        Ok(path) => path,
        Err(Failure { message, hint, .. }) => {
            found.fault("runtime-missing", message, hint.unwrap_or_default());
            return None;
        }
    };
    let shown = quoted(&path);
    match check_unread(&path) {
        Ok(_) => {}
        Err(FileError::Insecure { path: at, fault }) => {
            let text =
                format!("the low-level runtime {shown} runs as root, but {}: {fault}", quoted(&at));
            found.fault("runtime-insecure", text, fix_of(&at, fault));
            return None;
        }
        Err(error) => {
            found.unchecked(&path, &chain(&error));
            return None;
        }
    }
    if let Some(fault) = fault_of(&path) {
        let set =
            format!("set `runtime` in {} to the path of runc or crun", quoted(&host.config_path));
        let (code, fix) = match fault {
            UnfitRuntime::NoFile => ("runtime-missing", set),
            UnfitRuntime::NotExecutable => {
                ("runtime-not-executable", format!("`chmod 0755 {}`", plain(&path)))
            }
            UnfitRuntime::Ours => ("runtime-is-gpulease", set),
        };
        found.fault(code, format!("the low-level runtime {shown} {}", fault.as_str()), fix);
        return None;
    }
    let config = host.config().ok();
    let refused = config.and_then(|config| permit(config.driver, vendor_of(&path), &path).err());
    match refused {
        None => Some(path),
        Some(Failure { message, hint, .. }) => {
            let text = format!("{message}: requests are refused");
            found.fault("runtime-vendor", text, hint.unwrap_or_default());
            None
        }
    }
}

/// Reports the version that the runtime answered.
fn judge_runtime(
    path: &Path,
    answer: &str,
    has_systemd: bool,
    lacks_sys_resource: bool,
    found: &mut Findings,
) {
    let kind = RuntimeKind::of(path);
    let line = answer
        .lines()
        .find_map(|line| line.trim().strip_prefix(kind.name())?.strip_prefix(" version "));
    let Some((text, version)) = line.and_then(|text| Some((text, parse(text)?))) else {
        return found.unchecked(path, &"the answer to `--version` has no version");
    };
    let (file, text) = (quoted(path), format!("{} {}", kind.name(), shown(text.trim())));
    match kind {
        RuntimeKind::Runc if version < RUNC_FIXED && has_systemd => found.warning(
            "runc-daemon-reload",
            format!(
                "{file} is {text}: with the systemd cgroup driver, `systemctl daemon-reload` takes \
                 the GPUs from running containers"
            ),
            "install runc 1.1.7 or later, or crun; or use the cgroupfs driver",
        ),
        RuntimeKind::Crun if version.0 == 1 && version.1 == 8 && lacks_sys_resource => found
            .warning(
                "crun-sys-resource",
                format!(
                    "{file} is {text}, and without CAP_SYS_RESOURCE, which is missing here, it \
                     sets no device rules on cgroup v2"
                ),
                "install crun 1.9 or later, or set `runtime` to the path of runc",
            ),
        _ => found.ok("runtime", format!("{file} is {text}")),
    }
}

/// `1.1.5+ds1`, `1.2.0-rc.1`, `1.14.3`, `1.8`.
fn parse(text: &str) -> Option<(u32, u32, u32)> {
    let mut numbers = text.trim().splitn(3, '.').map(|part| {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        part.get(..digits)?.parse::<u32>().ok()
    });
    let (major, minor) = (numbers.next()??, numbers.next()??);
    Some((major, minor, numbers.next().flatten().unwrap_or(0)))
}

/// On cgroup v2. The engine is assumed to have the capabilities of this process.
fn lacks_sys_resource(host: &Host) -> bool {
    let is_v2 = host.paths.sys.join("fs/cgroup/cgroup.controllers").exists();
    let status = fs::read_to_string(host.paths.proc.join("self/status")).unwrap_or_default();
    is_v2 && host.is_root() && is_without_sys_resource(&status)
}

/// Reads the text of `/proc/self/status`. Without the line, no capability counts as missing.
fn is_without_sys_resource(status: &str) -> bool {
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok());
    effective.is_some_and(|set| set >> CAP_SYS_RESOURCE & 1 == 0)
}

/// Reports systemd's version, if systemd runs.
pub(super) fn systemd(host: &Host, found: &mut Findings) {
    if !has_systemd(host) {
        return;
    }
    let Some(path) = installed_on("systemctl", &host.paths) else { return };
    // `systemctl` runs with the rights of this process's user.
    if let Err(error) = check_unread(&path) {
        return found.unchecked(&path, &chain(&error));
    }
    if let Some(answer) = ask_version(&path, host, found) {
        judge_systemd(&path, &answer, found);
    }
}

/// Reports the version that `systemctl` answered.
fn judge_systemd(path: &Path, answer: &str, found: &mut Findings) {
    // `systemd 252 (252.5-2)`
    let number = answer.split_whitespace().nth(1).and_then(|word| word.parse::<u32>().ok());
    match number {
        Some(number) if number < SYSTEMD_FIXED => found.warning(
            "systemd-daemon-reload",
            format!(
                "systemd is {number}: with the systemd cgroup driver, `systemctl daemon-reload` \
                 takes the GPUs from running containers"
            ),
            "install systemd 240 or later, or use the cgroupfs driver",
        ),
        Some(number) => found.ok("systemd", format!("systemd is {number}")),
        None => found.unchecked(path, &"the answer to `--version` has no version"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_distributions_are_read() {
        assert_eq!(parse("1.1.5+ds1"), Some((1, 1, 5)));
        assert_eq!(parse("1.2.0-rc.1"), Some((1, 2, 0)));
        assert_eq!(parse("1.8"), Some((1, 8, 0)));
        assert_eq!(parse("UNKNOWN"), None);
        assert_eq!(parse(""), None);
        assert_eq!(parse("99999999999.1.1"), None);
    }

    /// The codes that an answer leads to.
    fn told(path: &str, answer: &str, has_systemd: bool, lacks: bool) -> Vec<(&'static str, bool)> {
        let mut found = Findings::default();
        judge_runtime(Path::new(path), answer, has_systemd, lacks, &mut found);
        found.list.iter().map(|finding| (finding.code, finding.fix.is_some())).collect()
    }

    #[test]
    fn the_version_of_a_runtime_is_judged() {
        let (ok, unknown) = (vec![("runtime", false)], vec![("unchecked", true)]);
        let reload = vec![("runc-daemon-reload", true)];
        let runc = "/usr/bin/runc";
        assert_eq!(told(runc, "runc version 1.2.6\ncommit: x\n", true, true), ok);
        assert_eq!(told(runc, "runc version 1.1.7", true, true), ok);
        assert_eq!(told(runc, "runc version 1.1.5+ds1\n", true, false), reload);
        assert_eq!(told(runc, "runc version 1.1.5+ds1\n", false, false), ok);
        assert_eq!(told(runc, "crun version 1.14", true, false), unknown);
        assert_eq!(told(runc, "surprise", true, false), unknown);
        assert_eq!(told(runc, "", true, false), unknown);
        let crun = "/usr/bin/crun";
        assert_eq!(told(crun, "crun version 1.8.1", true, false), ok);
        assert_eq!(told(crun, "crun version 1.8.1", true, true), [("crun-sys-resource", true)]);
        assert_eq!(told(crun, "crun version 1.9", true, true), ok);
    }

    #[test]
    fn the_version_of_systemd_is_judged() {
        for (answer, code) in [
            ("systemd 252 (252.39-1~deb12u1)\n+PAM", "systemd"),
            ("systemd 240 (240)", "systemd"),
            ("systemd 239 (239-82.el8)", "systemd-daemon-reload"),
            ("surprise", "unchecked"),
            ("", "unchecked"),
        ] {
            let mut found = Findings::default();
            judge_systemd(Path::new("/usr/bin/systemctl"), answer, &mut found);
            let codes: Vec<_> = found.list.iter().map(|finding| finding.code).collect();
            assert_eq!(codes, [code], "{answer}");
        }
    }

    #[test]
    fn a_capability_is_missing_only_if_that_is_said() {
        assert!(is_without_sys_resource("Name:\tx\nCapEff:\t000001fffeffffff\n"));
        assert!(!is_without_sys_resource("Name:\tx\nCapEff:\t000001ffffffffff\n"));
        assert!(!is_without_sys_resource("CapEff:\tx\n"));
        assert!(!is_without_sys_resource(""));
    }
}
