//! Random bytes from the kernel.

use crate::model::id::Nonce;
use std::io;

/// A fresh nonce from `getrandom(2)`. Fails if the kernel gives no random bytes.
pub fn nonce() -> io::Result<Nonce> {
    let mut bytes = [0u8; 16];
    // SAFETY: the pointer and the length describe `bytes`, which lives through the call.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    // A request of up to 256 bytes is never truncated once the pool is ready (getrandom(2)).
    if usize::try_from(got) != Ok(bytes.len()) {
        return Err(io::Error::last_os_error());
    }
    Ok(Nonce::from_bytes(bytes))
}
