//! Runs a call that may never return, such as a look at a foreign file system, with a deadline.

use std::io;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Runs `act` in a thread, and waits no longer than `patience` for its answer; `None` if it is
/// late. A late thread ends with the process, and its answer is dropped. Fails if no thread can be
/// started.
pub fn within<T: Send + 'static>(
    patience: Duration,
    act: impl FnOnce() -> T + Send + 'static,
) -> io::Result<Option<T>> {
    let (sender, receiver) = mpsc::sync_channel(1);
    thread::Builder::new().stack_size(64 << 10).spawn(move || drop(sender.send(act())))?;
    Ok(receiver.recv_timeout(patience).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_answers_is_given_up_on() {
        let (_open, never) = mpsc::channel::<()>();
        let waited = within(Duration::from_millis(1), move || never.recv().is_ok());
        assert_eq!(waited.unwrap(), None);
        assert_eq!(within(Duration::from_secs(60), || 7).unwrap(), Some(7));
    }
}
