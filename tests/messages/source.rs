//! Files of Rust, as far as it matters here: strings with words, and names of tests.

use proc_macro2::{Delimiter, Group, Literal, TokenStream, TokenTree};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use syn::Lit;

pub struct Source {
    /// Below the repository.
    pub path: String,
    pub text: String,
    pub messages: Vec<String>,
}

/// What one file has.
#[derive(Default)]
pub struct Read {
    pub messages: Vec<String>,
    /// Names of functions that are tests.
    pub tests: Vec<String>,
    /// Modules that are built for tests alone.
    pub tests_in: Vec<String>,
}

/// The files below a folder, sorted. Those of tests have no messages.
pub fn sources(folder: &Path) -> Vec<Source> {
    let files: Vec<(PathBuf, String, Read)> = files(folder)
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            let read = read(&text).unwrap_or_else(|| unreachable!("{} is no Rust", path.display()));
            (path, text, read)
        })
        .collect();
    let of_tests: BTreeSet<PathBuf> = files
        .iter()
        .flat_map(|(path, _, read)| read.tests_in.iter().flat_map(|m| module_files(path, m)))
        .collect();
    let is_test = |path: &Path| path.ancestors().any(|part| of_tests.contains(part));
    files
        .into_iter()
        .map(|(path, text, read)| Source {
            messages: if is_test(&path) { Vec::new() } else { read.messages },
            path: shown(&path),
            text,
        })
        .collect()
}

/// Each test below a folder, with its file.
pub fn test_names(folder: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for path in files(folder) {
        let names = read(&fs::read_to_string(&path).unwrap()).unwrap_or_default().tests;
        found.extend(names.into_iter().map(|name| (shown(&path), name)));
    }
    found
}

fn shown(path: &Path) -> String {
    path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap().display().to_string()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    let mut found = Vec::new();
    for path in entries {
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// Where a module of this file is: its file, or its folder.
pub fn module_files(file: &Path, module: &str) -> [PathBuf; 2] {
    let is_head = file.ends_with("mod.rs") || file.ends_with("lib.rs");
    let folder = if is_head { file.parent().unwrap().to_owned() } else { file.with_extension("") };
    [folder.join(format!("{module}.rs")), folder.join(module)]
}

/// `None` for what has no tokens of Rust.
pub fn read(text: &str) -> Option<Read> {
    let mut found = Read::default();
    walk(text.parse().ok()?, &mut found);
    Some(found)
}

fn walk(tokens: TokenStream, found: &mut Read) {
    let mut tokens = tokens.into_iter().peekable();
    let mut is_test = false;
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Punct(mark) if mark.as_char() == '#' => {
                tokens.next_if(|next| matches!(next, TokenTree::Punct(p) if p.as_char() == '!'));
                if let Some(TokenTree::Group(attribute)) =
                    tokens.next_if(|next| is_group(next, Delimiter::Bracket))
                {
                    match attribute_kind(&attribute) {
                        Attribute::Test => is_test = true,
                        Attribute::Error => walk(attribute.stream(), found),
                        Attribute::OnlyTests => skip_item(&mut tokens, found),
                        Attribute::Other => {}
                    }
                }
            }
            TokenTree::Ident(word) if word == "fn" => {
                if let Some(TokenTree::Ident(name)) = tokens.peek()
                    && is_test
                {
                    found.tests.push(name.to_string());
                }
                is_test = false;
            }
            TokenTree::Literal(literal) => found.messages.extend(message(literal)),
            TokenTree::Group(group) => walk(group.stream(), found),
            _ => {}
        }
    }
}

fn is_group(token: &TokenTree, delimiter: Delimiter) -> bool {
    matches!(token, TokenTree::Group(group) if group.delimiter() == delimiter)
}

enum Attribute {
    Test,
    Error,
    OnlyTests,
    Other,
}

fn attribute_kind(attribute: &Group) -> Attribute {
    match attribute.stream().to_string().replace(' ', "").as_str() {
        "test" => Attribute::Test,
        "cfg(test)" | "cfg(any(test,feature=\"failpoints\"))" => Attribute::OnlyTests,
        text if text.starts_with("error(") => Attribute::Error,
        _ => Attribute::Other,
    }
}

/// Passes over what is built for tests, and takes the names of its tests.
fn skip_item(tokens: &mut std::iter::Peekable<impl Iterator<Item = TokenTree>>, found: &mut Read) {
    let mut item = TokenStream::new();
    let mut module = None;
    let mut is_item = false;
    while let Some(token) = tokens.next() {
        let ends = match &token {
            TokenTree::Punct(mark) => mark.as_char() == ';' || (mark.as_char() == ',' && !is_item),
            TokenTree::Ident(word) => {
                is_item |= ["fn", "mod", "impl", "use", "struct", "enum", "const"]
                    .iter()
                    .any(|keyword| word == keyword);
                if word == "mod"
                    && let Some(TokenTree::Ident(name)) = tokens.peek()
                {
                    module = Some(name.to_string());
                }
                false
            }
            other => is_group(other, Delimiter::Brace),
        };
        let has_body = matches!(token, TokenTree::Group(_));
        item.extend([token]);
        if ends {
            found.tests_in.extend(module.filter(|_| !has_body));
            break;
        }
    }
    let mut inside = Read::default();
    walk(item, &mut inside);
    found.tests.extend(inside.tests);
}

/// The text of a string that has at least two words.
fn message(literal: Literal) -> Option<String> {
    let text = match Lit::new(literal) {
        Lit::Str(text) => text.value(),
        Lit::ByteStr(bytes) => String::from_utf8(bytes.value()).ok()?,
        _ => return None,
    };
    let is_word = |word: &&str| {
        let letters = word.trim_matches(|c: char| c.is_ascii_punctuation());
        letters.len() > 1 && letters.chars().all(|c| c.is_alphabetic() || matches!(c, '-' | '\''))
    };
    let plain = without_holes(&text);
    (plain.split_whitespace().filter(is_word).count() > 1).then_some(text)
}

/// A text without `{…}`.
fn without_holes(text: &str) -> String {
    let mut depth = 0_usize;
    let mut plain = String::new();
    for c in text.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            c if depth == 0 => plain.push(c),
            _ => {}
        }
    }
    plain
}
