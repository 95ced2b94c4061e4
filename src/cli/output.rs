//! The one place that writes to the terminal.

use super::wrap;
use crate::failure::Failure;
use crate::model::text::{is_unsafe, one_line, shown_lines};
use crate::view;
use crate::view::failure::ErrorAnswer;
use anyhow::Context;
use clap::ValueEnum;
use serde::Serialize;
use serde_json::Value;
use std::ffi::OsString;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::process::ExitCode;

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Color {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Even into a file or a pipe
    Always,
    /// Nowhere
    Never,
}

/// The answer of a command, in both forms.
#[derive(Debug)]
pub(super) struct Answer {
    /// For people: whole lines.
    pub(super) text: String,
    pub(super) json: Value,
    /// The exit status: other than 0 where the answer is no.
    pub(super) status: u8,
    /// The text is a file for another program, which is written as it is.
    pub(super) is_file: bool,
}

impl Answer {
    /// `text` for people, and the same as a struct of `view`.
    pub(super) fn of(text: String, view: &impl Serialize) -> Self {
        Self { text, json: view::to_json(view), status: 0, is_file: false }
    }

    /// The text is a file for another program.
    pub(super) fn file(text: String, view: &impl Serialize) -> Self {
        Self { is_file: true, ..Self::of(text, view) }
    }
}

/// How the user wants to be answered. It has to be known before the arguments are understood,
/// because they may be what there is to complain about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish {
    pub(super) json: bool,
    pub(super) color: Color,
}

/// Looks through the arguments for `--json` and `--color`, without judging them.
pub(super) fn wish(args: impl Iterator<Item = OsString>) -> Wish {
    let mut wish = Wish { json: false, color: Color::Auto };
    let mut value_follows = false;
    for arg in args {
        let Some(arg) = arg.to_str() else { continue };
        let color = if value_follows { Some(arg) } else { arg.strip_prefix("--color=") };
        value_follows = arg == "--color";
        match color {
            Some("always") => wish.color = Color::Always,
            Some("never") => wish.color = Color::Never,
            Some("auto") => wish.color = Color::Auto,
            _ => {}
        }
        match arg {
            "--json" => wish.json = true,
            "--" => break,
            _ => {}
        }
    }
    wish
}

/// Colours, used sparsely: nothing is said by colour alone.
#[derive(Debug, Clone, Copy)]
pub(super) enum Paint {
    Bold,
    Red,
    Yellow,
    Cyan,
}

impl Paint {
    const fn code(self) -> &'static str {
        match self {
            Self::Bold => "1",
            Self::Red => "1;31",
            Self::Yellow => "33",
            Self::Cyan => "36",
        }
    }
}

#[derive(Debug)]
pub(super) struct Output {
    json: bool,
    /// Colour on stdout, and on stderr.
    color: bool,
    error_color: bool,
    /// Whether stderr is read on a terminal, and not line by line.
    error_is_terminal: bool,
    /// The terminal's width; `None` where there is no terminal, and so no need to fit anything.
    pub(super) width: Option<u16>,
}

