//! The files of one containerd: the main one, and those that it imports.
//!
//! Imports are read after the file that names them, breadth first, relative to its directory, with
//! stars in their last part (containerd, `cmd/containerd/server/config/config.go`,
//! `LoadConfigWithPlugins` and `resolveImports`). 2.x merges their tables; in 1.x a plugin's table
//! takes the place of the one before.

use super::NAME;
use super::containerd::{DEFAULT, cri_of};
use super::files::{self, ReadError};
use crate::model::text::glob;
use crate::paths::Paths;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

const MAIN: &str = "config.toml";
/// More files than any containerd has.
const FILES_MAX: usize = 256;

/// The file and all that it imports, in the order in which containerd reads them; empty if it is
/// not there.
pub(super) fn read_all(file: &Path, paths: &Paths) -> Result<Vec<(PathBuf, Table)>, ReadError> {
    let mut read: Vec<(PathBuf, Table)> = Vec::new();
    let mut pending = VecDeque::from([file.to_owned()]);
    while let Some(path) = pending.pop_front() {
        if read.len() >= FILES_MAX || read.iter().any(|(known, _)| *known == path) {
            continue;
        }
        if let Some(table) = files::read_table(&path)? {
            pending.extend(imports(&table, &path, paths));
            read.push((path, table));
        }
    }
    Ok(read)
}

/// The imports of a file, which may have a star in their last part.
fn patterns(table: &Table, file: &Path, paths: &Paths) -> Vec<PathBuf> {
    let beside = file.parent().unwrap_or(Path::new("/"));
    let absolute = |import: String| {
        if import.starts_with('/') {
            paths.on_host(Path::new(&import))
        } else {
            beside.join(import)
        }
    };
    files::strings(table.get("imports")).into_iter().map(absolute).collect()
}

/// The files that the imports of a file name. One without a star need not be there.
fn imports(table: &Table, file: &Path, paths: &Paths) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in patterns(table, file, paths) {
        match (path.parent(), path.file_name().and_then(|name| name.to_str())) {
            (Some(dir), Some(name)) if name.contains('*') => {
                found.extend(files::drop_ins(dir, name));
            }
            _ => found.push(path),
        }
    }
    found
}

/// The files that containerd reads beside the one that is edited.
#[derive(Debug, Default)]
pub(super) struct Others {
    pub(super) before: Vec<(PathBuf, Table)>,
    pub(super) after: Vec<(PathBuf, Table)>,
    /// Imports that cannot be read, and why.
    pub(super) unread: Vec<(PathBuf, String)>,
    /// The version of the main file, if that is another one.
    pub(super) main_version: Option<i64>,
}

impl Others {
    /// Those beside `path`, which says `own`. It is the main file, or one that `config.toml` in its
    /// directory or in the one above imports.
    pub(super) fn of(path: &Path, own: &Table) -> Self {
        let paths = Paths::default();
        let mut others = Self::default();
        for import in imports(own, path, &paths) {
            match read_all(&import, &paths) {
                Ok(read) => others.after.extend(read),
                Err(ReadError { path, why }) => others.unread.push((path, why.to_string())),
            }
        }
        let dirs = path.ancestors().skip(1).take(2);
        let mains = dirs.map(|dir| dir.join(MAIN)).filter(|main| main != path);
        for main in mains {
            let Ok(Some(table)) = files::read_table(&main) else { continue };
            if !names(&table, &main, path, &paths) {
                continue;
            }
            others.main_version = table.get("version").map_or(Some(1), Value::as_integer);
            let read = read_all(&main, &paths).unwrap_or_default();
            let (before, after): (Vec<_>, Vec<_>) = read
                .into_iter()
                .filter(|(other, _)| other != path)
                .partition(|(other, _)| *other == main || other.as_path() < path);
            others.before = before;
            others.after.extend(after);
            break;
        }
        others
    }

    /// Notes on the other files' effect on a `plugin` of the file that is edited.
    pub(super) fn notes(&self, plugin: &str, is_default: bool) -> Vec<String> {
        let mut notes = Vec::new();
        if let Some((main, _)) = self.before.iter().find(|(_, table)| !cri_of(table).is_empty()) {
            notes.push(format!(
                "`{}` imports this file: containerd 1.x takes its `plugins.\"{plugin}\"` in place \
                 of the one there",
                main.display()
            ));
        }
        for (path, table) in &self.after {
            let (cri, path) = (cri_of(table), path.display());
            if !cri.is_empty() {
                notes.push(format!(
                    "`{path}` is imported and has a CRI plugin too: containerd 1.x takes its \
                     `plugins.\"{plugin}\"` in place of the one of this file"
                ));
            }
            let default = cri.get(DEFAULT).and_then(Value::as_str);
            if let Some(default) = default.filter(|name| is_default && *name != NAME) {
                notes.push(format!(
                    "`{path}` makes `{default}` the default runtime, after this file"
                ));
            }
        }
        for (path, why) in &self.unread {
            notes.push(format!("`{}` is imported and cannot be read: {why}", path.display()));
        }
        notes
    }
}

/// Whether a main file imports `path`, which need not be there yet.
fn names(table: &Table, main: &Path, path: &Path, paths: &Paths) -> bool {
    patterns(table, main, paths).iter().any(|import| {
        let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
        let (Some(pattern), Some(own)) = (name(import), name(path)) else { return false };
        import.parent() == path.parent() && glob(&pattern, &own)
    })
}
