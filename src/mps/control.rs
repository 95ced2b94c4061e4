//! Commands to a control daemon. Its program, started without arguments, is the client that passes
//! them on.

use super::fault;
use crate::failure::Failure;
use crate::model::text::shown_line;
use crate::model::variables::MPS_PIPE;
use crate::sys::ask::tell_with_deadline;
use std::path::Path;
use std::time::{Duration, Instant};

/// More than any answer, which has a line for each server or client.
const ANSWER_MAX: usize = 1 << 16;

/// The client of one daemon.
#[derive(Debug, Clone, Copy)]
pub struct ControlClient<'a> {
    /// `nvidia-cuda-mps-control`. The caller has checked that only root can write it.
    pub program: &'a Path,
    /// The daemon's pipe directory.
    pub pipe: &'a Path,
    /// Until when the daemon must answer.
    pub until: Instant,
}

impl ControlClient<'_> {
    /// The daemon's answer to one command, without the white space at its ends. Fails if it does
    /// not answer in time, reports an error, or does not know the command.
    pub fn ask(&self, command: &str) -> Result<String, Failure> {
        let left = self.until.saturating_duration_since(Instant::now());
        let variables = [(MPS_PIPE, self.pipe.as_os_str())];
        let words = format!("{command}\n");
        let failed = |why: &str| {
            fault(format!("the MPS daemon does not do `{command}`: {}", shown_line(why)))
        };
        // Without any time left, the client would be killed although the daemon is well.
        let deadline = left.max(Duration::from_millis(50));
        let asked = tell_with_deadline(self.program, &variables, &words, deadline, ANSWER_MAX)
            .map_err(|error| failed(&error.to_string()))?;
        let answer = String::from_utf8_lossy(&asked.stdout).trim().to_owned();
        if !asked.status.success() {
            let why = if answer.is_empty() { asked.stderr.clone() } else { answer };
            return Err(failed(&format!("{}: {why}", asked.status)));
        }
        // The client exits with 0 on these.
        if ["Unknown command", "Insufficient privileges"].iter().any(|no| answer.contains(no)) {
            return Err(failed(&answer));
        }
        Ok(answer)
    }

    /// Whether the daemon answers.
    pub fn answers(&self) -> bool {
        self.ask("get_default_active_thread_percentage").is_ok()
    }

    /// The pids of its servers, or of the clients of one. Fails as [`Self::ask`] does.
    pub fn pids(&self, command: &str) -> Result<Vec<i32>, Failure> {
        Ok(self.ask(command)?.lines().filter_map(|line| line.trim().parse().ok()).collect())
    }
}

/// The features of later versions that the control program's help has options for. The help is
/// written for people: an option that is not spelled as expected counts as missing.
pub fn features(help: &str) -> Vec<&'static str> {
    const OPTIONS: &[(&str, &str)] = &[
        ("-S", "static-sm-partitioning"),
        ("-m", "multi-user"),
        ("-M", "multi-user"),
        ("-p", "protocol-version"),
    ];
    let is_option = |option: &str| {
        help.lines().any(|line| {
            let mut words =
                line.split(|c: char| c.is_whitespace() || matches!(c, ',' | '[' | ']' | '|'));
            words.any(|word| word == option)
        })
    };
    let mut found: Vec<_> =
        OPTIONS.iter().filter(|(option, _)| is_option(option)).map(|(_, name)| *name).collect();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_read_with_care() {
        let old = "CUDA MPS Control for Linux/Unix.\n  This program allows multiple-process use.\n";
        assert!(features(old).is_empty());
        let new = "usage: nvidia-cuda-mps-control [-d|-f] [-S] [-m]\n  -p, --protocol N\n";
        assert_eq!(features(new), ["static-sm-partitioning", "multi-user", "protocol-version"]);
    }

    #[test]
    fn a_daemon_that_does_not_answer_is_a_fault() {
        let client = |program| ControlClient {
            program: Path::new(program),
            pipe: Path::new("/nowhere"),
            until: Instant::now() + Duration::from_secs(5),
        };
        assert_eq!(client("/bin/cat").ask("x").unwrap(), "x");
        assert!(!client("/bin/false").answers());
        assert!(!client("/no/such/program").answers());
        assert_eq!(client("/bin/cat").pids("12").unwrap(), [12]);
        assert!(client("/bin/cat").ask("Unknown command \"x\"").is_err());
        let late = ControlClient { until: Instant::now(), ..client("/usr/bin/yes") };
        assert!(late.ask("x").unwrap_err().message.contains("does not do `x`"));
    }
}
