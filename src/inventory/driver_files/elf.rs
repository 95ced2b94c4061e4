//! Facts about a library, read from its ELF file without running any of its code.

use crate::model::machine::Machine;
use elf::ElfStream;
use elf::abi::{DT_SONAME, DT_STRTAB, PT_LOAD};
use elf::endian::LittleEndian;
use elf::file::Class;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// The most bytes of a name (`NAME_MAX`), with its NUL.
const NAME_BYTES: usize = 256;

/// Whether a file is a 64-bit ELF file of this architecture.
pub(super) fn is_native(file: &File, machine: Machine) -> bool {
    open(file, machine).is_some()
}

/// The name by which the loader knows a library (`DT_SONAME`). The outer `None` is for a file of
/// another kind or architecture, the inner one for a library without a name.
#[expect(clippy::option_option, reason = "no file of ours, and a file of ours without a name")]
pub(super) fn soname(file: &File, machine: Machine) -> Option<Option<String>> {
    let mut object = open(file, machine)?;
    Some(find_soname(file, &mut object))
}

fn open(file: &File, machine: Machine) -> Option<ElfStream<LittleEndian, &File>> {
    let object = ElfStream::<LittleEndian, _>::open_stream(file).ok()?;
    let fits = object.ehdr.class == Class::ELF64 && object.ehdr.e_machine == machine.elf;
    fits.then_some(object)
}

fn find_soname(file: &File, object: &mut ElfStream<LittleEndian, &File>) -> Option<String> {
    let (mut name, mut strings) = (None, None);
    for entry in object.dynamic().ok()??.iter() {
        match entry.d_tag {
            DT_SONAME => name = Some(entry.d_val()),
            DT_STRTAB => strings = Some(entry.d_ptr()),
            _ => {}
        }
    }
    let address = strings?.checked_add(name?)?;
    // The table is given by its address in memory, which lies in the segment that is loaded there.
    let segment = object.segments().iter().find(|segment| {
        segment.p_type == PT_LOAD
            && address >= segment.p_vaddr
            && address - segment.p_vaddr < segment.p_filesz
    })?;
    let offset = segment.p_offset.checked_add(address - segment.p_vaddr)?;
    let mut bytes = [0; NAME_BYTES];
    let count = file.read_at(&mut bytes, offset).ok()?;
    let found = bytes.get(..count)?;
    let text = found.get(..memchr::memchr(0, found)?)?;
    Some(str::from_utf8(text).ok()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::machine::HOST;
    use proptest::prelude::*;
    use std::io::Write;

    fn of_bytes(bytes: &[u8]) -> Option<Option<String>> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        soname(&file, HOST?)
    }

    /// The C library that this very test runs with.
    fn libc() -> Option<Vec<u8>> {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let path = maps.split_whitespace().find(|word| word.contains("/libc.so.6"))?;
        Some(std::fs::read(path).unwrap())
    }

    #[test]
    fn a_real_library_is_known_by_its_name() {
        let Some(bytes) = libc() else { return };
        assert_eq!(of_bytes(&bytes), Some(Some("libc.so.6".to_owned())));
        let mut narrow = bytes;
        narrow[4] = 1;
        assert_eq!(of_bytes(&narrow), None);
        assert_eq!(of_bytes(b"INPUT(libc.so.6)"), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_bytes_do_harm(flips in prop::collection::vec((0_usize..2048, any::<u8>()), 0..24)) {
            let Some(mut bytes) = libc() else { return Ok(()) };
            bytes.truncate(64 << 10);
            for (at, byte) in flips {
                bytes[at] = byte;
            }
            let _ = of_bytes(&bytes);
        }
    }
}
