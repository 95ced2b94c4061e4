//! Looking at paths as a process would see them whose `/` is another directory: a container's root
//! file system, or the directory that a driver is installed in.
//!
//! What lies there may be anybody's, so no path of it is ever followed by name: the kernel resolves
//! it with the directory as the root (openat2(2), `RESOLVE_IN_ROOT`; Linux 5.6), where neither a
//! link nor `..` leads out, and gives a handle to what it found. A handle only refers to a file: a
//! pipe is not waited for, and a device not opened.

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::Mode;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// How often a resolution is tried anew that something moved under (EAGAIN, openat2(2)).
const ATTEMPTS: u32 = 32;

/// A directory that is taken for `/`.
#[derive(Debug)]
pub struct Root(File);

impl Root {
    /// Refers to a directory.
    ///
    /// # Errors
    /// If there is none at `path`.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(Self(open(path, flags, Mode::empty()).map(File::from)?))
    }

    /// Refers to what is at `path` in there, links resolved.
    ///
    /// # Errors
    /// Of the kernel: nothing there, links that go round in a circle, or a kernel without openat2
    /// ([`io::ErrorKind::Unsupported`]).
    pub fn look(&self, path: &str) -> io::Result<Handle> {
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        let mut last = nix::Error::EAGAIN;
        for _ in 0..ATTEMPTS {
            match openat2(&self.0, path, how) {
                Ok(fd) => return Ok(Handle(fd.into())),
                Err(nix::Error::EAGAIN) => {}
                Err(error) => {
                    last = error;
                    break;
                }
            }
        }
        Err(last.into())
    }
}

/// Something below a [`Root`].
#[derive(Debug)]
pub struct Handle(File);

impl Handle {
    /// What it is.
    ///
    /// # Errors
    /// Of the kernel.
    pub fn metadata(&self) -> io::Result<Metadata> {
        self.0.metadata()
    }

    /// Where it is for this process, links resolved.
    ///
    /// # Errors
    /// Of the kernel; without procfs.
    pub fn real_path(&self) -> io::Result<PathBuf> {
        fs::read_link(self.in_proc())
    }

    /// The file itself, to be read. It must be a regular one, or this could wait for ever.
    ///
    /// # Errors
    /// Of the kernel, and if it is no regular file.
    pub fn open(&self) -> io::Result<File> {
        if !self.metadata()?.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        File::open(self.in_proc())
    }

    /// Its first bytes, at most `max`.
    ///
    /// # Errors
    /// As of [`Self::open`].
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
    fn a_pipe_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pipe");
        nix::unistd::mkfifo(&path, Mode::S_IRUSR).unwrap();
        let handle = Root::open(dir.path()).unwrap().look("pipe").unwrap();
        assert!(!handle.metadata().unwrap().is_file());
        assert!(handle.beginning(1).is_err());
    }
}
