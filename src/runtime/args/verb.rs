//! The verbs of a command line.

/// The task of the runtime, as far as we need to know it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Verb {
    Create,
    /// Make a container and start it.
    Run,
    /// Make a container from a checkpoint.
    Restore,
    /// Start a process in a container.
    Exec,
    Delete,
    /// Change the resources of a container.
    Update,
    /// `--version` without a verb.
    Version,
    /// Anything else about a container that exists: `start`, `kill`, `state`, …
    Other,
    /// No verb, or one that concerns no container: `features`, `list`, `spec`.
    #[default]
    None,
}

impl Verb {
    pub(super) fn of(word: &[u8]) -> Self {
        match word {
            b"create" => Self::Create,
            b"run" => Self::Run,
            b"restore" => Self::Restore,
            b"exec" => Self::Exec,
            b"delete" => Self::Delete,
            b"update" => Self::Update,
            b"features" | b"list" | b"spec" | b"help" | b"h" | b"completion" => Self::None,
            _ => Self::Other,
        }
    }

    /// How much the meaning of the words matters: most if a container is made.
    pub(super) const fn weight(self) -> u8 {
        match self {
            Self::Create | Self::Run | Self::Restore => 2,
            Self::Exec | Self::Update => 1,
            _ => 0,
        }
    }
}
