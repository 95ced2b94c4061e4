//! The directory that everything lies in.

use super::record::{self, Entry};
use crate::failure::Failure;
use crate::model::code::Code;
use crate::model::id::LeaseKey;
use crate::model::order;
use crate::paths::Paths;
use crate::sys::checked::read_own;
use crate::sys::error::if_there;
use crate::sys::lock::Lock;
use crate::sys::{PathError, atomic, identity, lock};
use std::fs::{self, DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// More than an inventory of the most devices.
const INVENTORY_MAX: u64 = 16 << 20;

/// A path and a line's end.
const LAST_RUNTIME_MAX: u64 = 4097;

/// Who runs what, and with which devices, is for nobody else to read.
const INNER_MODE: u32 = 0o700;

#[derive(Debug, Clone)]
pub struct Store {
    pub(super) run: PathBuf,
}

impl Store {
    /// The store under this directory; nothing is touched yet.
    pub fn at(run: &Path) -> Self {
        Self { run: run.to_owned() }
    }

    /// The lease directory itself.
    pub fn run_dir(&self) -> &Path {
        &self.run
    }

    /// Makes the directories that are missing and checks the ones that are there. Fails if one
    /// cannot be made, or one could be written by others than its owner.
    pub fn prepare(&self, paths: &Paths) -> Result<(), Failure> {
        if !self.run.exists() {
            if !identity::is_host_root(paths) {
                return Err(Failure::new(
                    Code::RootlessUnsupported,
                    format!(
                        "`{}` is missing and is not made from within a user namespace",
                        self.run.display()
                    ),
                ));
            }
            if let Some(parent) = self.run.parent() {
                make_with_parents(parent)?;
            }
            atomic::make_dir(&self.run, 0o755)?;
        }
        self.check()?;
        ["leases", "bundles", "corrupt"].into_iter().try_for_each(|name| {
            let dir = self.run.join(name);
            atomic::make_dir(&dir, INNER_MODE)?;
            check_owner(&dir)?;
            close(&dir)
        })
    }

    /// Whether what lies here may be believed. Fails if the directory is not there, or could be
    /// written by others than its owner.
    pub fn check(&self) -> Result<(), Failure> {
        check_owner(&self.run)
    }

    /// Waits until nobody else makes the inventory anew. Not the ledger's lock: leases can be made
    /// and released meanwhile. Fails if it takes longer than `deadline`; the error names who does.
    pub fn refresh_turn(&self, deadline: Duration, paths: &Paths) -> Result<Lock, Failure> {
        Ok(lock::acquire(&self.run.join("refresh.lock"), deadline, paths)?)
    }

    /// All records, as they lie, without the lock: each is whole, but they need not be of one
    /// moment. For display. Fails if the directory cannot be listed. A missing one has no records.
    pub fn entries(&self) -> Result<Vec<Entry>, Failure> {
        Ok(self.list()?.0)
    }

    /// The records, and files that were on the way to be one.
    pub(super) fn list(&self) -> Result<(Vec<Entry>, Vec<PathBuf>), Failure> {
        let dir = self.leases_dir();
        let mut unfinished = Vec::new();
        let listing = if_there(fs::read_dir(&dir)).map_err(PathError::new("list", &dir))?;
        let mut names = Vec::new();
        for entry in listing.into_iter().flatten() {
            let entry = entry.map_err(PathError::new("list", &dir))?;
            let name = entry.file_name();
            if atomic::pid_of_temporary(&name).is_some() {
                unfinished.push(entry.path());
            }
            let Some(stem) = name.to_str().and_then(|name| name.strip_suffix(".json")) else {
                continue;
            };
            // A name that gpulease would never give belongs to somebody else's file.
            if let Some(key) = LeaseKey::from_file_stem(stem) {
                names.push(key);
            }
        }
        order::sort(&mut names);
        let entries = names.iter().filter_map(|key| self.entry(key).transpose());
        Ok((entries.collect::<Result<_, _>>()?, unfinished))
    }

    /// Removes what killed processes were writing beside the leases.
    pub fn remove_leftovers(&self) {
        atomic::remove_leftovers(&self.run);
        atomic::remove_leftovers(&self.bundles_dir());
    }

    /// One record, if there is one, without the lock. Fails if the file is there
    /// and cannot be read.
    pub fn entry(&self, key: &LeaseKey) -> Result<Option<Entry>, Failure> {
        Ok(record::read(&self.lease_path(key), key)?)
    }

    pub(super) fn leases_dir(&self) -> PathBuf {
        self.run.join("leases")
    }

    pub(super) fn lease_path(&self, key: &LeaseKey) -> PathBuf {
        self.leases_dir().join(format!("{}.json", key.file_stem()))
    }

    pub(super) fn bundles_dir(&self) -> PathBuf {
        self.run.join("bundles")
    }

    pub fn inventory_path(&self) -> PathBuf {
        self.run.join("inventory.json")
    }

    /// The inventory's cache; `None` if there is none. Fails if it is there and cannot be read, or
    /// is no file of root's.
    pub fn inventory(&self) -> Result<Option<Vec<u8>>, PathError> {
        let path = self.inventory_path();
        read_own(&path, INVENTORY_MAX).map_err(PathError::new("read", &path))
    }

    fn last_runtime_path(&self) -> PathBuf {
        self.run.join("runtime")
    }

    /// The low-level runtime that served when a lease was last recorded: for the day on which the
    /// configuration does not parse.
    pub fn last_runtime(&self, paths: &Paths) -> Option<PathBuf> {
        self.check().ok()?;
        let text = read_own(&self.last_runtime_path(), LAST_RUNTIME_MAX).ok()??;
        let named = Path::new(std::str::from_utf8(&text).ok()?.trim());
        let path = paths.on_host(named);
        (named.is_absolute() && path.is_file()).then_some(path)
    }

    /// Keeps the low-level runtime that just served. Losing it is no reason to fail a start.
    pub fn remember_runtime(&self, runtime: &Path) {
        let (path, text) = (self.last_runtime_path(), format!("{}\n", runtime.display()));
        let known = read_own(&path, LAST_RUNTIME_MAX);
        if !known.is_ok_and(|known| known.as_deref() == Some(text.as_bytes())) {
            let _ = atomic::replace(&path, text.as_bytes(), atomic::Durability::Renamed);
        }
    }
}

/// Whatever the caller's umask is, others cannot write there: who can rename the
/// directory can replace it.
pub(super) fn make_with_parents(dir: &Path) -> Result<(), PathError> {
    let made = DirBuilder::new().recursive(true).mode(0o755).create(dir);
    made.map_err(PathError::new("create", dir))
}

/// Takes reading away from others, who could list the containers by it.
fn close(dir: &Path) -> Result<(), Failure> {
    let metadata = fs::symlink_metadata(dir).map_err(PathError::new("read", dir))?;
    if metadata.mode() & 0o077 != 0 {
        let closed = Permissions::from_mode(INNER_MODE);
        fs::set_permissions(dir, closed).map_err(PathError::new("prepare", dir))?;
    }
    Ok(())
}

/// A directory in which others can rename files is one in which they can forge leases.
pub(super) fn check_owner(dir: &Path) -> Result<(), Failure> {
    let metadata = fs::symlink_metadata(dir).map_err(PathError::new("read", dir))?;
    let insecure = |fault: String| {
        let message = format!("`{}` {fault}: leases in it could be forged", dir.display());
        Failure::new(Code::StateUnavailable, message).hint(
            "give the directory to root and let only root write to it, or remove it while no lease \
             is held",
        )
    };
    if !metadata.is_dir() {
        return Err(insecure("is not a directory".into()));
    }
    if metadata.uid() != nix::unistd::geteuid().as_raw() {
        return Err(insecure(format!("belongs to user {}", metadata.uid())));
    }
    if metadata.mode() & 0o022 != 0 {
        return Err(insecure(format!(
            "has mode {:04o}, so that others can write to it",
            metadata.mode() & 0o7777
        )));
    }
    Ok(())
}
