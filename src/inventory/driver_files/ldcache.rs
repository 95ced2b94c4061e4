//! The cache of the dynamic loader, `/etc/ld.so.cache`: the paths of the libraries.
//!
//! The format is glibc's (`sysdeps/generic/dl-cache.h`, "glibc-ld.so.cache1.1"): a header of 48
//! bytes, entries of 24, and strings, which entries refer to by their distance from the header. A
//! cache in the older format, with the same content, may precede it.

const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
const HEADER: usize = 48;
const ENTRY: usize = 24;

/// The older format: a header of 16 bytes, entries of 12. The next part begins at a multiple of 8.
const OLD_MAGIC: &[u8] = b"ld.so-1.7.0";
const OLD_HEADER: usize = 16;
const OLD_ENTRY: usize = 12;

/// The most entries that are read. A large host has some thousands.
const ENTRIES_MAX: usize = 1 << 16;

/// The paths in a cache, in its order. Entries that cannot be parsed are left out; the caller also
/// looks in the usual directories.
pub(super) fn paths(bytes: &[u8]) -> Vec<&str> {
    let Some(cache) = newer_part(bytes) else { return Vec::new() };
    let count = number(cache, MAGIC.len()).unwrap_or(0).min(ENTRIES_MAX);
    let entries = cache.get(HEADER..).unwrap_or_default().chunks_exact(ENTRY).take(count);
    // An entry is: flags, the library's name, its path, …
    entries.filter_map(|entry| text(cache, number(entry, 8)?)).collect()
}

fn newer_part(bytes: &[u8]) -> Option<&[u8]> {
    if bytes.starts_with(MAGIC) {
        return Some(bytes);
    }
    if !bytes.starts_with(OLD_MAGIC) {
        return None;
    }
    let old = number(bytes, OLD_HEADER - 4)?.checked_mul(OLD_ENTRY)?.checked_add(OLD_HEADER)?;
    bytes.get(old.checked_next_multiple_of(8)?..).filter(|rest| rest.starts_with(MAGIC))
}

/// A number of four bytes, in the host's byte order.
fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let four = bytes.get(at..)?.first_chunk::<4>()?;
    usize::try_from(u32::from_ne_bytes(*four)).ok()
}

/// A string that ends with a null byte.
fn text(bytes: &[u8], at: usize) -> Option<&str> {
    let rest = bytes.get(at..)?;
    let end = memchr::memchr(0, rest.get(..rest.len().min(libc::PATH_MAX as usize))?)?;
    str::from_utf8(rest.get(..end)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cache(paths: &[&str]) -> Vec<u8> {
        let count = u32::try_from(paths.len()).unwrap();
        let mut strings = Vec::new();
        let mut entries = Vec::new();
        for path in paths {
            let at = HEADER + paths.len() * ENTRY + strings.len();
            entries.extend(0x0303_u32.to_ne_bytes());
            entries.extend(0_u32.to_ne_bytes());
            entries.extend(u32::try_from(at).unwrap().to_ne_bytes());
            entries.extend([0; 12]);
            strings.extend(path.as_bytes());
            strings.push(0);
        }
        let mut bytes = MAGIC.to_vec();
        bytes.extend(count.to_ne_bytes());
        bytes.extend([0; HEADER - 24]);
        [bytes, entries, strings].concat()
    }

    #[test]
    fn paths_are_read_from_both_kinds() {
        let new = cache(&["/lib/libc.so.6", "/usr/lib/libcuda.so.1"]);
        assert_eq!(paths(&new), ["/lib/libc.so.6", "/usr/lib/libcuda.so.1"]);
        // One entry of the older kind: 28 bytes, and four to the next multiple of 8.
        let old = [b"ld.so-1.7.0\0".to_vec(), 1_u32.to_ne_bytes().to_vec(), vec![7; 16]].concat();
        assert_eq!(paths(&[old, new].concat()), ["/lib/libc.so.6", "/usr/lib/libcuda.so.1"]);
        assert_eq!(paths(b""), [""; 0]);
        assert_eq!(paths(b"\x7fELF"), [""; 0]);
    }

    #[test]
    fn this_hosts_cache_names_its_c_library() {
        let Ok(bytes) = std::fs::read("/etc/ld.so.cache") else { return };
        assert!(paths(&bytes).iter().any(|path| path.ends_with("/libc.so.6")));
    }

    proptest! {
        #[test]
        fn no_bytes_do_harm(
            garbage in prop::collection::vec(any::<u8>(), 0..300),
            cut in 0_usize..200,
            flips in prop::collection::vec((0_usize..200, any::<u8>()), 0..8),
            magic in 0..3,
        ) {
            let _ = paths(&garbage);
            let mut bytes = match magic {
                0 => cache(&["/a/libcuda.so.1", "/b"]),
                1 => [OLD_MAGIC, &garbage].concat(),
                _ => [MAGIC, &garbage].concat(),
            };
            for (at, byte) in flips {
                if let Some(place) = bytes.get_mut(at) {
                    *place = byte;
                }
            }
            bytes.truncate(bytes.len().saturating_sub(cut));
            prop_assert!(paths(&bytes).len() <= bytes.len() / ENTRY + 1);
        }
    }
}
