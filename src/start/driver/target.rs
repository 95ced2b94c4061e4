//! Where the loader of a container looks for libraries, seen from its C library.
//!
//! The root file system is the image's, and so is every link in it: it is looked at through
//! [`Root`] alone, nothing in it is listed, and of a C library only the first bytes are read.

use crate::failure::Failure;
use crate::model::code::Code;
use crate::model::machine::{HEADER, Machine};
use crate::sys::in_root::Root;
use std::io::ErrorKind;
use std::path::Path;

/// The root file system of a container. Fails with `bad-bundle` if there is none.
pub(super) fn open(rootfs: &Path) -> Result<Root, Failure> {
    Root::open(rootfs).map_err(|error| {
        let path = rootfs.display();
        Failure::new(Code::BadBundle, format!("cannot open the root file system `{path}`: {error}"))
    })
}

/// What a container's root file system takes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// Libraries in this directory, absolute in the container.
    Directory(String),
    /// None: there is no C library of this architecture, so no program that could load one.
    NoLibrary,
}

/// The directories that a C library and its loader are installed in. Each distribution's loader
/// looks in the one that it lies in itself without being told to ("trusted directories",
/// ld.so(8)), whatever `ld.so.cache` says.
fn directories(machine: Machine) -> [String; 6] {
    let multiarch = machine.multiarch;
    [
        format!("/usr/lib/{multiarch}"),
        format!("/lib/{multiarch}"),
        "/usr/lib64".to_owned(),
        "/lib64".to_owned(),
        "/usr/lib".to_owned(),
        "/lib".to_owned(),
    ]
}

/// Looks into a container's root file system. Links are left in the directory's name. Fails with
/// `libc-mismatch` if its C library is musl; `bad-bundle` if it cannot be looked at, or has
/// something else where a C library belongs.
pub(super) fn find(root: &Root, machine: Machine) -> Result<Target, Failure> {
    let mut fault = None;
    for directory in directories(machine) {
        match is_c_library(root, &format!("{directory}/libc.so.6"), machine) {
            Ok(true) => return Ok(Target::Directory(directory)),
            Ok(false) => {}
            Err(error) => {
                fault.get_or_insert(error);
            }
        }
    }
    let is_musl = ["/lib", "/usr/lib"]
        .iter()
        .any(|directory| root.look(&format!("{directory}/{}", machine.musl_loader)).is_ok());
    match fault {
        _ if is_musl => Err(musl()),
        Some(fault) => Err(fault),
        None => Ok(Target::NoLibrary),
    }
}

fn is_c_library(root: &Root, path: &str, machine: Machine) -> Result<bool, Failure> {
    let failed = |error: std::io::Error| {
        let text = format!("cannot look at `{path}` in the root file system: {error}");
        let failure = Failure::new(Code::BadBundle, text);
        match error.kind() {
            ErrorKind::Unsupported => failure.hint(
                "driver files need Linux 5.6 or later; with `gpulease/capabilities=none` there are none",
            ),
            _ => failure,
        }
    };
    let handle = match root.look(path) {
        Ok(handle) => handle,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(failed(error)),
    };
    let beginning = handle.beginning(HEADER).map_err(failed)?;
    Ok(machine.is_of(&beginning))
}

