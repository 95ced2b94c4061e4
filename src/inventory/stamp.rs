//! Cheap checks whether the sources of a scan have changed.

use crate::config::Source;
use crate::model::order;
use serde::{Deserialize, Serialize};
use std::fs::{self, Metadata};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The most bytes of a text that are read. The kernel's files have one line.
const TEXT_MAX: u64 = 4 * 1024;

/// The state of a file or directory when it was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// The source that depends on it.
    pub source: Source,
    /// The file or directory.
    pub path: PathBuf,
    pub look: Look,
}

/// The observed state. It consists of what changes when the file does: times for a file on disk,
/// and the content for the kernel's files, whose times are meaningless.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Look {
    /// It does not exist.
    Absent,
    /// A file or directory on disk. Any edit, replacement or change of owner or mode changes it; so
    /// does an entry that is added to a directory or removed.
    File(FileLook),
    /// A small file of the kernel: its text, without white space at its ends.
    Text(String),
    /// A directory of the kernel: its inode, which changes if its module or device goes away and
    /// comes back. (kernfs sets the times when a process looks.)
    Inode(u64),
    /// A directory of the kernel: the names in it, sorted.
    Entries(Vec<String>),
    /// It may exist, and could not be looked at. This never equals another state.
    Unknown,
}

/// The metadata of a file on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileLook {
    /// The file system (`st_dev`).
    pub device: u64,
    /// The inode, which changes with a replacement by rename.
    pub inode: u64,
    /// The links (`st_nlink`): for a directory in procfs, 2 and one for each directory in it.
    pub links: u64,
    /// The size in bytes.
    pub size: u64,
    /// The last change of the content, in nanoseconds since 1970.
    pub mtime_ns: i64,
    /// The last change of content, owner or mode, in nanoseconds since 1970. Unlike `mtime_ns` it
    /// cannot be set back.
    pub ctime_ns: i64,
}

impl From<&Metadata> for FileLook {
    fn from(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            links: metadata.nlink(),
            size: metadata.size(),
            mtime_ns: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
            ctime_ns: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// Correct for the years 1678 to 2262; other times all look alike.
const fn nanoseconds(seconds: i64, nanoseconds: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds)
}

impl Stamp {
    /// The stamp of a file or directory on disk, or of a directory in procfs, whose times tell when
    /// the kernel made it. Fails if it may exist and cannot be looked at.
    pub fn of_file(source: Source, path: &Path) -> io::Result<Self> {
        Self::of(source, path, look_at_file(path))
    }

    /// The stamp of a file on disk that was opened and has this metadata.
    pub fn of_metadata(source: Source, path: &Path, metadata: &Metadata) -> Self {
        Self { source, path: path.to_owned(), look: Look::File(metadata.into()) }
    }

    /// The stamp of a small file of the kernel. Fails if it may exist and cannot be read.
    pub fn of_text(source: Source, path: &Path) -> io::Result<Self> {
        Self::of(source, path, look_at_text(path))
    }

    /// The stamp of a directory of the kernel, by its inode. Fails if it may exist and cannot be
    /// looked at.
    pub fn of_inode(source: Source, path: &Path) -> io::Result<Self> {
        Self::of(source, path, look_at_inode(path))
    }

    /// The stamp of the names in a directory of the kernel. Fails if it may exist and cannot be
    /// read.
    pub fn of_entries(source: Source, path: &Path) -> io::Result<Self> {
        Self::of(source, path, look_at_entries(path))
    }

    /// The stamp of something that could not be looked at. It never matches, so that the next start
    /// scans again.
    pub fn unknown(source: Source, path: &Path) -> Self {
        Self { source, path: path.to_owned(), look: Look::Unknown }
    }

    fn of(source: Source, path: &Path, look: io::Result<Look>) -> io::Result<Self> {
        Ok(Self { source, path: path.to_owned(), look: or_absent(look)? })
    }

    /// The current state. Fails if the file may exist and cannot be looked at.
    pub fn now(&self) -> io::Result<Look> {
        or_absent(match &self.look {
            Look::Absent | Look::File(_) | Look::Unknown => look_at_file(&self.path),
            Look::Text(_) => look_at_text(&self.path),
            Look::Inode(_) => look_at_inode(&self.path),
            Look::Entries(_) => look_at_entries(&self.path),
        })
    }
}

fn or_absent(look: io::Result<Look>) -> io::Result<Look> {
    match look {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Look::Absent),
        // The directory of a driver that is being unloaded.
        Err(error) if error.kind() == ErrorKind::NotADirectory => Ok(Look::Absent),
        look => look,
    }
}

fn look_at_file(path: &Path) -> io::Result<Look> {
    Ok(Look::File((&fs::metadata(path)?).into()))
}

