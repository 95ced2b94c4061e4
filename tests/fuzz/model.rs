//! What a low-level runtime would do with a spec: another reading than ours, kept simple, and one
//! for each way in which the runtimes read a member that is there twice or in capitals.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

use crate::json::Json;
use std::collections::BTreeSet;

/// The major number of the GPUs of the profile `h100x8`, whose minors are 0 to 7.
pub const MAJOR: i64 = 1219;
pub const GPUS: i64 = 8;

/// How a parser finds a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Go's, which runc has: capitals do not count, objects are merged, of the rest the last counts.
    Go,
    /// yajl's tree, which crun has had: the first.
    First,
    /// Any other's: the last.
    Last,
}

pub const DIALECTS: [Dialect; 3] = [Dialect::Go, Dialect::First, Dialect::Last];

/// What a spec comes to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Meaning {
    /// It has words of ours: a container of it is to have a lease, or not to start.
    pub asks: bool,
    /// The GPUs that a container of it can open.
    pub opens: BTreeSet<i64>,
}

impl Meaning {
    /// Of a text; `None` where the parser would not take it.
    pub fn of(text: &[u8], dialect: Dialect) -> Option<Self> {
        let spec = Json::read(text)?;
        let view = View { json: &spec, dialect };
        if !matches!(spec, Json::Object(_)) {
            return None;
        }
        Some(Self { asks: asks(&view), opens: opens(&view) })
    }
}

/// A value, as a parser sees it.
struct View<'a> {
    json: &'a Json,
    dialect: Dialect,
}

impl View<'_> {
    fn member(&self, key: &str) -> Json {
        let mut found = self.json.members().iter().filter(|(name, _)| match self.dialect {
            Dialect::Go => name.to_lowercase() == key.to_lowercase(),
            Dialect::First | Dialect::Last => name == key,
        });
        match self.dialect {
            Dialect::First => found.next().map_or(Json::Null, |(_, value)| value.clone()),
            Dialect::Last => found.next_back().map_or(Json::Null, |(_, value)| value.clone()),
            Dialect::Go => found.fold(Json::Null, |before, (_, value)| match (before, value) {
                (Json::Object(mut members), Json::Object(more)) => {
                    members.extend(more.iter().cloned());
                    Json::Object(members)
                }
                (_, value) => value.clone(),
            }),
        }
    }

    fn at(&self, path: &[&str]) -> Json {
        path.iter().fold(self.json.clone(), |here, key| self.of(&here).member(key))
    }

    fn of<'b>(&self, json: &'b Json) -> View<'b> {
        View { json, dialect: self.dialect }
    }

    fn text(&self, key: &str) -> String {
        self.member(key).text().unwrap_or_default().to_owned()
    }

    /// An integer, as the kernel gets it. crun takes one in quotes, too.
    fn number(&self, key: &str) -> Option<i64> {
        let number: i64 = match self.member(key) {
            Json::Number(spelled) => spelled.parse().ok()?,
            Json::Text(spelled) if self.dialect != Dialect::Go => spelled.trim().parse().ok()?,
            _ => return None,
        };
        // Of the negative ones only this has a meaning: any.
        Some(if number == -1 { -1 } else { number & 0xffff_ffff })
    }
}

fn asks(spec: &View<'_>) -> bool {
    let annotations = spec.member("annotations");
    let members = annotations.members();
    let is = |key: &str, value: &str| {
        members.iter().any(|(name, v)| name == key && v.text() == Some(value))
    };
    let sandbox = is("io.kubernetes.cri.container-type", "sandbox")
        || is("io.kubernetes.cri-o.ContainerType", "sandbox");
    let name = members.iter().rev().find(|(name, _)| name == "io.kubernetes.cri.container-name");
    let own = name.and_then(|(_, name)| name.text()).map(|name| format!("{name}.gpulease/"));
    // A key of an annotation is no member of a struct: capitals count to everyone.
    !sandbox
        && members.iter().any(|(key, value)| {
            let is_own = own.as_ref().is_some_and(|own| key.starts_with(own));
            (key.starts_with("gpulease/") || is_own) && value.text().is_some()
        })
}

fn opens(spec: &View<'_>) -> BTreeSet<i64> {
    let mut opened = BTreeSet::new();
    let rules = spec.at(&["linux", "resources", "devices"]);
    let mut privileged = false;
    for rule in rules.list().iter().map(|rule| spec.of(rule)) {
        let (kind, access) = (rule.text("type"), rule.text("access"));
        if rule.member("allow") != Json::Bool(true) {
            continue;
        }
        let (major, minor) = (rule.number("major"), rule.number("minor"));
        // As engines write it for a privileged container, to which its nodes are no request.
        privileged |= matches!(kind.as_str(), "" | "a");
        let reads = access.contains(['r', 'w']);
        if matches!(kind.as_str(), "c" | "u")
            && reads
            && major.is_none_or(|n| n == -1 || n == MAJOR)
        {
            let every = minor.is_none_or(|minor| minor == -1);
            opened.extend((0..GPUS).filter(|gpu| every || minor == Some(*gpu)));
        }
    }
    let nodes = spec.at(&["linux", "devices"]);
    let nodes: Vec<View<'_>> = nodes.list().iter().map(|node| spec.of(node)).collect();
    let of_gpu = |node: &&View<'_>| node.text("path").starts_with("/dev/nvidia");
    let others = nodes.iter().filter(|node| !of_gpu(node)).count();
    for node in &nodes {
        let gpu = node.number("minor").filter(|minor| (0..GPUS).contains(minor));
        let is_one =
            node.number("major") == Some(MAJOR) && matches!(node.text("type").as_str(), "c" | "u");
        if is_one && !(privileged && others >= 8) {
            opened.extend(gpu);
        }
    }
    opened
}
