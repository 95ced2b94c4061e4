//! Finds the low-level runtime and recognises its kind.

use crate::failure::Failure;
use crate::host::Host;
use crate::model::code::Code;
use crate::model::device::Vendor;
use crate::paths::Paths;
use crate::sys::programs::{SHIM_NAME, SYSTEM_DIRS, installed_on};
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The two runtimes whose state gpulease can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuntimeKind {
    /// runc, and any runtime that behaves like it (`nvidia-container-runtime`).
    Runc,
    Crun,
}

impl RuntimeKind {
    /// Recognises the kind by the program's name.
    pub fn of(program: &Path) -> Self {
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        if name.contains("crun") { Self::Crun } else { Self::Runc }
    }

    /// The name of the state file in a container's state directory.
    pub const fn state_file(self) -> &'static str {
        match self {
            Self::Runc => "state.json",
            Self::Crun => "status",
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Runc => "runc",
            Self::Crun => "crun",
        }
    }

    /// The state directory without `--root`. crun honours `XDG_RUNTIME_DIR` even for root (libcrun,
    /// status.c), runc only when rootless.
    pub fn default_root(self) -> String {
        if self == Self::Crun
            && let Some(dir) = std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty())
        {
            return Path::new(&dir).join("crun").to_string_lossy().into_owned();
        }
        self.system_root()
    }

    /// The state directory without `--root` and without a session directory.
    pub fn system_root(self) -> String {
        format!("/run/{}", self.name())
    }

    /// The kind that [`choose`] usually finds: that of the configured runtime, or of the first
    /// installed one.
    pub(crate) fn likely(configured: Option<&Path>) -> Self {
        let default = || if installed(Self::Runc).is_some() { Self::Runc } else { Self::Crun };
        configured.map_or_else(default, Self::of)
    }
}

/// A runtime, and the fault of the configured one if it is not that.
#[derive(Debug)]
pub struct Choice {
    pub path: PathBuf,
    /// Why this is not the configured runtime. It is reason enough to refuse a lease, but not to
    /// stop a container without a request or one that runs already.
    pub fault: Option<Failure>,
}

/// The runtime for a new container: the configured one, or, if that one cannot be used or is
/// unknown, the last that worked. The first installed runtime is used only if none was ever
/// configured: another runtime than the administrator's is worse than a failure. Fails if there is
/// none.
pub fn choose(host: &Host) -> Result<Choice, Failure> {
    let default = || {
        let kinds = [RuntimeKind::Runc, RuntimeKind::Crun].into_iter();
        kinds.map(RuntimeKind::name).find_map(|name| installed_on(name, &host.paths))
    };
    let remembered = || host.store().last_runtime(&host.paths);
    let (path, fault) = match host.runtime().map(|path| (path, fault_of(path))) {
        Some((path, None)) => (Some(path.to_owned()), None),
        Some((path, Some(fault))) => (remembered(), Some(fault.of(path))),
        None if host.hides_runtime() => (remembered().or_else(default), None),
        None => (default(), None),
    };
    match (path, fault) {
        (Some(path), fault) => Ok(Choice { path, fault }),
        (None, Some(fault)) => Err(fault),
        (None, None) => Err(none_found()),
    }
}

/// Whether the program has the name of runc or crun itself, not of a program that calls one.
pub fn is_itself(program: &Path) -> bool {
    program.file_name().is_some_and(|name| name == "runc" || name == "crun")
}

pub fn installed(kind: RuntimeKind) -> Option<PathBuf> {
    installed_on(kind.name(), &Paths::default())
}

/// Why a program cannot be the low-level runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnfitRuntime {
    NoFile,
    NotExecutable,
    /// The shim would call itself.
    Ours,
}

impl UnfitRuntime {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoFile => "is not a file",
            Self::NotExecutable => "cannot be executed",
            Self::Ours => "is gpulease-runtime itself",
        }
    }

    fn of(self, path: &Path) -> Failure {
        let text =
            format!("the configured low-level runtime `{}` {}", path.display(), self.as_str());
        Failure::new(Code::NoRuntime, text)
            .hint("set `runtime` in the configuration to the path of runc or crun")
    }
}

/// A runtime must be a program other than the shim.
pub fn fault_of(path: &Path) -> Option<UnfitRuntime> {
    match fs::metadata(path).ok().filter(Metadata::is_file) {
        None => Some(UnfitRuntime::NoFile),
        Some(metadata) if metadata.mode() & 0o111 == 0 => Some(UnfitRuntime::NotExecutable),
        Some(metadata) if is_the_shim(path, &metadata) => Some(UnfitRuntime::Ours),
        Some(_) => None,
    }
}

/// The shim compares its own file. The command compares the name, also behind a link.
fn is_the_shim(path: &Path, metadata: &Metadata) -> bool {
    path.ends_with(SHIM_NAME)
        || is_this_program(metadata)
        || cfg!(feature = "cli") && path.canonicalize().is_ok_and(|path| path.ends_with(SHIM_NAME))
}

fn is_this_program(metadata: &Metadata) -> bool {
    fs::metadata("/proc/self/exe")
        .is_ok_and(|own| (own.dev(), own.ino()) == (metadata.dev(), metadata.ino()))
}

/// The vendor whose runtime this is, if it gives GPUs by itself. It is recognised by its name, or
/// by the name of the file that a link leads to, because it may have runc's place.
pub fn vendor_of(program: &Path) -> Option<Vendor> {
    let real = || program.canonicalize().ok().filter(|_| program.is_absolute());
    named_by(program).or_else(|| named_by(&real()?))
}

fn named_by(program: &Path) -> Option<Vendor> {
    let name = program.file_name()?.to_str()?;
    let vendors =
        [("nvidia-container-runtime", Vendor::Nvidia), ("amd-container-runtime", Vendor::Amd)];
    vendors.into_iter().find(|(own, _)| name.starts_with(own)).map(|(_, vendor)| vendor)
}

fn none_found() -> Failure {
    Failure::new(
        Code::NoRuntime,
        format!("no low-level runtime: neither runc nor crun is in {}", SYSTEM_DIRS.join(", ")),
    )
    .hint("install runc or crun, or set `runtime` in the configuration")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_vendors_runtime_is_known_behind_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        for name in ["nvidia-container-runtime.real", "crun"] {
            fs::write(path(name), "").unwrap();
        }
        symlink("nvidia-container-runtime.real", path("alternative")).unwrap();
        symlink(path("alternative"), path("runc")).unwrap();
        symlink("crun", path("amd-container-runtime")).unwrap();
        assert_eq!(vendor_of(&path("runc")), Some(Vendor::Nvidia));
        assert_eq!(vendor_of(&path("amd-container-runtime")), Some(Vendor::Amd));
        assert_eq!(vendor_of(&path("crun")), None);
        assert_eq!(vendor_of(Path::new("amd-container-runtime")), Some(Vendor::Amd));
        assert_eq!(vendor_of(Path::new("/nonexistent/runc")), None);
    }
}
