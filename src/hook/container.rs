//! Finds the container that Podman's `precreate` hook is called for. Podman does not name it.

use crate::failure::Failure;
use crate::model::code::Code;
use crate::model::id::ContainerId;
use crate::model::text::shown;
use std::path::{Path, PathBuf};

/// The container whose bundle this directory is: `…/ID/userdata`. Podman's ids have 64 hex digits.
pub(super) fn of_bundle(dir: &Path) -> Option<ContainerId> {
    if dir.file_name()? != "userdata" {
        return None;
    }
    let id = ContainerId::new(dir.parent()?.file_name()?.to_str()?).ok()?;
    id.is_random().then_some(id)
}

/// The container that a `linux.cgroupsPath` names, if it names one: `machine.slice:libpod:ID`,
/// `/machine/libpod-ID` or `/system.slice/web.service/libpod-payload-ID`.
fn of_cgroup(path: &str) -> Option<ContainerId> {
    let id = ContainerId::new(path.rsplit(['/', ':', '-']).next()?).ok()?;
    id.is_random().then_some(id)
}

/// The container of this bundle and this spec. Fails if the directory is not a container's, or if
/// the spec belongs to another container. A guess could lease to the wrong one.
pub(super) fn identify(
    dir: Option<&Path>,
    cgroups_path: Option<&str>,
) -> Result<ContainerId, Failure> {
    let fault = |text: String| {
        Failure::new(Code::BadBundle, text)
            .hint("this hook is for Podman 5 or later, which calls it in a container's directory")
    };
    let Some(id) = dir.and_then(of_bundle) else {
        let dir = dir.map_or_else(|| "?".to_owned(), |dir| shown(&dir.to_string_lossy()));
        return Err(fault(format!(
            "cannot tell which container this is: the current directory `{dir}` is not `…/ID/userdata`"
        )));
    };
    match cgroups_path.and_then(of_cgroup) {
        Some(other) if other != id => Err(fault(format!(
            "cannot tell which container this is: the current directory is that of {id}, and `linux.cgroupsPath` names {other}"
        ))),
        _ => Ok(id),
    }
}

/// The file that conmon writes the container's pid to, unless Podman was told otherwise. It has the
/// same place in Podman's run root as the bundle has in the root that survives a reboot.
pub(super) fn pid_file(dir: &Path) -> Option<PathBuf> {
    let id = dir.parent()?;
    let kind = id.parent()?.file_name()?;
    let run_root = Path::new("/run/containers/storage");
    Some(run_root.join(kind).join(id.file_name()?).join("userdata/pidfile"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "3339fa72026165b3c928bbccd7867abdfae8074131c093711e06a1a0c6792da2";

    fn bundle() -> PathBuf {
        Path::new("/var/lib/containers/storage/overlay-containers").join(ID).join("userdata")
    }

    #[test]
    fn the_directory_and_the_cgroup_name_one_container() {
        for cgroup in [
            None,
            Some(format!("machine.slice:libpod:{ID}")),
            Some(format!("/machine.slice/libpod-{ID}")),
            Some(format!("/system.slice/web.service/libpod-payload-{ID}")),
            Some("/house/rules".to_owned()),
            Some(String::new()),
        ] {
            let id = identify(Some(&bundle()), cgroup.as_deref()).unwrap();
            assert_eq!(id.as_str(), ID, "{cgroup:?}");
        }
        let other = format!("machine.slice:libpod:{}", ID.replace('3', "4"));
        let failure = identify(Some(&bundle()), Some(&other)).unwrap_err();
        assert_eq!(failure.code, Code::BadBundle);
        assert!(failure.message.contains(ID) && failure.message.contains("4449fa72"));
    }

    #[test]
    fn nothing_else_names_one() {
        for dir in [
            "/".to_owned(),
            "/home/user".to_owned(),
            format!("/x/{ID}"),
            format!("/x/{ID}/userdata/more"),
            format!("/x/{}/userdata", ID.to_uppercase()),
            format!("/x/{}/userdata", &ID[1..]),
            format!("/x/{ID}0/userdata"),
            "/x/web/userdata".to_owned(),
            "/x/../userdata".to_owned(),
            "userdata".to_owned(),
        ] {
            let cgroup = format!("machine.slice:libpod:{ID}");
            let failure = identify(Some(Path::new(&dir)), Some(&cgroup)).unwrap_err();
            assert_eq!(failure.code, Code::BadBundle, "{dir}");
        }
        assert!(identify(None, None).is_err());
    }

    #[test]
    fn the_pid_file_is_podmans() {
        let expected = format!("/run/containers/storage/overlay-containers/{ID}/userdata/pidfile");
        assert_eq!(pid_file(&bundle()), Some(expected.into()));
        assert_eq!(pid_file(Path::new("/")), None);
    }
}
