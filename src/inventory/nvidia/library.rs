//! Finds NVIDIA's management library.

use crate::config::Config;
use crate::model::machine;
use crate::paths::Paths;
use crate::sys::checked::{FileError, check_unread};
use std::path::{Path, PathBuf};

/// The library's file name.
const NAME: &str = "libnvidia-ml.so.1";

#[derive(Debug, PartialEq, Eq)]
pub(super) enum NvmlLibrary {
    At(PathBuf),
    /// The library that this host's loader finds.
    Loader,
    None,
}

impl NvmlLibrary {
    /// The path for the loader.
    pub(super) fn path(&self) -> Option<&Path> {
        match self {
            Self::At(path) => Some(path),
            Self::Loader => Some(Path::new(NAME)),
            Self::None => None,
        }
    }
}

/// All paths where the library may be below the driver's root: the directories of distributions, of
/// NVIDIA's own installer, and of drivers in containers. If there are several, Debian's
/// `nvidia/current` is the one in use.
pub(super) fn places(config: &Config) -> impl Iterator<Item = PathBuf> {
    let multiarch = machine::HOST.map_or("", |machine| machine.multiarch);
    let directories = [
        format!("usr/lib/{multiarch}"),
        format!("usr/lib/{multiarch}/nvidia/current"),
        "usr/lib64".to_owned(),
        "usr/lib".to_owned(),
        "lib64".to_owned(),
        format!("lib/{multiarch}"),
        "opt/nvidia/lib64".to_owned(),
    ];
    directories.into_iter().map(|directory| config.driver_root.join(directory).join(NAME))
}

/// Looks for the library. Root loads it, so only root may be able to change it. Fails if others
/// could have changed it.
pub(super) fn find(
    paths: &Paths,
    config: &Config,
    is_loaded: bool,
) -> Result<NvmlLibrary, FileError> {
    for path in places(config) {
        if check_unread(&path)?.is_some() {
            return Ok(NvmlLibrary::At(path));
        }
    }
    // The loader's directories belong to root, but tell nothing about another root. On a host
    // without the driver the loader is not tried each time.
    let is_host = config.driver_root == Path::new("/") && paths.root == Path::new("/");
    Ok(if is_host && is_loaded { NvmlLibrary::Loader } else { NvmlLibrary::None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::checked::UnsafeFile;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn it_is_looked_for_below_the_root_and_must_be_safe() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let paths = Paths::below(dir.path());
        let config = Config::of(&paths);
        assert_eq!(find(&paths, &config, true).unwrap(), NvmlLibrary::None);
        let current = dir.path().join("usr/lib64/nvidia");
        fs::create_dir_all(&current).unwrap();
        fs::write(current.join("libnvidia-ml.so.1.2"), "").unwrap();
        let path = dir.path().join("usr/lib64/libnvidia-ml.so.1");
        symlink("nvidia/libnvidia-ml.so.1.2", &path).unwrap();
        assert_eq!(find(&paths, &config, false).unwrap(), NvmlLibrary::At(path));
        fs::set_permissions(&current, fs::Permissions::from_mode(0o777)).unwrap();
        match find(&paths, &config, true) {
            Err(FileError::Insecure { path, fault: UnsafeFile::Writable(0o777) }) => {
                assert_eq!(path, fs::canonicalize(current).unwrap());
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_loader_is_asked_only_where_the_driver_is() {
        let paths = Paths::default();
        let none_here = places(&Config::default()).all(|path| !path.exists());
        if none_here {
            let find = |loaded| find(&paths, &Config::default(), loaded).unwrap();
            assert_eq!((find(true), find(false)), (NvmlLibrary::Loader, NvmlLibrary::None));
        }
        let config = Config { driver_root: "/nowhere".into(), ..Config::default() };
        assert_eq!(find(&paths, &config, true).unwrap(), NvmlLibrary::None);
    }
}
