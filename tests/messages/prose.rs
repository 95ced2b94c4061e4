//! Comments, sentences, and the words that stand for nothing.

/// The comments of a file, each with the number of its first line. Lines that follow each other are
/// one comment, an empty one among them ends it.
pub fn comments(text: &str) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = Vec::new();
    let mut goes_on = false;
    for (number, line) in text.lines().enumerate() {
        let trimmed = line.trim_start();
        let own_line = ["//!", "///", "//"].iter().find_map(|mark| trimmed.strip_prefix(mark));
        let behind = line.split_once("; // ").or_else(|| line.split_once(", // "));
        let Some(comment) = own_line.or(behind.map(|(_, comment)| comment)).map(str::trim) else {
            goes_on = false;
            continue;
        };
        match found.last_mut() {
            Some((_, before)) if goes_on && own_line.is_some() && !comment.is_empty() => {
                before.push(' ');
                before.push_str(comment);
            }
            _ if comment.is_empty() => {}
            _ => found.push((number + 1, comment.to_owned())),
        }
        goes_on = own_line.is_some() && !comment.is_empty();
    }
    found
}

/// A text at its full stops and line ends in lists.
pub fn sentences(text: &str) -> Vec<String> {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let ends = [". ", "? ", "; "];
    let mut rest = text.as_str();
    let mut found = Vec::new();
    while let Some(at) = ends.iter().filter_map(|end| rest.find(end)).min() {
        found.push(rest[..at].to_owned());
        rest = &rest[at + 2..];
    }
    found.push(rest.trim_end_matches('.').to_owned());
    found.retain(|sentence| !sentence.is_empty());
    found
}

/// Whether it starts with a word that a reader has to look for the meaning of.
pub fn has_vague_subject(sentence: &str) -> bool {
    let mut words = sentence.split(' ').map(str::to_lowercase);
    let words = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    matches!(
        (words.0.as_str(), words.1.as_str()),
        ("what" | "who" | "that" | "whose", _) | ("those", "who" | "that" | "which")
    )
}

/// The words of a line that name no one.
pub fn vague_persons(line: &str) -> impl Iterator<Item = String> {
    line.split(|c: char| !c.is_alphanumeric() && c != '_')
        .map(str::to_lowercase)
        .filter(|word| matches!(word.as_str(), "nobody" | "somebody" | "whoever" | "whomever"))
}
