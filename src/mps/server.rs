//! A daemon's server, which is the process that computes.

use super::control::ControlClient;
use super::daemon::Tools;
use super::directory::DaemonDir;
use super::fault;
use super::log::last_words;
use crate::failure::Failure;
use std::time::{Duration, Instant};

impl Tools<'_> {
    /// Has a server of this user's, and waits until it has the GPU. Fails if it ends, or does not
    /// have the GPU in time.
    pub fn serve(
        &self,
        place: &DaemonDir,
        front: &ControlClient<'_>,
        uid: u32,
    ) -> Result<(), Failure> {
        if !front.pids("get_server_list")?.is_empty() {
            return self.await_server(place, front, uid);
        }
        front.say(&format!("start_server -uid {uid}"))?;
        self.await_server(place, front, uid)
    }

    fn await_server(
        &self,
        place: &DaemonDir,
        front: &ControlClient<'_>,
        uid: u32,
    ) -> Result<(), Failure> {
        let failed = |how: &str| {
            let said = last_words(place, |line| line.contains("erver "));
            fault(format!("the MPS server of user {uid} {how}{said}"))
                .hint("`nvidia-smi` shows whether another process has the GPU")
        };
        loop {
            let Some(server) = front.pids("get_server_list")?.first().copied() else {
                return Err(failed("does not run"));
            };
            // One that has ended meanwhile is in the next list no more.
            match front.say(&format!("get_server_status {server}")) {
                Ok(answer) if answer.ends_with("ACTIVE") => return Ok(()),
                Ok(answer) if answer.ends_with("FAULT") => return Err(failed("has a fault")),
                // A program from before the command; the limits are read back all the same.
                Err(fault) if fault.message.contains("Unknown command") => return Ok(()),
                _ => {}
            }
            if Instant::now() >= front.until {
                return Err(failed("does not come to have the GPU")
                    .hint("`mps.start_timeout` says how long it may take"));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
