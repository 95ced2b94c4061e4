//! The lease directory: its safety, its records, and the small files beside them.

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

/// More bytes than the largest inventory has.
const INVENTORY_MAX: u64 = 16 << 20;

/// The longest path, and a line end.
const LAST_RUNTIME_MAX: u64 = 4097;

/// Only root may read which container runs with which devices.
const INNER_MODE: u32 = 0o700;

#[derive(Debug, Clone)]
pub struct Store {
    pub(super) run: PathBuf,
}

impl Store {
    /// The store in this directory. Nothing is touched yet.
    pub fn at(run: &Path) -> Self {
        Self { run: run.to_owned() }
    }

    /// The lease directory itself.
    pub fn run_dir(&self) -> &Path {
        &self.run
    }

    /// Makes the missing directories and checks the existing ones. Fails if a directory cannot be
    /// made, or if others than its owner can write to it.
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

    /// Checks that the records can be trusted. Fails if the directory is missing, or if others than
    /// its owner can write to it.
    pub fn check(&self) -> Result<(), Failure> {
        check_owner(&self.run)
    }

    /// Waits until no other process makes the inventory anew, and keeps others from it. This is not
    /// the ledger's lock: leases can be made and released meanwhile. Fails if it takes longer than
    /// `deadline`; the error names the process that holds the lock.
    pub fn refresh_turn(&self, deadline: Duration, paths: &Paths) -> Result<Lock, Failure> {
        Ok(lock::acquire(&self.run.join("refresh.lock"), deadline, paths)?)
    }

    /// All records, read without the lock, for display. Each record is complete, but they need not
    /// be of the same moment. Fails if the directory cannot be listed. A missing directory has no
    /// records.
    pub fn entries(&self) -> Result<Vec<Entry>, Failure> {
        Ok(self.list()?.0)
    }

    /// The records, and the temporary files of unfinished ones.
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
            // gpulease does not give other names, so such a file is not its own.
            if let Some(key) = LeaseKey::from_file_stem(stem) {
                names.push(key);
            }
        }
        order::sort(&mut names);
        let entries = names.iter().filter_map(|key| self.entry(key).transpose());
        Ok((entries.collect::<Result<_, _>>()?, unfinished))
    }

    /// Removes temporary files of killed processes beside the leases.
    pub fn remove_leftovers(&self) {
        atomic::remove_leftovers(&self.run);
        atomic::remove_leftovers(&self.bundles_dir());
    }

    /// One record, read without the lock; `None` if there is none. Fails if the file exists and
    /// cannot be read.
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

    /// The contents of `inventory.json`; `None` if it is missing. Fails if the file exists and
    /// cannot be read, or does not belong to root.
    pub fn inventory(&self) -> Result<Option<Vec<u8>>, PathError> {
        let path = self.inventory_path();
        read_own(&path, INVENTORY_MAX).map_err(PathError::new("read", &path))
    }

    fn last_runtime_path(&self) -> PathBuf {
        self.run.join("runtime")
    }

    /// The low-level runtime that served when a lease was last recorded. It is used if the
    /// configuration cannot be parsed.
    pub fn last_runtime(&self, paths: &Paths) -> Option<PathBuf> {
        self.check().ok()?;
        let text = read_own(&self.last_runtime_path(), LAST_RUNTIME_MAX).ok()??;
        let named = Path::new(std::str::from_utf8(&text).ok()?.trim());
        let path = paths.on_host(named);
        (named.is_absolute() && path.is_file()).then_some(path)
    }

    /// Remembers the low-level runtime that just served. An error here is no reason to fail a
    /// start.
    pub fn remember_runtime(&self, runtime: &Path) {
        let (path, text) = (self.last_runtime_path(), format!("{}\n", runtime.display()));
        let known = read_own(&path, LAST_RUNTIME_MAX);
        if !known.is_ok_and(|known| known.as_deref() == Some(text.as_bytes())) {
            let _ = atomic::replace(&path, text.as_bytes(), atomic::Durability::Renamed);
        }
    }
}

/// Others can never write to the new directories, whatever the caller's umask is: a process that
/// can rename the directory can replace it.
pub(super) fn make_with_parents(dir: &Path) -> Result<(), PathError> {
    let made = DirBuilder::new().recursive(true).mode(0o755).create(dir);
    made.map_err(PathError::new("create", dir))
}

/// Removes the permission to read from others, who could list the containers.
fn close(dir: &Path) -> Result<(), Failure> {
    let metadata = fs::symlink_metadata(dir).map_err(PathError::new("read", dir))?;
    if metadata.mode() & 0o077 != 0 {
        let closed = Permissions::from_mode(INNER_MODE);
        fs::set_permissions(dir, closed).map_err(PathError::new("prepare", dir))?;
    }
    Ok(())
}

/// In a directory where others can rename files, they can forge leases.
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
