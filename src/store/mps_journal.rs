//! The journal of an MPS daemon: written before each step, and read to undo all steps.

use crate::model::id::DeviceId;
use crate::model::lease::Owner;
use crate::sys::PathError;
use crate::sys::atomic::{self, Durability};
use crate::sys::checked::read_own;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;

/// The directory below the lease directory that has those of all daemons.
pub const DIRECTORY: &str = "mps";
/// The journal in a daemon's directory.
pub const FILE: &str = "journal.json";
/// More than any journal, in bytes.
const BYTES_MAX: u64 = 1 << 16;

/// The control daemons in all journals, alive or not. Their servers are their children, and compute for
/// leases. On a host without MPS this is a look for one directory.
pub fn processes(run: &Path) -> Vec<Owner> {
    let Ok(entries) = std::fs::read_dir(run.join(DIRECTORY)) else { return Vec::new() };
    let process = |entry: std::fs::DirEntry| {
        let bytes = read_own(&entry.path().join(FILE), BYTES_MAX).ok()??;
        serde_json::from_slice::<Started>(&bytes).ok()?.process
    };
    entries.flatten().filter_map(process).collect()
}

/// The part of a journal that names the process.
#[derive(Deserialize)]
struct Started {
    process: Option<Owner>,
}

/// The version of the format that this build writes, and the only one that it reads: a journal
/// does not outlive a boot.
const VERSION: u32 = 1;

/// All that was done for a daemon, or was about to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    pub v: u32,
    /// The device that the daemon serves.
    pub device: DeviceId,
    /// The device does not exist.
    pub simulated: bool,
    /// It serves one lease, and is named after it.
    pub per_lease: bool,
    /// The boot in which the daemon was started.
    pub boot_id: String,
    /// The control daemon; null before it was started.
    pub process: Option<Owner>,
    /// The mount namespace of the control daemon and its servers alone. As long as one of them lives,
    /// no other namespace has its number.
    #[serde(default)]
    pub mount_namespace: Option<u64>,
    /// The device's compute mode before gpulease changed it, as `nvidia-smi -c` takes it. It is
    /// restored when the daemon ends.
    pub prior_compute_mode: Option<String>,
    /// An administrator started it, and it stays without leases.
    pub kept: bool,
}

impl Journal {
    /// Of a daemon that is about to be started.
    pub const fn new(device: DeviceId, boot_id: String) -> Self {
        Self {
            v: VERSION,
            device,
            simulated: false,
            per_lease: false,
            boot_id,
            process: None,
            mount_namespace: None,
            prior_compute_mode: None,
            kept: false,
        }
    }

    /// The journal at `path`, if there is one. Fails with why it cannot be read.
    pub fn read(path: &Path) -> Result<Option<Self>, String> {
        let Some(bytes) = read_own(path, BYTES_MAX).map_err(|error| error.to_string())? else {
            return Ok(None);
        };
        match serde_json::from_slice::<Self>(&bytes) {
            Ok(journal) if journal.v == VERSION => Ok(Some(journal)),
            Ok(journal) => Err(format!("its format is version {}", journal.v)),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Writes it in place of an earlier one. The error names the file, e.g. on a full disk.
    pub fn write(&self, path: &Path) -> Result<(), PathError> {
        let bytes = serde_json::to_vec_pretty(self)
            .map_err(|error| PathError::new("write", path)(io::Error::other(error)))?;
        atomic::replace(path, &bytes, Durability::Synced)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_journal_is_read_back_and_garbage_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("mps/GPU-a");
        fs::create_dir_all(&place).unwrap();
        let path = place.join(FILE);
        assert_eq!(Journal::read(&path), Ok(None));
        let owner =
            Owner { pid: 7, start_time: 8, boot_id: "b".to_owned(), pid_namespace: 4_026_531_836 };
        let journal = Journal {
            process: Some(owner.clone()),
            prior_compute_mode: Some("DEFAULT".to_owned()),
            ..Journal::new(DeviceId::new("GPU-a").unwrap(), "b".to_owned())
        };
        assert!(processes(dir.path()).is_empty());
        journal.write(&path).unwrap();
        assert_eq!(Journal::read(&path), Ok(Some(journal.clone())));
        assert_eq!(processes(dir.path()), [owner]);
        Journal { v: 2, ..journal }.write(&path).unwrap();
        assert!(Journal::read(&path).unwrap_err().contains("version 2"));
        fs::write(&path, "{").unwrap();
        assert!(Journal::read(&path).is_err());
        assert!(processes(dir.path()).is_empty());
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(Journal::read(&path).is_err());
        assert!(processes(dir.path()).is_empty());
    }
}