impl Output {
    pub(super) fn new(wish: &Wish) -> Self {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let color = |is_terminal: bool| match wish.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => is_terminal && !no_color && !dumb,
        };
        let is_terminal = io::stdout().is_terminal();
        let width = || match terminal_size::terminal_size_of(io::stdout()) {
            Some((terminal_size::Width(width), _)) if width > 0 => width,
            _ => 80,
        };
        Self {
            json: wish.json,
            color: color(is_terminal),
            error_color: color(io::stderr().is_terminal()),
            error_is_terminal: io::stderr().is_terminal(),
            width: is_terminal.then(width),
        }
    }

    /// Without colour, for a terminal of this width or for none.
    #[cfg(test)]
    pub(super) const fn of_width(width: Option<u16>) -> Self {
        Self { json: false, color: false, error_color: false, error_is_terminal: false, width }
    }

    /// `text` in colour, where stdout has colour.
    pub(super) fn paint(&self, paint: Paint, text: &str) -> String {
        painted(self.color, paint, text)
    }

    /// `word` in colour and `text`: wrapped on a terminal, elsewhere one line.
    pub(super) fn line(&self, paint: Paint, word: &str, text: &str) -> String {
        let text = wrap::line(self.width.is_some(), &format!("{word} "), text);
        text.replacen(word, &self.paint(paint, word), 1)
    }

    pub(super) fn answer(&self, answer: &Answer) -> ExitCode {
        let text = match (self.json, answer.is_file) {
            (true, _) => pretty(&answer.json),
            (false, true) => answer.text.clone(),
            (false, false) => self.safe(&answer.text),
        };
        match print(&text) {
            Ok(()) => answer.status.into(),
            Err(error) => exit(Err(error)),
        }
    }

    /// `text` with whatever a terminal would obey escaped, save the colours that it may have of us.
    fn safe(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find(ESCAPE).filter(|_| self.color) {
            let (before, from) = rest.split_at(at);
            out.push_str(&shown_lines(before));
            let own = PAINTS.iter().find(|sequence| from.starts_with(**sequence));
            let length = own.map_or(ESCAPE.len_utf8(), |sequence| sequence.len());
            let (sequence, after) = from.split_at(length);
            match own {
                Some(_) => out.push_str(sequence),
                None => out.push_str(&shown_lines(sequence)),
            }
            rest = after;
        }
        out.push_str(&shown_lines(rest));
        out
    }

    /// Says why not: on stderr for people, on stdout too for programs that asked for JSON.
    pub(super) fn fail(&self, failure: &Failure) -> ExitCode {
        // If even this fails, the status still tells.
        let _ = io::stderr().lock().write_all(self.refusal(failure).as_bytes());
        if self.json {
            let _ = print(&pretty(&view::to_json(&ErrorAnswer::of(failure))));
        }
        failure.code.exit_status().into()
    }

    /// A line for what is wrong, and one for what to do about it.
    fn refusal(&self, failure: &Failure) -> String {
        let line = |paint, word: &str, what: &str| {
            let text = wrap::line(self.error_is_terminal, &format!("{word} "), &one_line(what));
            text.replacen(word, &painted(self.error_color, paint, word), 1)
        };
        let what = format!("{}: {}", failure.code, failure.with_details());
        let hint = failure.hint.as_deref().map(|hint| line(Paint::Cyan, "hint:", hint));
        line(Paint::Red, "gpulease:", &what) + &hint.unwrap_or_default()
    }
}

const ESCAPE: char = '\u{1b}';

/// The sequences that [`painted`] puts before a text and behind it.
const PAINTS: [&str; 5] = ["\u{1b}[1m", "\u{1b}[1;31m", "\u{1b}[33m", "\u{1b}[36m", "\u{1b}[0m"];

fn painted(color: bool, paint: Paint, text: &str) -> String {
    if color { format!("\u{1b}[{}m{text}\u{1b}[0m", paint.code()) } else { text.to_owned() }
}

/// JSON escapes the controls of ASCII alone; the others are written as it would write them, so that
/// a program reads what there is.
fn pretty(json: &Value) -> String {
    let mut out = String::new();
    for c in format!("{json:#}\n").chars() {
        if is_unsafe(c) && c != '\n' {
            let mut units = [0; 2];
            out.extend(c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")));
        } else {
            out.push(c);
        }
    }
    out
}

pub(super) fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).context(WRITING)
}

/// The message if stdout cannot be written to.
pub(super) const WRITING: &str = "cannot write to stdout";