fn musl() -> Failure {
    let text = "the container's C library is musl, and NVIDIA's libraries are made for glibc";
    Failure::new(Code::LibcMismatch, text).hint(
        "use an image with glibc (Debian, Ubuntu, Fedora, …), or `gpulease/capabilities=none` for the device nodes alone",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::machine::HOST;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    struct Image(tempfile::TempDir);

    impl Image {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn path(&self, path: &str) -> PathBuf {
            let path = self.0.path().join(path.trim_start_matches('/'));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            path
        }

        fn put(self, path: &str, bytes: &[u8]) -> Self {
            fs::write(self.path(path), bytes).unwrap();
            self
        }

        fn link(self, path: &str, target: &str) -> Self {
            symlink(target, self.path(path)).unwrap();
            self
        }

        fn target(&self) -> Result<Target, Failure> {
            find(&open(self.0.path())?, HOST.unwrap())
        }
    }

    fn elf(class: u8) -> Vec<u8> {
        let mut bytes = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0".to_vec();
        bytes[4] = class;
        bytes.extend(HOST.unwrap().elf.to_le_bytes());
        bytes.extend([0; 100]);
        bytes
    }

    fn directory(path: &str) -> Result<Target, Failure> {
        Ok(Target::Directory(path.to_owned()))
    }

    #[track_caller]
    fn refused(image: &Image, code: Code) -> String {
        let failure = image.target().unwrap_err();
        assert_eq!(failure.code, code, "{failure:?}");
        failure.message
    }

    #[test]
    fn each_distribution_has_its_directory() {
        let multiarch = HOST.unwrap().multiarch;
        let debian = format!("/usr/lib/{multiarch}");
        let is = |image: Image, path: &str| {
            assert_eq!(image.target().unwrap(), directory(path).unwrap())
        };
        let libc = format!("{debian}/libc.so.6");
        is(Image::new().put(&libc, &elf(2)).link("lib", "usr/lib"), &debian);
        let before_merge = format!("/lib/{multiarch}/libc.so.6");
        is(
            Image::new()
                .link(&before_merge, "libc-2.28.so")
                .put(&format!("/lib/{multiarch}/libc-2.28.so"), &elf(2)),
            &format!("/lib/{multiarch}"),
        );
        is(
            Image::new().put("usr/lib64/libc.so.6", &elf(2)).link("lib64", "usr/lib64"),
            "/usr/lib64",
        );
        is(Image::new().put("lib64/libc.so.6", &elf(2)), "/lib64");
        // Arch: one directory, by several names.
        let arch = Image::new().put("usr/lib/libc.so.6", &elf(2)).link("usr/lib64", "lib");
        is(arch, "/usr/lib64");
        is(Image::new().put("usr/lib/libc.so.6", &elf(2)), "/usr/lib");
        // A 32-bit library beside it is not it.
        let both =
            Image::new().put("usr/lib/libc.so.6", &elf(1)).put("usr/lib64/libc.so.6", &elf(2));
        is(both, "/usr/lib64");
    }

    #[test]
    fn without_a_c_library_there_is_nothing_to_do() {
        let none = |image: Image| assert_eq!(image.target().unwrap(), Target::NoLibrary);
        none(Image::new());
        none(Image::new().put("lib/libc.so.6", &elf(1)));
        none(Image::new().put("lib/libc.so.6", b""));
        none(Image::new().link("lib/libc.so.6", "/nowhere"));
    }

    #[test]
    fn musl_is_refused_unless_there_is_glibc_as_well() {
        let loader = format!("lib/{}", HOST.unwrap().musl_loader);
        let image = Image::new().put(&loader, &elf(2));
        refused(&image, Code::LibcMismatch);
        let image = image.put("usr/lib64/libc.so.6", &elf(2));
        assert_eq!(image.target().unwrap(), Target::Directory("/usr/lib64".to_owned()));
    }

    #[test]
    fn malice_is_answered() {
        let pipe = Image::new();
        let path = pipe.path("usr/lib/libc.so.6");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRUSR).unwrap();
        assert!(refused(&pipe, Code::BadBundle).contains("/usr/lib/libc.so.6"));
        refused(
            &Image::new().link("usr/lib64", "lib64").link("lib64", "usr/lib64"),
            Code::BadBundle,
        );
        refused(&Image::new().put("usr/lib64", b"no directory"), Code::BadBundle);
        let none = open(Path::new("/nonexistent/rootfs")).unwrap_err();
        assert_eq!(none.code, Code::BadBundle);
        // The host's library is not in the image, whatever links say.
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("libc.so.6"), elf(2)).unwrap();
        let out = outside.path().to_str().unwrap();
        let image = Image::new().link("usr/lib64", out).link("lib64", "../../../../../../usr/lib");
        assert_eq!(image.target().unwrap(), Target::NoLibrary);
    }
}
