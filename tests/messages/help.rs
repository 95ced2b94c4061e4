//! The help texts, asked of the program.

use std::process::Command;

/// Each command with its text, at 80 columns. The options that all have stand in the first alone.
pub fn help_texts() -> Vec<(String, String)> {
    let mut found = Vec::new();
    add(&[], &mut found);
    found
}

fn add(words: &[String], found: &mut Vec<(String, String)>) {
    let text = ask(words);
    let below = commands(&text);
    let name = [&["gpulease".to_owned()], words].concat().join(" ");
    let own = if words.is_empty() { text } else { without_global(&text) };
    found.push((name, own));
    for command in below {
        add(&[words, &[command]].concat(), found);
    }
}

fn ask(words: &[String]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_gpulease"))
        .args(words)
        .arg("--help")
        .env_clear()
        .env("COLUMNS", "80")
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{words:?} has no help");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n").trim_end().to_owned()
}

/// The names under `Commands:`, but for clap's own `help`.
fn commands(text: &str) -> Vec<String> {
    let Some((_, list)) = text.split_once("\nCommands:\n") else { return Vec::new() };
    let names = list.lines().take_while(|line| line.starts_with(' ')).filter_map(|line| {
        line.strip_prefix("  ").filter(|rest| !rest.starts_with(' '))?.split(' ').next()
    });
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

fn without_global(text: &str) -> String {
    let Some((before, section)) = text.split_once("\nGlobal options:\n") else {
        return text.to_owned();
    };
    // The next section starts at the margin.
    let mut rest = section.lines().skip_while(|line| line.is_empty() || line.starts_with(' '));
    let rest = rest.by_ref().collect::<Vec<_>>().join("\n");
    format!("{}\n\n{rest}", before.trim_end()).trim_end().to_owned()
}
