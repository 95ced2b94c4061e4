//! Why there is no usable inventory.

use super::static_file::{ExistingNumber, StaticFileError};
use crate::failure::Failure;
use crate::model::code::Code;
use crate::sys::PathError;
use crate::sys::checked::FileError;
use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// Why there is no usable inventory.
#[derive(Debug, Error)]
pub enum InventoryError {
    /// The devices file exists, but is unsafe, too large or unreadable.
    #[error("the devices file cannot be read")]
    File(#[from] FileError),
    /// The devices file is not UTF-8.
    #[error("`{}` is not text: byte {offset} is not UTF-8", path.display())]
    NotText {
        path: PathBuf,
        /// The number of valid bytes before it.
        offset: usize,
    },
    /// The devices file contains something that is not allowed or cannot be true.
    #[error("in `{}`, {problem}", path.display())]
    Invalid {
        path: PathBuf,
        /// The fault and its position.
        problem: StaticFileError,
    },
    /// A simulated device has the number of a real one.
    #[error(
        "in `{}`, the simulated node `{}` has the number {}:{}, which exists on this host: see `{}`",
        path.display(), number.path, number.major, number.minor, number.seen_in.display()
    )]
    NumberExists {
        path: PathBuf,
        /// The number, and the file that shows it.
        number: ExistingNumber,
    },
    /// The boot id cannot be read, so an inventory cannot be attributed to this boot.
    #[error("cannot read the boot id `{}`", path.display())]
    BootId {
        /// Where it should be.
        path: PathBuf,
        source: io::Error,
    },
    /// The file does not contain a boot id.
    #[error("`{}` does not hold a boot id", path.display())]
    NoBootId {
        /// Where it should be.
        path: PathBuf,
    },
    /// The inventory could not be written as JSON.
    #[error("cannot write the inventory as JSON")]
    Encode(#[source] serde_json::Error),
    /// The file is not an inventory.
    #[error("the inventory is damaged: {0}")]
    Damaged(String),
    /// The inventory is out of date.
    #[error("the inventory is out of date: {0}")]
    Stale(String),
}

/// The code is [`Code::BadInventory`] if the source has to be corrected, and
/// [`Code::StaleInventory`] if reading it again helps.
impl From<&InventoryError> for Failure {
    fn from(error: &InventoryError) -> Self {
        let correct = |path: &PathBuf| {
            let path = path.display();
            let hint = format!("correct `{path}`, then run `gpulease inventory refresh`");
            (Code::BadInventory, hint)
        };
        let again = "run `gpulease inventory refresh` as root".to_owned();
        let (code, hint) = match error {
            InventoryError::File(FileError::Insecure { path, .. }) => {
                let path = path.display();
                let hint = format!("give `{path}` to root and let only root write to it");
                (Code::BadInventory, hint)
            }
            InventoryError::File(
                FileError::Io(PathError { path, .. }) | FileError::TooLarge { path },
            )
            | InventoryError::NotText { path, .. }
            | InventoryError::Invalid { path, .. } => correct(path),
            InventoryError::NumberExists { path, .. } => {
                let path = path.display();
                let hint = format!(
                    "give it a major number of 1024 or more in `{path}`: Linux hands out none"
                );
                (Code::BadInventory, hint)
            }
            InventoryError::BootId { .. } | InventoryError::NoBootId { .. } => {
                (Code::StaleInventory, "is `/proc` mounted?".to_owned())
            }
            InventoryError::Encode(_) => (Code::BadInventory, again),
            InventoryError::Damaged(_) | InventoryError::Stale(_) => (Code::StaleInventory, again),
        };
        Self::of(code, error).hint(hint)
    }
}

impl From<InventoryError> for Failure {
    fn from(error: InventoryError) -> Self {
        Self::from(&error)
    }
}
