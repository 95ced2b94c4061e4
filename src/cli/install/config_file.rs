//! The configuration file itself.

use crate::engines::EngineFile;
use crate::failure::Failure;
use crate::model::code::Code;
use crate::model::encoding::Encoding;
use crate::sys::PathError;
use crate::sys::atomic;
use crate::sys::checked::{self, FileError};
use similar::TextDiff;
use std::fs;
use std::path::{Path, PathBuf};

/// Engines' files are small; the record holds one twice and must stay readable as well.
const TEXT_MAX: usize = 256 << 10;

/// A file that is to be edited, or to be made.
#[derive(Debug)]
pub(super) struct ConfigFile {
    /// As it was named, absolute.
    pub(super) path: PathBuf,
    /// The path of the file itself, where `path` is a symbolic link: the link stays.
    pub(super) real: PathBuf,
    /// Its text; `None` if it does not exist.
    pub(super) text: Option<String>,
    encoding: Encoding,
    kind: EngineFile,
}

impl ConfigFile {
    /// Reads it. Fails for a file that a user other than root can write, or reach by a link of their
    /// own: root would write where that user wants.
    pub(super) fn read(kind: EngineFile, path: &Path) -> Result<Self, Failure> {
        let path = std::path::absolute(path).map_err(PathError::new("resolve", path))?;
        let mut encoding = Encoding::Utf8;
        let text = match checked::read_checked(&path) {
            Ok(None) => {
                if path.parent().is_some_and(Path::exists) {
                    check_directory_of(&path)?;
                }
                None
            }
            Ok(Some(file)) if file.bytes.len() > TEXT_MAX => {
                let text = format!("`{}` is larger than {TEXT_MAX} bytes", path.display());
                return Err(Failure::new(Code::BadConfig, text));
            }
            Ok(Some(file)) => {
                let decoded = kind.decode(file.bytes).map_err(|error| error.in_file(&path))?;
                encoding = decoded.1;
                Some(decoded.0)
            }
            // Its directory is not there either.
            Err(FileError::Io(error)) if error.is_missing() && !path.is_symlink() => None,
            Err(FileError::Io(error)) => return Err(error.into()),
            Err(error) => return Err(insecure(&error)),
        };
        let real = match text {
            Some(_) => fs::canonicalize(&path).map_err(PathError::new("resolve", &path))?,
            None => path.clone(),
        };
        Ok(Self { path, real, text, encoding, kind })
    }

    /// Writes the text, with the encoding, owner, mode and attributes that the file has, unless it has
    /// changed since it was read.
    pub(super) fn write(&self, text: &str) -> Result<(), Failure> {
        self.check_unchanged()?;
        let bytes = self.encoding.encode(text);
        match self.text {
            Some(_) => {
                atomic::replace_whole(&self.real, &bytes)?;
            }
            // Readable by all, as the packages of the engines have it: rootless Podman reads too.
            None => atomic::create(&self.real, &bytes, 0o644)?,
        }
        Ok(())
    }

    pub(super) fn remove(&self) -> Result<(), Failure> {
        self.check_unchanged()?;
        Ok(atomic::remove(&self.real)?)
    }

    fn check_unchanged(&self) -> Result<(), Failure> {
        if Self::read(self.kind, &self.path)?.text == self.text {
            return Ok(());
        }
        let text = format!("`{}` was changed by another program just now", self.path.display());
        Err(Failure::new(Code::StateUnavailable, text).hint("try again"))
    }

    /// The change to another text, or to none, as `diff -u` shows it.
    pub(super) fn diff(&self, new: Option<&str>) -> String {
        let old = self.text.as_deref();
        if old == new {
            return String::new();
        }
        let path = self.path.display().to_string();
        let name = |text: Option<&str>| text.map_or("/dev/null", |_| &path);
        TextDiff::from_lines(old.unwrap_or_default(), new.unwrap_or_default())
            .unified_diff()
            .header(name(old), name(new))
            .to_string()
    }
}

fn insecure(error: &FileError) -> Failure {
    Failure::of(Code::BadConfig, error)
        .hint("let root own the file and its directory, and no other user write there")
}

/// Fails if a user other than root can put a file there.
pub(super) fn check_directory_of(path: &Path) -> Result<(), Failure> {
    checked::check_directory_of(path).map_err(|error| insecure(&error))
}

/// The directories above a path that are not there, the outermost first.
pub(super) fn missing_above(path: &Path) -> Vec<PathBuf> {
    let above = path.ancestors().skip(1).take_while(|dir| !dir.exists());
    let mut missing: Vec<PathBuf> = above.map(Path::to_owned).collect();
    missing.reverse();
    missing
}

/// Makes the directories above a path.
pub(super) fn make_dirs_above(path: &Path) -> Result<(), PathError> {
    missing_above(path).iter().try_for_each(|dir| atomic::make_dir(dir, 0o755))
}
