//! The rights of a user on a file of the host, as the kernel decides them: by the owner, then the
//! access control list, then the others (acl(5), "Access check algorithm").

use std::ffi::CString;
use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The bits `rwx` of a process with this user and these groups. `None` is a user that the host does
/// not have, and so no file's owner.
pub fn rights(path: &Path, found: &Metadata, uid: Option<u32>, groups: &[u32]) -> u32 {
    let acl = Acl::parse(&read(path));
    acl.rights(found.mode(), (found.uid(), found.gid()), uid, groups)
}

/// The entries of a list that name a user or a group, and the mask that limits them.
#[derive(Debug, Default)]
struct Acl {
    users: Vec<(u32, u32)>,
    groups: Vec<(u32, u32)>,
    owning_group: Option<u32>,
    mask: Option<u32>,
}

impl Acl {
    /// Parses the attribute `system.posix_acl_access`: a version, then entries of a tag, rights and
    /// an id, all little-endian (linux/posix_acl_xattr.h). Anything else counts as an empty list.
    fn parse(bytes: &[u8]) -> Self {
        let mut acl = Self::default();
        let Some((version, entries)) = bytes.split_first_chunk::<4>() else { return acl };
        if u32::from_le_bytes(*version) != 2 {
            return acl;
        }
        for entry in entries.chunks_exact(8) {
            let Ok([a, b, c, d, id @ ..]) = <[u8; 8]>::try_from(entry) else { continue };
            let (tag, bits) = (u16::from_le_bytes([a, b]), u32::from(u16::from_le_bytes([c, d])));
            let id = u32::from_le_bytes(id);
            match tag {
                0x02 => acl.users.push((id, bits)),
                0x04 => acl.owning_group = Some(bits),
                0x08 => acl.groups.push((id, bits)),
                0x10 => acl.mask = Some(bits),
                _ => {}
            }
        }
        acl
    }

    fn rights(&self, mode: u32, owner: (u32, u32), uid: Option<u32>, groups: &[u32]) -> u32 {
        if uid == Some(owner.0) {
            return mode >> 6 & 7;
        }
        let mask = self.mask.unwrap_or(7);
        if let Some((_, bits)) = self.users.iter().find(|(user, _)| Some(*user) == uid) {
            return bits & mask;
        }
        // Without a list these bits are the group's; with a list they are the mask.
        let own = (owner.1, self.owning_group.unwrap_or(mode >> 3 & 7));
        let named = [own].into_iter().chain(self.groups.iter().copied());
        let mut found = named.filter(|(group, _)| groups.contains(group)).map(|(_, bits)| bits);
        match found.next() {
            Some(first) => found.fold(first, |all, bits| all | bits) & mask,
            None => mode & 7,
        }
    }
}

/// The bytes of the list; none if the file or its file system has no list.
fn read(path: &Path) -> Vec<u8> {
    const NAME: &std::ffi::CStr = c"system.posix_acl_access";
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else { return Vec::new() };
    // More than a list on a device node can have is not read.
    let mut bytes = vec![0_u8; 4096];
    // SAFETY: both strings end in a zero byte, and the buffer is as long as said.
    let length = unsafe {
        libc::getxattr(path.as_ptr(), NAME.as_ptr(), bytes.as_mut_ptr().cast(), bytes.len())
    };
    bytes.truncate(usize::try_from(length).unwrap_or(0));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Entries of a tag, rights and an id.
    fn list(entries: &[(u16, u16, u32)]) -> Acl {
        let mut bytes = 2_u32.to_le_bytes().to_vec();
        for (tag, bits, id) in entries {
            bytes.extend(tag.to_le_bytes());
            bytes.extend(bits.to_le_bytes());
            bytes.extend(id.to_le_bytes());
        }
        Acl::parse(&bytes)
    }

    #[test]
    fn owner_group_and_others_without_a_list() {
        let acl = Acl::parse(&[]);
        let rights = |uid, groups: &[u32]| acl.rights(0o20640, (5, 44), uid, groups);
        assert_eq!(rights(Some(5), &[]), 6);
        assert_eq!(rights(Some(6), &[1, 44]), 4);
        assert_eq!(rights(Some(6), &[1]), 0);
        assert_eq!(rights(None, &[]), 0);
        assert_eq!(acl.rights(0o666, (5, 44), None, &[]), 6);
        // The owner's bits are all that the owner has.
        assert_eq!(acl.rights(0o066, (5, 44), Some(5), &[44]), 0);
    }

    #[test]
    fn a_list_names_users_and_groups() {
        let entries =
            [(1, 6, 0), (2, 6, 100_000), (2, 7, 9), (4, 0, 0), (8, 6, 50), (16, 6, 0), (32, 0, 0)];
        let acl = list(&entries);
        let rights = |uid, groups: &[u32]| acl.rights(0o660, (0, 44), uid, groups);
        assert_eq!(rights(Some(100_000), &[]), 6);
        assert_eq!(rights(Some(9), &[]), 6, "not beyond the mask");
        assert_eq!(rights(Some(7), &[50]), 6);
        assert_eq!(rights(Some(7), &[44]), 0, "the group's bits of the mode are the mask");
        assert_eq!(rights(Some(7), &[44, 50]), 6);
        assert_eq!(rights(Some(7), &[]), 0);
    }

    #[test]
    fn what_is_no_list_is_an_empty_one() {
        for bytes in [&[][..], &[2, 0, 0], &[1, 0, 0, 0, 2, 0, 6, 0, 7, 0, 0, 0], &[2, 0, 0, 0, 2]]
        {
            assert!(Acl::parse(bytes).users.is_empty(), "{bytes:?}");
        }
        assert!(read(Path::new("/proc/self/no such file")).is_empty());
    }
}
