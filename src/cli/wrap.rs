//! Lines that fit a terminal.

/// `title` and `text` in lines of at most 80 columns, broken between words; further lines are
/// indented by the title's width.
pub(super) fn wrapped(title: &str, text: &str) -> String {
    const WIDTH: usize = 80;
    let indent = title.chars().count();
    let mut out = String::new();
    let mut line = title.to_owned();
    for word in text.split_whitespace() {
        let is_begun = line.chars().count() > indent;
        if is_begun && line.chars().count() + 1 + word.chars().count() > WIDTH {
            out.push_str(&line);
            out.push('\n');
            line = format!("{}{word}", " ".repeat(indent));
        } else {
            if is_begun {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    out.push_str(&line);
    out.push('\n');
    out
}

/// `title` and `text`: [`wrapped`] for a terminal, and else one line, for programs that read lines.
pub(super) fn line(is_terminal: bool, title: &str, text: &str) -> String {
    if is_terminal { wrapped(title, text) } else { format!("{title}{text}\n") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_is_broken_under_its_title() {
        let text = wrapped("a: ", &"word ".repeat(20));
        assert!(text.lines().all(|line| line.len() <= 80), "{text}");
        assert_eq!(text.lines().count(), 2);
        assert!(text.lines().nth(1).unwrap().starts_with("   word"));
    }
}
