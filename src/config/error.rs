//! Why a configuration cannot be used, and what to do about it.

use super::toml_text::TextProblem;
use crate::failure::Failure;
use crate::model::code::Code;
use crate::sys::checked::FileError;
use std::path::PathBuf;
use thiserror::Error;

/// Why the configuration cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file exists, but is unsafe, too large or unreadable.
    #[error("the configuration cannot be read")]
    File(#[from] FileError),
    /// The file that was named explicitly does not exist.
    #[error("there is no configuration file `{}`", path.display())]
    Missing {
        /// The path as it was named.
        path: PathBuf,
    },
    /// The file is empty: a program that rewrites it in place empties it first.
    #[error("`{}` is empty", path.display())]
    Empty { path: PathBuf },
    /// The file is being changed.
    #[error("`{}` was changed while it was read", path.display())]
    Unsettled { path: PathBuf },
    /// The bytes are not UTF-8.
    #[error("`{}` is not text: byte {offset} is not UTF-8", path.display())]
    NotText {
        path: PathBuf,
        /// The number of valid bytes before it.
        offset: usize,
    },
    /// The text is not TOML, or has an unknown key or a value that is not allowed.
    #[error("in `{}`, {problem}", path.display())]
    Invalid {
        path: PathBuf,
        /// The fault and its position.
        problem: TextProblem,
    },
}

impl From<&ConfigError> for Failure {
    fn from(error: &ConfigError) -> Self {
        let hint = match error {
            ConfigError::File(FileError::Insecure { path, .. }) => {
                format!("give `{}` to root and let only root write to it", path.display())
            }
            ConfigError::Missing { .. } => "see --gpulease-config and GPULEASE_CONFIG".to_owned(),
            ConfigError::Empty { .. } => "to use the defaults, remove the file".to_owned(),
            ConfigError::Unsettled { .. } => {
                "start the container again once the file is written".to_owned()
            }
            _ => "gpulease-config(5) describes the file".to_owned(),
        };
        Self::of(Code::BadConfig, error).hint(hint)
    }
}