fn look_at_inode(path: &Path) -> io::Result<Look> {
    Ok(Look::Inode(fs::metadata(path)?.ino()))
}

fn read(path: &Path) -> io::Result<String> {
    // Enough space for one read, because the kernel makes the text anew for each.
    let mut bytes = Vec::with_capacity(256);
    fs::File::open(path)?.take(TEXT_MAX).read_to_end(&mut bytes)?;
    String::from_utf8(bytes).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))
}

fn look_at_text(path: &Path) -> io::Result<Look> {
    Ok(Look::Text(read(path)?.trim().to_owned()))
}

fn look_at_entries(path: &Path) -> io::Result<Look> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    order::sort(&mut names);
    Ok(Look::Entries(names))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Of = fn(&Path) -> io::Result<Stamp>;

    /// Makes a stamp of a file with `before` in it, and says whether it holds with `after` in it.
    fn holds(of: Of, before: &str, after: &str) -> bool {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, before).unwrap();
        let stamp = of(&path).unwrap();
        assert_eq!(stamp.now().unwrap(), stamp.look);
        fs::write(&path, after).unwrap();
        stamp.now().unwrap() == stamp.look
    }

    #[test]
    fn a_text_is_its_content_without_the_space_around_it() {
        let of: Of = |path| Stamp::of_text(Source::Nvidia, path);
        assert!(holds(of, "550.163\n", " 550.163"));
        assert!(!holds(of, "550.163\n", "550.164\n"));
    }

    #[test]
    fn entries_are_names() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gpus");
        let absent = Stamp::of_entries(Source::Nvidia, &path).unwrap();
        assert_eq!(absent.look, Look::Absent);
        fs::create_dir_all(path.join("0000:1b:00.0")).unwrap();
        assert_ne!(absent.now().unwrap(), Look::Absent, "it has appeared");
        let stamp = Stamp::of_entries(Source::Nvidia, &path).unwrap();
        fs::write(path.join("0000:1b:00.0/information"), "x").unwrap();
        assert_eq!(stamp.now().unwrap(), stamp.look, "what lies in an entry does not count");
        fs::create_dir(path.join("0000:43:00.0")).unwrap();
        assert_ne!(stamp.now().unwrap(), stamp.look);
        fs::remove_dir_all(&path).unwrap();
        assert_eq!(stamp.now().unwrap(), Look::Absent);
    }

    #[test]
    fn an_inode_is_of_what_is_there_now() {
        let dir = tempfile::tempdir().unwrap();
        let module = dir.path().join("nvidia_uvm");
        fs::create_dir(&module).unwrap();
        let stamp = Stamp::of_inode(Source::Nvidia, &module).unwrap();
        fs::write(module.join("refcnt"), "1").unwrap();
        assert_eq!(stamp.now().unwrap(), stamp.look);
        fs::rename(&module, dir.path().join("old")).unwrap();
        assert_eq!(stamp.now().unwrap(), Look::Absent);
        fs::create_dir(&module).unwrap();
        assert_ne!(stamp.now().unwrap(), stamp.look);
    }

    #[test]
    fn a_directory_on_disk_changes_with_its_entries() {
        let dir = tempfile::tempdir().unwrap();
        let stamp = Stamp::of_file(Source::Nvidia, dir.path()).unwrap();
        // Let the kernel's clock tick.
        std::thread::sleep(std::time::Duration::from_millis(20));
        fs::write(dir.path().join("libcuda.so.1"), "").unwrap();
        assert_ne!(stamp.now().unwrap(), stamp.look);
    }

    #[test]
    fn subdirectories_are_counted_by_links() {
        let links = |path: &Path| match Stamp::of_file(Source::Nvidia, path).unwrap().look {
            Look::File(look) => look.links,
            other => panic!("{other:?}"),
        };
        let path = Path::new("/proc/bus");
        let entries = fs::read_dir(path).unwrap().flatten();
        let inside = entries.filter(|entry| entry.file_type().unwrap().is_dir()).count();
        assert_eq!(links(path), 2 + inside as u64);
    }

    #[test]
    fn what_cannot_be_read_is_an_error_and_not_absent() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("binary"), b"\xff\xfe").unwrap();
        Stamp::of_text(Source::Amd, &dir.path().join("binary")).unwrap_err();
        Stamp::of_text(Source::Amd, dir.path()).unwrap_err();
        for path in ["binary", "nothing"].map(|name| dir.path().join(name)) {
            let unknown = Stamp::unknown(Source::Amd, &path);
            assert_ne!(unknown.now().unwrap(), unknown.look);
        }
        let below_a_file = dir.path().join("binary/entry");
        assert_eq!(Stamp::of_text(Source::Amd, &below_a_file).unwrap().look, Look::Absent);
    }
}
