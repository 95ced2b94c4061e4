//! Looks at paths as a process would see them whose `/` is another directory: a container's root
//! file system, or the directory that a driver is installed in.
//!
//! Its content may belong to anyone, so no path in it is ever followed by name. The kernel resolves
//! it with the directory as the root (openat2(2), `RESOLVE_IN_ROOT`; Linux 5.6), so that neither a
//! link nor `..` leads out, and returns a handle. A handle only refers to a file: it neither waits
//! for a pipe nor opens a device.

use nix::NixPath;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2, readlinkat};
use nix::sys::stat::Mode;
use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

/// How often a resolution is tried again if something was moved meanwhile (EAGAIN, openat2(2)).
const ATTEMPTS: u32 = 32;

/// The most links in one path, as in the kernel (path_resolution(7)).
const LINKS_MAX: u32 = 40;

/// A directory that acts as `/`.
#[derive(Debug)]
pub struct Root(File);

impl Root {
    /// Opens a directory. Fails if there is none at `path`.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(Self(open(path, flags, Mode::empty()).map(File::from)?))
    }

    /// Resolves `path` in there, with its links. Fails with the kernel's error: nothing is there,
    /// the links form a circle, or the kernel has no openat2 ([`io::ErrorKind::Unsupported`]).
    pub fn look(&self, path: &str) -> io::Result<Handle> {
        Ok(Handle(self.open_in(path, OFlag::empty())?.into()))
    }

    fn open_in<P: NixPath + ?Sized>(&self, path: &P, flags: OFlag) -> nix::Result<OwnedFd> {
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_CLOEXEC | flags)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        let mut tries = (0..ATTEMPTS).map(|_| openat2(&self.0, path, how));
        let is_final = |result: &nix::Result<_>| !matches!(result, Err(nix::Error::EAGAIN));
        tries.find(is_final).unwrap_or(Err(nix::Error::EAGAIN))
    }

    /// `path` in there without links, as a runtime resolves the target of a mount: a missing part
    /// would be created, so its names stay as they are. `None` if the links form a circle.
    pub fn resolve(&self, path: &Path) -> Option<PathBuf> {
        let mut done = PathBuf::from("/");
        let mut rest: Vec<OsString> = backwards(path);
        let mut links = 0;
        while let Some(name) = rest.pop() {
            if name == ".." {
                done.pop();
                continue;
            }
            let next = done.join(&name);
            match self.link(&next) {
                Some(_) if links == LINKS_MAX => return None,
                Some(target) => {
                    links += 1;
                    if target.is_absolute() {
                        done = PathBuf::from("/");
                    }
                    rest.extend(backwards(&target));
                }
                None => done = next,
            }
        }
        Some(done)
    }

    /// The target of a link; `None` if the path is not a link.
    fn link(&self, path: &Path) -> Option<PathBuf> {
        let handle = self.open_in(path, OFlag::O_NOFOLLOW).ok()?;
        // The handle of a link refers to the link itself, which is then read by the empty name
        // (readlinkat(2)).
        readlinkat(&handle, "").ok().map(PathBuf::from)
    }
}

/// The names of a path, the last one first, without its root.
pub(super) fn backwards(path: &Path) -> Vec<OsString> {
    let names = path.components().rev().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    names.collect()
}

/// Something below a [`Root`].
#[derive(Debug)]
pub struct Handle(File);

impl Handle {
    /// Its metadata. Fails with the kernel's error.
    pub fn metadata(&self) -> io::Result<Metadata> {
        self.0.metadata()
    }

    /// Its path for this process, without links. Fails with the kernel's error, also if there is no
    /// procfs.
    pub fn real_path(&self) -> io::Result<PathBuf> {
        fs::read_link(self.in_proc())
    }

    /// Opens the file for reading. It must be a regular one, or this could wait for ever. Fails
    /// with the kernel's error, or if it is not a regular file.
    pub fn open(&self) -> io::Result<File> {
        if !self.metadata()?.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        File::open(self.in_proc())
    }

    /// Its first bytes, at most `max`. Fails as [`Self::open`] does.
    pub fn beginning(&self, max: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(max);
        self.open()?.take(max as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn in_proc(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.0.as_raw_fd()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn nothing_leads_out() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir_all(root.join("etc")).unwrap();
        fs::write(dir.path().join("secret"), "outside").unwrap();
        fs::write(root.join("etc/secret"), "inside").unwrap();
        for (name, target) in [
            ("up", "../secret".to_owned()),
            ("absolute", dir.path().join("secret").display().to_string()),
            ("magic", "/proc/self/root".to_owned()),
            ("good", "/../../etc/secret".to_owned()),
            ("circle", "circle".to_owned()),
        ] {
            symlink(target, root.join(name)).unwrap();
        }
        let opened = Root::open(&root).unwrap();
        let kind = |path: &str| opened.look(path).unwrap_err().kind();
        assert_eq!(kind("up"), io::ErrorKind::NotFound);
        assert_eq!(kind("absolute"), io::ErrorKind::NotFound);
        assert_eq!(kind("magic"), io::ErrorKind::NotFound);
        assert_eq!(kind("../secret"), io::ErrorKind::NotFound);
        assert_eq!(opened.look("circle").unwrap_err().raw_os_error(), Some(libc::ELOOP));
        let found = opened.look("good").unwrap();
        assert_eq!(found.beginning(3).unwrap(), b"ins");
        assert_eq!(found.real_path().unwrap(), root.canonicalize().unwrap().join("etc/secret"));
        assert!(opened.look("etc").unwrap().open().is_err());
    }

    #[test]
    fn a_mount_target_is_resolved_as_by_a_runtime() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("usr/lib")).unwrap();
        fs::write(dir.path().join("usr/lib/file"), "").unwrap();
        for (name, target) in [
            ("usr/lib64", "lib"),
            ("lib", "/usr/lib64/../lib64"),
            ("usr/lib/new", "../../../../data/./x"),
            ("circle", "circle"),
        ] {
            symlink(target, dir.path().join(name)).unwrap();
        }
        let root = Root::open(dir.path()).unwrap();
        for (path, expected) in [
            ("/lib/a//b/", "/usr/lib/a/b"),
            ("lib/file", "/usr/lib/file"),
            ("/usr/lib64/new/y", "/data/x/y"),
            ("/nothing/../lib", "/usr/lib"),
            ("/usr/lib/file/x", "/usr/lib/file/x"),
            ("/../..", "/"),
            ("", "/"),
        ] {
            assert_eq!(root.resolve(Path::new(path)).as_deref(), Some(Path::new(expected)));
        }
        assert_eq!(root.resolve(Path::new("/circle/x")), None);
    }

    #[test]
    fn a_pipe_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pipe");
        nix::unistd::mkfifo(&path, Mode::S_IRUSR).unwrap();
        let handle = Root::open(dir.path()).unwrap().look("pipe").unwrap();
        assert!(!handle.metadata().unwrap().is_file());
        assert!(handle.beginning(1).is_err());
    }
}
