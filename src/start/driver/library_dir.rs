//! The directory in which a container's loader finds libraries: that of its C library.
//!
//! The root file system and every link in it are the image's. So it is accessed through [`Root`]
//! alone, no directory is listed, and only the first bytes of a C library are read.

use crate::failure::Failure;
use crate::model::code::Code;
use crate::model::machine::{HEADER, Machine};
use crate::sys::in_root::Root;
use std::io::ErrorKind;
use std::path::Path;

/// Opens the root file system of a container. Fails with `bad-bundle` if there is none.
pub(super) fn open(rootfs: &Path) -> Result<Root, Failure> {
    Root::open(rootfs).map_err(|error| {
        let path = rootfs.display();
        Failure::new(Code::BadBundle, format!("cannot open the root file system `{path}`: {error}"))
    })
}

/// The directories that distributions install a C library and its loader in. A loader searches its
/// own directory by default ("trusted directories", ld.so(8)), whatever `ld.so.cache` says.
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

/// The directory for libraries, absolute in the container, with its links; `None` without a C
/// library of this architecture, since no program could load a library then. Fails with
/// `libc-mismatch` if the C library is musl; with `bad-bundle` if the root file system cannot be
/// read, or has something else in the C library's place.
pub(super) fn find(root: &Root, machine: Machine) -> Result<Option<String>, Failure> {
    let mut fault = None;
    for directory in directories(machine) {
        match is_c_library(root, &format!("{directory}/libc.so.6"), machine) {
            Ok(true) => return Ok(Some(directory)),
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
        None => Ok(None),
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

        fn directory(&self) -> Result<Option<String>, Failure> {
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

    fn directory(path: &str) -> Result<Option<String>, Failure> {
        Ok(Some(path.to_owned()))
    }

    #[track_caller]
    fn refused(image: &Image, code: Code) -> String {
        let failure = image.directory().unwrap_err();
        assert_eq!(failure.code, code, "{failure:?}");
        failure.message
    }

    #[test]
    fn each_distribution_has_its_directory() {
        let multiarch = HOST.unwrap().multiarch;
        let debian = format!("/usr/lib/{multiarch}");
        let is = |image: Image, path: &str| {
            assert_eq!(image.directory().unwrap(), directory(path).unwrap())
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
        let none = |image: Image| assert_eq!(image.directory().unwrap(), None);
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
        assert_eq!(image.directory().unwrap(), Some("/usr/lib64".to_owned()));
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
        assert_eq!(image.directory().unwrap(), None);
    }
}
