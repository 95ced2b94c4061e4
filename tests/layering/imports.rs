//! Which file of `src` uses which, read from the text: `mod` makes the tree, and every path, in a
//! `use` or in code, is an arrow to the file that defines what it names, past the modules that
//! hand the name on. What is built for tests alone is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A module, by its path below the crate: `["store", "ledger"]`.
type Module = Vec<String>;

/// All files of the crate but `lib.rs`, which only lists the modules.
pub struct Sources {
    files: BTreeMap<Module, Source>,
}

#[derive(Default)]
struct Source {
    /// Its own, if it is a `mod.rs` or has files below it, else the one that it lies in.
    folder: Module,
    /// What a name means here, by `use` and `mod`.
    names: BTreeMap<String, Vec<String>>,
    globs: Vec<Vec<String>>,
    /// What is defined here.
    items: BTreeSet<String>,
    /// Every path that stands here.
    paths: Vec<Vec<String>>,
}

/// From a file to another, by the paths that lead there.
pub type Arrows = BTreeMap<Module, BTreeMap<Module, BTreeSet<String>>>;

impl Sources {
    pub fn read(root: &Path) -> Self {
        let mut all = Self { files: BTreeMap::new() };
        all.add(&root.join("lib.rs"), Vec::new());
        all
    }

    fn add(&mut self, file: &Path, module: Module) {
        let (mut source, children) = parse(&fs::read_to_string(file).unwrap());
        let is_folder = file.ends_with("mod.rs") || !children.is_empty();
        let depth = module.len() - usize::from(!is_folder && !module.is_empty());
        source.folder = module[..depth].to_vec();
        for child in children {
            let below = [module.clone(), vec![child.clone()]].concat();
            source.names.insert(child.clone(), [vec!["self".into()], vec![child]].concat());
            self.add(&file_of(&below, file), below);
        }
        self.files.insert(module, source);
    }

    pub fn arrows(&self) -> Arrows {
        let mut arrows = Arrows::new();
        for (module, source) in self.files.iter().filter(|(module, _)| !module.is_empty()) {
            let to = arrows.entry(module.clone()).or_default();
            for path in &source.paths {
                let target = self.absolute(module, path).and_then(|path| self.definer(&path, 9));
                if let Some(target) = target.filter(|target| target != module && !target.is_empty())
                {
                    to.entry(target).or_default().insert(path.join("::"));
                }
            }
        }
        arrows
    }

    /// The same path from the crate's root; `None` leads out of the crate or to an item beside it.
    fn absolute(&self, module: &Module, path: &[String]) -> Option<Vec<String>> {
        let (head, rest) = path.split_first()?;
        let mut base = match head.as_str() {
            "crate" => Vec::new(),
            "self" => module.clone(),
            "super" => {
                let parent = module[..module.len() - 1].to_vec();
                if rest.first().is_some_and(|next| next == "super") {
                    return self.absolute(&parent, rest);
                }
                parent
            }
            name => {
                let meant = self.files[module].names.get(name)?;
                if meant.first().is_some_and(|first| first == name) {
                    return None;
                }
                self.absolute(module, meant)?
            }
        };
        base.extend_from_slice(rest);
        Some(base)
    }

    /// The file that defines what the path names.
    fn definer(&self, path: &[String], hops: u8) -> Option<Module> {
        let mut depth = 0;
        while depth < path.len() && self.files.contains_key(&path[..=depth]) {
            depth += 1;
        }
        let module = path[..depth].to_vec();
        // What is used of a module says which arrow it is, not that the module is named.
        let (name, rest) = path[depth..].split_first()?;
        let source = &self.files[&module];
        if hops > 0
            && let Some(handed) = source.names.get(name)
        {
            // Of another crate: what hands it on is then what is used.
            let Some(mut onward) = self.absolute(&module, handed) else { return Some(module) };
            onward.extend_from_slice(rest);
            return self.definer(&onward, hops - 1);
        }
        let globbed = source.globs.iter().find_map(|glob| {
            let from = self.absolute(&module, glob)?;
            self.files.get(&from)?.items.contains(name).then_some(from)
        });
        globbed.or(Some(module))
    }

    /// Files that use each other in a circle, each circle with its arrows.
    pub fn circles(&self) -> Vec<Circle> {
        let arrows = self.arrows();
        let reach: BTreeMap<&Module, BTreeSet<&Module>> =
            arrows.keys().map(|from| (from, reachable(&arrows, from))).collect();
        let mut seen: BTreeSet<&Module> = BTreeSet::new();
        let mut circles = Vec::new();
        for (from, reached) in &reach {
            let files: BTreeSet<&Module> =
                reached.iter().filter(|to| reach[**to].contains(*from)).copied().collect();
            if files.is_empty() || seen.contains(*from) {
                continue;
            }
            seen.extend(&files);
            let folders: BTreeSet<&Module> =
                files.iter().map(|module| &self.files[*module].folder).collect();
            let mut uses = Vec::new();
            for from in &files {
                for (to, by) in arrows[*from].iter().filter(|(to, _)| files.contains(to)) {
                    uses.push(format!("{} -> {}: {by:?}", from.join("/"), to.join("/")));
                }
            }
            let names = files.iter().map(|module| module.join("/")).collect();
            circles.push(Circle { files: names, folders: folders.len(), uses });
        }
        circles
    }
}

