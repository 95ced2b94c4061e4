//! A failure in one line, for an engine.

use super::Failure;
use crate::allocator::grouped_text;
use crate::model::text::{self, cut};

/// The most bytes of the line. Engines cut or wrap longer messages, conmon reads 8 KiB of stderr at
/// once, and a cut in the middle would lose the hint.
const LINE_MAX: usize = 1800;
/// The most bytes of the message where devices follow it, and of the hint.
const MESSAGE_MAX: usize = 400;
const HINT_MAX: usize = 600;

/// The message for an engine: `gpulease: no-capacity: …; GPU 0-3 (…): …; hint: …`, one line.
#[must_use]
pub fn one_line(failure: &Failure) -> String {
    let Failure { code, message, hint, .. } = failure;
    let verdicts = failure.verdicts();
    let hint = hint.as_deref().map(text::one_line).unwrap_or_default();
    let hint = match hint.as_str() {
        "" => hint,
        hint => format!("; hint: {}", cut(hint, HINT_MAX)),
    };
    let mut line = format!("gpulease: {code}: ");
    let room = LINE_MAX.saturating_sub(line.len() + hint.len());
    let most = if verdicts.is_empty() { room } else { MESSAGE_MAX };
    line.push_str(&cut(&text::one_line(message), most));
    let room = LINE_MAX.saturating_sub(line.len() + hint.len());
    line.push_str(&grouped_text(verdicts, room));
    line.push_str(&hint);
    reworded(line)
}

/// Engines guess what has failed from words in the message: Docker makes the exit status 127 of "no
/// such file or directory" and 126 of "permission denied", Podman likewise, and containerd takes
/// "does not exist" for a container that is gone. Ours mean none of that, nor does the name of a
/// container. No replacement is longer than what it replaces.
const MISREAD: &[(&str, &str)] = &[
    ("no such file or directory", "there is no such path"),
    ("permission denied", "access was denied"),
    ("operation not permitted", "the kernel refused"),
    ("executable file not found", "no executable"),
    ("not found", "missing"),
    ("does not exist", "is missing"),
    ("no such process", "process is gone"),
    ("not running", "not alive"),
    ("process already finished", "process ended"),
    ("open executable", "open program"),
    ("invalid process", "bad process"),
];

fn reworded(mut line: String) -> String {
    for (words, instead) in MISREAD {
        // ASCII lower-casing keeps every byte where it is.
        while let Some(at) = line.to_ascii_lowercase().find(words) {
            line.replace_range(at..at + words.len(), instead);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::allocator::refusal::{Verdict, Why};
    use crate::model::code::Code;
    use crate::model::id::DeviceId;

    fn verdict(index: u32, model: &str, reason: &str) -> Verdict {
        Verdict {
            uuid: DeviceId::new(&format!("GPU-{index}")).unwrap(),
            index,
            mig_index: None,
            model: model.into(),
            fits: false,
            why: Why::Taken,
            reason: reason.into(),
        }
    }

    fn refusal(verdicts: Vec<Verdict>) -> Failure {
        let summary = "1 device requested, 0 of 8 available";
        Failure { details: Some(verdicts), ..Failure::new(Code::NoCapacity, summary).hint("wait") }
    }

    #[test]
    fn engines_do_not_misread_our_messages() {
        let text = "cannot read `/x`: No such file or directory (os error 2)\nor Permission denied";
        let line = one_line(&Failure::new(Code::BadBundle, text).hint("h"));
        assert_eq!(
            line,
            "gpulease: bad-bundle: cannot read `/x`: there is no such path (os error 2) or access \
             was denied; hint: h"
        );
    }

    #[test]
    fn what_a_terminal_obeys_is_escaped() {
        let text = "cannot read `/tmp/\u{202e}gpj\u{1b}[2J`\u{9b}";
        let line = one_line(&Failure::new(Code::BadBundle, text).hint("see \u{2066}x"));
        let expected = "gpulease: bad-bundle: cannot read `/tmp/\\u{202e}gpj\\u{1b}[2J`\\u{9b}; \
                        hint: see \\u{2066}x";
        assert_eq!(line, expected);
    }

    #[test]
    fn no_replacement_is_longer_or_misread_itself() {
        for (words, instead) in MISREAD {
            assert!(instead.len() <= words.len(), "{instead}");
            assert_eq!(reworded((*instead).to_owned()), *instead);
        }
    }

    #[test]
    fn equal_reasons_stand_together() {
        let mut verdicts: Vec<_> = (0..4).map(|i| verdict(i, "H100", "cordoned")).collect();
        verdicts.push(verdict(4, "A100", "held by x"));
        verdicts.push(verdict(6, "A100", "cordoned"));
        assert_eq!(
            one_line(&refusal(verdicts)),
            "gpulease: no-capacity: 1 device requested, 0 of 8 available; GPU 0-3, 6: cordoned; \
             GPU 4 (A100): held by x; hint: wait"
        );
        let same = (0..2).map(|i| verdict(i, "H100", "cordoned")).collect();
        assert!(one_line(&refusal(same)).contains("; GPU 0-1 (H100): cordoned; "));
    }

    #[test]
    fn the_line_stays_within_its_length() {
        for (devices, words) in [(8, 90), (8, 500), (64, 40), (64, 500), (1, 3000)] {
            let verdicts = (0..devices)
                .map(|i| verdict(i, "NVIDIA H100", &format!("{i} {}", "hölder ".repeat(words))))
                .collect();
            let message = "ü".repeat(words * 10);
            let failure = Failure { message, ..refusal(verdicts) }.hint("h".repeat(words * 10));
            let line = one_line(&failure);
            assert!(line.len() <= LINE_MAX, "{}", line.len());
            assert!(line.contains("GPU 0 (NVIDIA H100): 0 h"), "{line}");
            assert!(line.contains("; hint: hhh"), "{line}");
            assert!(devices < 64 || line.contains(" more GPUs; hint"), "{line}");
            let line = one_line(&Failure { details: None, ..failure });
            assert!(line.len() <= LINE_MAX && line.contains("; hint: hhh"), "{line}");
        }
    }

    #[test]
    fn names_of_others_do_not_mislead_engines() {
        let name = "web NOT FOUND not running no such file or directory; does not exist";
        let mut failure = refusal(vec![verdict(0, "Permission Denied", name)]);
        failure.message = "permission\tdenied: not not found found".into();
        let line = one_line(&failure);
        let lower = line.to_lowercase();
        for (words, _) in MISREAD {
            assert!(!lower.contains(words), "{words} in {line}");
        }
        assert!(
            line.contains("GPU 0 (access was denied): web missing not alive there is"),
            "{line}"
        );
    }
}