/// The exit code where no command has answered. A reader that has seen enough, as `head`
/// has, is no failure.
pub(super) fn exit(done: anyhow::Result<()>) -> ExitCode {
    let has_seen_enough = |error: &io::Error| error.kind() == ErrorKind::BrokenPipe;
    match done {
        Err(error) if !error.downcast_ref().is_some_and(has_seen_enough) => {
            let _ = writeln!(io::stderr(), "gpulease: {}", one_line(&format!("{error:#}")));
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::allocator::grouped_text;
    use serde_json::json;

    #[test]
    fn the_wish_is_found_wherever_it_stands() {
        let of = |args: &[&str]| wish(args.iter().map(OsString::from));
        assert!(of(&["devices", "--json"]).json);
        assert!(!of(&["explain", "--", "--json"]).json);
        assert_eq!(of(&["--color", "never", "leases"]).color, Color::Never);
        assert_eq!(of(&["leases", "--color=always"]).color, Color::Always);
        assert_eq!(of(&["--color", "pink"]).color, Color::Auto);
    }

    #[test]
    fn a_refusal_travels_as_fields() {
        use crate::allocator::{Snapshot, grant};
        use crate::model::device::{Node, Vendor};
        use crate::model::fixtures::device;
        use crate::request::{Count, Request, RequestSource, Strategy};
        let devices = ["GPU-a", "GPU-b"].map(|uuid| device(uuid, Vendor::Nvidia)).to_vec();
        let node = Node { devices, ..Node::default() };
        let one = Request::one(Strategy::BestFit, RequestSource::Annotations);
        let three = Request { count: Count::Exactly(3), ..one };
        let refusal = grant(&Snapshot::idle(&node), &three).unwrap_err();
        let (summary, hint) = (refusal.summary.clone(), refusal.hint.clone());
        let failure = Failure::from(refusal);
        let devices = grouped_text(failure.verdicts(), 1000);
        assert!(devices.starts_with("; GPU ") && devices.ends_with(": fits"), "{devices}");
        let line = crate::failure::one_line(&failure);
        assert_eq!(line, format!("gpulease: no-match: {summary}{devices}; hint: {hint}"));
        let lines = Output::of_width(None).refusal(&failure);
        assert_eq!(lines, format!("gpulease: no-match: {summary}{devices}\nhint: {hint}\n"));
        let json = view::to_json(&ErrorAnswer::of(&failure));
        assert_eq!(json["version"], 1);
        let error = &json["error"];
        assert_eq!(error["code"], "no-match");
        assert_eq!(
            (error["message"].as_str(), error["hint"].as_str()),
            (Some(&*summary), Some(&*hint))
        );
        assert_eq!(error["details"][1]["uuid"], "GPU-b");
        assert_eq!(error["details"][1]["why"], "fits");
    }

    #[test]
    fn only_our_own_colours_reach_a_terminal() {
        let plain = Output::of_width(None);
        let colored = Output { color: true, ..Output::of_width(None) };
        let painted = colored.paint(Paint::Red, "refused:");
        for paint in [Paint::Bold, Paint::Red, Paint::Yellow, Paint::Cyan] {
            let text = colored.paint(paint, "x");
            assert_eq!(colored.safe(&text), text, "{paint:?}");
        }
        let text = format!("{painted} `/a/\u{202e}b\u{1b}[2J`\n\tend\u{9b}\n");
        let escaped = "`/a/\\u{202e}b\\u{1b}[2J`\n\tend\\u{9b}\n";
        assert_eq!(colored.safe(&text), format!("{painted} {escaped}"));
        assert_eq!(
            plain.safe(&text),
            format!("\\u{{1b}}[1;31mrefused:\\u{{1b}}[0m {escaped}"),
            "there are none where there is to be no colour"
        );
    }

    #[test]
    fn json_is_safe_to_show_and_reads_as_it_was() {
        let json = json!({ "a": "/x/\u{202e}\u{1b}\u{9b}\u{e0041}\n", "b": ["ü", "…"] });
        let text = pretty(&json);
        assert!(text.chars().all(|c| c == '\n' || !is_unsafe(c)), "{text}");
        assert!(text.contains("\\u202e") && text.contains("ü"), "{text}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), json);
    }
}
