//! NVIDIA's kernel module, as procfs describes it.

use crate::paths::Paths;
use std::fs;

/// The module that is loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelModule {
    pub version: String,
    /// Whether it is the one whose source is open.
    pub open: bool,
}

impl KernelModule {
    pub fn look(paths: &Paths) -> Option<Self> {
        Self::parse(&fs::read_to_string(paths.proc.join("driver/nvidia/version")).ok()?)
    }

    /// `NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.54.15  Release Build …`
    fn parse(text: &str) -> Option<Self> {
        let line = text.lines().find(|line| line.starts_with("NVRM version:"))?;
        let is_version = |word: &&str| {
            word.contains('.') && word.split('.').all(|part| part.parse::<u32>().is_ok())
        };
        let version = line.split_whitespace().find(is_version)?.to_owned();
        Some(Self { version, open: line.contains("Open Kernel Module") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_open_module_is_told_from_the_other() {
        let of = |text| KernelModule::parse(text).map(|module| (module.version, module.open));
        let open = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.54.15  Release \
                    Build  (dvs-builder@U16-I2)\nGCC version:  gcc version 12.2.0\n";
        assert_eq!(of(open), Some(("550.54.15".to_owned(), true)));
        let closed = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  470.223.02  Sat Oct  7 \
                      15:39:11 UTC 2023\n";
        assert_eq!(of(closed), Some(("470.223.02".to_owned(), false)));
        assert_eq!(of("NVRM version: none\n"), None);
        assert_eq!(of("GCC version:  gcc version 12.2.0\n"), None);
    }
}
