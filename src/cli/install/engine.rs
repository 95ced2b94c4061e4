//! The engines: where each keeps its configuration, and how it is made to read it again.

use clap::ValueEnum;
use std::path::Path;

/// An engine, or one of the two files by which Podman calls the hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Engine {
    /// /etc/docker/daemon.json
    Docker,
    /// /etc/containers/containers.conf.d/60-gpulease.conf
    Podman,
    /// /etc/containerd/config.toml
    Containerd,
    /// /etc/crio/crio.conf.d/60-gpulease.conf
    Crio,
    /// The drop-in that has Podman read the directory of the hook.
    #[value(skip)]
    PodmanHooksDir,
    /// The file in that directory, which says how the hook is called.
    #[value(skip)]
    PodmanHook,
}

impl Engine {
    /// The one that a record names.
    pub(super) fn of_record(name: &str) -> Option<Self> {
        let hooks = [Self::PodmanHooksDir, Self::PodmanHook];
        Self::value_variants().iter().chain(&hooks).copied().find(|engine| engine.name() == name)
    }

    /// As on the command line and in records.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::Containerd => "containerd",
            Self::Crio => "crio",
            Self::PodmanHooksDir => "podman-hooks-dir",
            Self::PodmanHook => "podman-hook",
        }
    }

    /// The file that is edited. Podman and CRI-O read directories of drop-ins, so there it is one
    /// of our own, and no file of theirs changes.
    pub(in crate::cli) fn default_config(self) -> &'static Path {
        Path::new(match self {
            Self::Docker => "/etc/docker/daemon.json",
            Self::Podman => "/etc/containers/containers.conf.d/60-gpulease.conf",
            Self::Containerd => "/etc/containerd/config.toml",
            Self::Crio => "/etc/crio/crio.conf.d/60-gpulease.conf",
            Self::PodmanHooksDir => "/etc/containers/containers.conf.d/90-gpulease-precreate.conf",
            Self::PodmanHook => "/etc/containers/gpulease-hooks.d/60-gpulease.json",
        })
    }

    /// The command that has it use gpulease, at once where that takes a reload.
    pub(in crate::cli) fn command(self) -> String {
        let reload = if self.reload().is_some() { " --reload" } else { "" };
        format!("gpulease install {}{reload}", self.name())
    }

    /// The program that reads the file.
    pub(super) const fn program(self) -> &'static str {
        match self {
            Self::Docker => "dockerd",
            Self::Podman | Self::PodmanHooksDir | Self::PodmanHook => "podman",
            Self::Containerd => "containerd",
            Self::Crio => "crio",
        }
    }

    /// How the engine is made to read its configuration; `None` for Podman, which reads it for
    /// each command. dockerd reads its runtimes anew on SIGHUP, if the file names any; containerd
    /// knows no reload, and CRI-O one for some of its options only. Containers
    /// live through all three.
    pub(super) const fn reload(self) -> Option<&'static [&'static str]> {
        match self {
            Self::Docker => Some(&["systemctl", "reload", "docker"]),
            Self::Containerd => Some(&["systemctl", "restart", "containerd"]),
            Self::Crio => Some(&["systemctl", "restart", "crio"]),
            Self::Podman | Self::PodmanHooksDir | Self::PodmanHook => None,
        }
    }
}
