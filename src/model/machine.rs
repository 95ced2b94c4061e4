//! The processor architecture that this program was built for. The host has it too, and so do all
//! containers that can use the libraries of the host's driver.

/// An architecture, with its names in distributions and ELF files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// Debian's name in paths (`/usr/lib/x86_64-linux-gnu`; Debian policy, "Multiarch").
    pub multiarch: &'static str,
    /// The name of musl's loader (`/lib/ld-musl-x86_64.so.1`).
    pub musl_loader: &'static str,
    pub elf: u16,
}

/// The architectures that NVIDIA has drivers for.
const X86_64: Machine =
    Machine { multiarch: "x86_64-linux-gnu", musl_loader: "ld-musl-x86_64.so.1", elf: 62 };
const AARCH64: Machine =
    Machine { multiarch: "aarch64-linux-gnu", musl_loader: "ld-musl-aarch64.so.1", elf: 183 };

/// The host's architecture; `None` if there are no drivers for it.
pub const HOST: Option<Machine> = if cfg!(target_arch = "x86_64") {
    Some(X86_64)
} else if cfg!(target_arch = "aarch64") {
    Some(AARCH64)
} else {
    None
};

/// The number of bytes that [`Machine::is_of`] looks at.
pub const HEADER: usize = 20;

impl Machine {
    /// Whether these are the first bytes of a 64-bit ELF file of this architecture: magic number,
    /// class, byte order and `e_machine` (elf(5)).
    pub fn is_of(&self, beginning: &[u8]) -> bool {
        let [low, high] = self.elf.to_le_bytes();
        beginning.starts_with(b"\x7fELF\x02\x01") && beginning.get(18..HEADER) == Some(&[low, high])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_64_bits_of_the_architecture_count() {
        let mut header = *b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0";
        assert!(X86_64.is_of(&header) && !AARCH64.is_of(&header));
        assert!(!X86_64.is_of(&header[..19]) && !X86_64.is_of(b""));
        header[4] = 1;
        assert!(!X86_64.is_of(&header));
    }
}