/// Files that use each other, directly or by others of them.
#[derive(Debug)]
pub struct Circle {
    /// In alphabetical order: `store/ledger`.
    pub files: Vec<String>,
    /// How many folders they lie in.
    pub folders: usize,
    /// Which of them uses which, by which paths.
    pub uses: Vec<String>,
}

fn reachable<'a>(arrows: &'a Arrows, from: &'a Module) -> BTreeSet<&'a Module> {
    let mut found = BTreeSet::new();
    let mut open = vec![from];
    while let Some(next) = open.pop() {
        open.extend(arrows[next].keys().filter(|to| found.insert(*to)));
    }
    found
}

/// Where the module lies that is declared in `parent`.
fn file_of(module: &Module, parent: &Path) -> PathBuf {
    let name = module.last().unwrap();
    let folder = match parent.file_name().unwrap().to_str().unwrap() {
        "lib.rs" | "mod.rs" => parent.parent().unwrap().to_owned(),
        _ => parent.with_extension(""),
    };
    let flat = folder.join(format!("{name}.rs"));
    if flat.is_file() { flat } else { folder.join(name).join("mod.rs") }
}

/// The source, and the modules that it declares.
fn parse(text: &str) -> (Source, Vec<String>) {
    let tokens = tokens(text);
    let token = |at: usize| tokens.get(at).map_or("", String::as_str);
    let mut source = Source::default();
    let mut children = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        match token(at) {
            "#" => {
                let start = at;
                at = past_block(&tokens, at);
                let attribute = &tokens[start..at];
                let has = |word: &str| attribute.iter().any(|token| token == word);
                if has("cfg") && has("test") && !has("not") {
                    while token(at) == "#" {
                        at = past_block(&tokens, at);
                    }
                    at = past_item(&tokens, at);
                }
            }
            "mod" if token(at + 2) == ";" => {
                children.push(token(at + 1).to_owned());
                at += 3;
            }
            // A visibility, `pub(in crate::cli)`, uses nothing.
            "pub" if token(at + 1) == "(" => at = past_block(&tokens, at),
            "use" => at = read_use(&tokens, at + 1, &[], &mut source) + 1,
            "fn" | "struct" | "enum" | "const" | "static" | "type" | "trait" => {
                source.items.insert(token(at + 1).to_owned());
                at += 1;
            }
            word if is_word(word) && token(at + 1) == "::" && is_word(token(at + 2)) => {
                let mut path = vec![word.to_owned()];
                while token(at + 1) == "::" && is_word(token(at + 2)) {
                    path.push(token(at + 2).to_owned());
                    at += 2;
                }
                source.paths.push(path);
                at += 1;
            }
            _ => at += 1,
        }
    }
    (source, children)
}

/// Reads one tree of a `use` after `before`; says where it ends.
fn read_use(tokens: &[String], mut at: usize, before: &[String], source: &mut Source) -> usize {
    let mut path = before.to_vec();
    let mut name = None;
    loop {
        match tokens[at].as_str() {
            "{" => {
                while tokens[at] != "}" {
                    at = read_use(tokens, at + 1, &path, source);
                }
                return at + 1;
            }
            "*" => source.globs.push(path.clone()),
            "as" => {
                at += 1;
                name = Some(tokens[at].clone());
            }
            "self" if !before.is_empty() => {}
            "::" => {}
            "," | "}" | ";" => break,
            word => path.push(word.to_owned()),
        }
        at += 1;
    }
    if path.len() > before.len() || tokens[at - 1] == "self" || name.is_some() {
        let name = name.or_else(|| path.last().cloned()).unwrap_or_default();
        source.names.insert(name, path.clone());
        source.paths.push(path);
    }
    at
}

/// Behind the brackets that open next.
fn past_block(tokens: &[String], mut at: usize) -> usize {
    let mut depth = 0;
    while at < tokens.len() {
        match tokens[at].as_str() {
            "[" | "{" | "(" => depth += 1,
            "]" | "}" | ")" => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
        at += 1;
    }
    at
}

/// Behind an item: its `;`, or the end of its body.
fn past_item(tokens: &[String], mut at: usize) -> usize {
    while at < tokens.len() && tokens[at] != ";" {
        let body = tokens[at] == "{";
        if ["[", "{", "("].contains(&tokens[at].as_str()) {
            at = past_block(tokens, at);
            if body {
                return at;
            }
        } else {
            at += 1;
        }
    }
    at + 1
}

fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Words, `::` and single marks, without comments, strings, characters and lifetimes.
fn tokens(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if let Some(raw) = rest.strip_prefix("r#\"") {
            3 + raw.find("\"#").unwrap() + 2
        } else if first == '"' {
            end_of_string(rest)
        } else if let Some(escape) = rest.strip_prefix("'\\") {
            3 + escape[1..].find('\'').unwrap() + 1
        } else if first == '\'' {
            let mut next = rest.char_indices().skip(2);
            match next.next() {
                Some((at, '\'')) => at + 1,
                _ => 1 + word_length(&rest[1..]),
            }
        } else {
            let length = match word_length(rest) {
                0 if rest.starts_with("::") => 2,
                0 => first.len_utf8(),
                length => length,
            };
            if !first.is_whitespace() {
                found.push(rest[..length].to_owned());
            }
            length
        };
        rest = &rest[length..];
    }
    found
}

fn word_length(text: &str) -> usize {
    text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len())
}

fn end_of_string(text: &str) -> usize {
    let mut escaped = true;
    for (at, c) in text.char_indices() {
        match c {
            '"' if !escaped && at > 0 => return at + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    text.len()
}
