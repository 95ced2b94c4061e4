//! Asking a control daemon: its program, started without arguments, is the front end.

use super::fault;
use crate::failure::Failure;
use crate::model::text::shown_line;
use crate::model::variables::MPS_PIPE;
use crate::sys::ask::tell_with_deadline;
use std::path::Path;
use std::time::{Duration, Instant};

/// More than any answer: a line for each server or client.
const ANSWER_MAX: usize = 1 << 16;

/// The front end of one daemon.
#[derive(Debug, Clone, Copy)]
pub struct ControlClient<'a> {
    /// The control program; whoever asks has checked whose it is.
    pub control: &'a Path,
    /// The daemon's pipe directory.
    pub pipe: &'a Path,
    /// Until when there must be an answer.
    pub until: Instant,
}

impl ControlClient<'_> {
    /// What it answers to one command, without the white space at its ends. Fails if it does not
    /// answer in time, complains, or does not know the command.
    pub fn say(&self, command: &str) -> Result<String, Failure> {
        let left = self.until.saturating_duration_since(Instant::now());
        let variables = [(MPS_PIPE, self.pipe.as_os_str())];
        let words = format!("{command}\n");
        let failed = |why: &str| {
            fault(format!("the MPS daemon does not do `{command}`: {}", shown_line(why)))
        };
        // A deadline of nothing would kill the front end of a daemon that is well.
        let deadline = left.max(Duration::from_millis(50));
        let asked = tell_with_deadline(self.control, &variables, &words, deadline, ANSWER_MAX)
            .map_err(|error| failed(&error.to_string()))?;
        let answer = String::from_utf8_lossy(&asked.stdout).trim().to_owned();
        if !asked.status.success() {
            let why = if answer.is_empty() { asked.stderr.clone() } else { answer };
            return Err(failed(&format!("{}: {why}", asked.status)));
        }
        // All of these come with status 0.
        if ["Unknown command", "Insufficient privileges"].iter().any(|no| answer.contains(no)) {
            return Err(failed(&answer));
        }
        Ok(answer)
    }

    /// Whether the daemon answers.
    pub fn answers(&self) -> bool {
        self.say("get_default_active_thread_percentage").is_ok()
    }

    /// The pids of its servers, or of the clients of one. Fails as [`Self::say`] does.
    pub fn pids(&self, command: &str) -> Result<Vec<i32>, Failure> {
        Ok(self.say(command)?.lines().filter_map(|line| line.trim().parse().ok()).collect())
    }
}

/// Which options the control program says that it has, of those that later versions came with. The
/// text is for people: what is not spelled as expected is not there.
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
        let old =
            "CUDA MPS ForeignDaemon for Linux/Unix.\n  This program allows multiple-process use.\n";
        assert!(features(old).is_empty());
        let new = "usage: nvidia-cuda-mps-control [-d|-f] [-S] [-m]\n  -p, --protocol N\n";
        assert_eq!(features(new), ["static-sm-partitioning", "multi-user", "protocol-version"]);
    }

    #[test]
    fn who_does_not_answer_is_a_fault() {
        let front = |control| ControlClient {
            control: Path::new(control),
            pipe: Path::new("/nowhere"),
            until: Instant::now() + Duration::from_secs(5),
        };
        assert_eq!(front("/bin/cat").say("x").unwrap(), "x");
        assert!(!front("/bin/false").answers());
        assert!(!front("/no/such/program").answers());
        assert_eq!(front("/bin/cat").pids("12").unwrap(), [12]);
        assert!(front("/bin/cat").say("Unknown command \"x\"").is_err());
        let late = ControlClient { until: Instant::now(), ..front("/usr/bin/yes") };
        assert!(late.say("x").unwrap_err().message.contains("does not do `x`"));
    }
}
