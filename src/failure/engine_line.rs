//! A failure in one line, for an engine.

use super::Failure;
use crate::model::text;

/// The most bytes of a message: conmon reads 8 KiB of stderr at once.
const MAX_BYTES: usize = 2048;

/// The message for an engine: `gpulease: no-capacity: …; hint: …`, one line.
pub fn one_line(failure: &Failure) -> String {
    let Failure { code, message, hint } = failure;
    // A refusal's own line begins with its code and ends with its hint.
    let mut line = if message.starts_with(code.as_str()) {
        format!("gpulease: {message}")
    } else {
        format!("gpulease: {code}: {message}")
    };
    if let Some(hint) = hint {
        line.push_str("; hint: ");
        line.push_str(hint);
    }
    sober(&line)
}

/// Engines guess an exit status from words in the message: Docker makes 127 of "no such file or
/// directory" and 126 of "permission denied", Podman likewise, and containerd takes "does not
/// exist" for a container that is gone. Ours mean none of that.
const MISREAD: &[(&str, &str)] = &[
    ("no such file or directory", "there is no such path"),
    ("permission denied", "access was denied"),
    ("operation not permitted", "the kernel refused"),
    ("executable file not found", "no executable"),
    ("does not exist", "is missing"),
    ("no such process", "the process is gone"),
    ("not running", "not alive"),
    ("process already finished", "process ended"),
];

fn sober(line: &str) -> String {
    let mut line = text::one_line(line);
    for (word, instead) in MISREAD {
        while let Some(at) = line.to_ascii_lowercase().find(word) {
            line.replace_range(at..at + word.len(), instead);
        }
    }
    if line.len() > MAX_BYTES {
        let mut end = MAX_BYTES;
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        line.truncate(end);
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::code::Code;

    #[test]
    fn engines_do_not_misread_our_messages() {
        let text = "cannot read `/x`: No such file or directory (os error 2)\nor Permission denied";
        let line = one_line(&Failure::new(Code::BadBundle, text).hint("h"));
        assert_eq!(
            line,
            "gpulease: bad-bundle: cannot read `/x`: there is no such path (os error 2) or access was denied; hint: h"
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
    fn the_replacements_cannot_bring_a_misread_word_back() {
        for (_, instead) in MISREAD {
            assert_eq!(sober(instead), *instead);
        }
        assert!(sober(&"ü".repeat(3000)).len() <= MAX_BYTES + '…'.len_utf8());
    }
}
