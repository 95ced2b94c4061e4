//! Inputs from seeds: each by its number alone, so that it can be made again.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

use crate::json::{ESCAPED, Json};

/// A generator of numbers (SplitMix64, Steele, Lea and Flood 2014).
pub struct Dice(u64);

impl Dice {
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end).unwrap()).unwrap()
    }

    pub fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// Pieces that mean something to a runtime or to us, and where they do.
const PIECES: &[(&[&str], &str)] = &[
    (&["annotations"], r#"{"gpulease/count":"1"}"#),
    (&["annotations"], r#"{"gpulease/devices":"0"}"#),
    (&["annotations"], r#"{"gpulease/count":1}"#),
    (&["annotations"], r#"{"web.gpulease/count":"1"}"#),
    (&["annotations"], r#"{"GPUlease/count":"1"}"#),
    (&["annotations"], r#"{"kaiwo.ai/gpu-fraction":"0.5"}"#),
    (&["annotations"], r#"{"gpulease.granted/lease":"l-1"}"#),
    (&["annotations"], r#"{"io.kubernetes.cri.container-type":"sandbox"}"#),
    (&["linux", "devices"], r#"[{"path":"/dev/nvidia0","type":"c","major":1219,"minor":0}]"#),
    (&["linux", "devices"], r#"[{"path":"/dev/x","type":"c","major":1219,"minor":0}]"#),
    (&["linux", "devices"], r#"[{"path":"/dev/x","type":"u","major":1219,"minor":3}]"#),
    (&["linux", "devices"], r#"[{"path":"/dev/x","type":"c","major":"1219","minor":"0"}]"#),
    (&["linux", "devices"], r#"[{"path":"/dev/x","type":"c","major":4294968515,"minor":0}]"#),
    (&["linux", "devices"], r#"[{"path":"/dev/fuse","type":"c","major":10,"minor":229}]"#),
    (
        &["linux", "resources", "devices"],
        r#"[{"allow":true,"type":"c","major":1219,"minor":0,"access":"rwm"}]"#,
    ),
    (
        &["linux", "resources", "devices"],
        r#"[{"allow":true,"type":"c","major":1219,"access":"rw"}]"#,
    ),
    (&["linux", "resources", "devices"], r#"[{"allow":true,"type":"c","access":"rwm"}]"#),
    (&["linux", "resources", "devices"], r#"[{"allow":true,"access":"rwm"}]"#),
    (&["linux", "resources", "devices"], r#"[{"allow":true,"type":"c","access":"m"}]"#),
    (&["linux", "resources", "devices"], r#"[{"allow":false,"access":"rwm"}]"#),
    (&["hooks", "prestart"], r#"[{"path":"/usr/bin/nvidia-container-runtime-hook"}]"#),
    (&["hooks", "poststop"], r#"[{"path":"/x/gpulease-hook","args":["gpulease-hook"]}]"#),
    (&["process", "env"], r#"["NVIDIA_VISIBLE_DEVICES=all"]"#),
    (&["process", "env"], r#"["GPULEASE_COUNT=1"]"#),
    (&["process", "user"], r#"{"uid":1000,"gid":1000}"#),
    (&["linux", "namespaces"], r#"[{"type":"user"}]"#),
    (&["linux", "uidMappings"], r#"[{"containerID":0,"hostID":100000,"size":65536}]"#),
    (&["mounts"], r#"[{"destination":"/host","source":"/","type":"bind","options":["rbind"]}]"#),
];

/// Values that are at home nowhere.
const ODD: &[&str] = &[
    "null",
    "true",
    "{}",
    "[]",
    "\"\"",
    "0",
    "-1",
    "1.5",
    "1e400",
    "-0",
    "18446744073709551616",
    "9223372036854775807",
    "4294967296",
    "[[[[]]]]",
    "{\"a\":{\"b\":[]}}",
    "\"\u{202e}x\"",
];

/// A spec of one of the seeds, changed in one to four ways.
pub fn spec(dice: &mut Dice, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut tree = Json::read(dice.pick::<Vec<u8>>(seeds)).expect("a seed is JSON");
    for _ in 0..=dice.below(4) {
        change(dice, &mut tree);
    }
    let mut text = tree.write().into_bytes();
    if dice.one_in(4) {
        for _ in 0..=dice.below(3) {
            bend(dice, &mut text);
        }
    }
    text
}

fn change(dice: &mut Dice, tree: &mut Json) {
    if dice.one_in(2) {
        let (path, piece) = dice.pick(PIECES);
        let piece = Json::read(piece.as_bytes()).unwrap();
        let twice = dice.one_in(3);
        return put(dice, tree, path, piece, twice);
    }
    let mut places = count(tree);
    places = dice.below(places);
    visit(tree, &mut places, &mut |value| alter(dice, value));
}

/// Adds a piece to what is at a path, or puts it beside it, under the same name or nearly so.
fn put(dice: &mut Dice, here: &mut Json, path: &[&str], piece: Json, twice: bool) {
    let Some((key, rest)) = path.split_first() else {
        match (here, piece) {
            (Json::Object(members), Json::Object(more)) => members.extend(more),
            (Json::List(list), Json::List(more)) => list.extend(more),
            (here, piece) => *here = piece,
        }
        return;
    };
    if !matches!(here, Json::Object(_)) {
        *here = Json::Object(Vec::new());
    }
    let Json::Object(members) = here else { return };
    // A second one at any depth.
    let split_here = twice && (rest.is_empty() || dice.one_in(2));
    let found = members.iter().position(|(name, _)| name == key).filter(|_| !split_here);
    let at = found.unwrap_or_else(|| {
        let name = if twice { respelled(dice, key) } else { (*key).to_owned() };
        let at = dice.below(members.len() + 1);
        let empty = if rest.is_empty() && matches!(piece, Json::List(_)) {
            Json::List(Vec::new())
        } else {
            Json::Object(Vec::new())
        };
        members.insert(at, (name, empty));
        at
    });
    put(dice, &mut members[at].1, rest, piece, twice && !split_here);
}

fn respelled(dice: &mut Dice, key: &str) -> String {
    match dice.below(5) {
        0 => key.to_uppercase(),
        1 => {
            let at = dice.below(key.len());
            key.char_indices()
                .map(|(i, c)| if i == at { c.to_ascii_uppercase() } else { c })
                .collect()
        }
        2 => format!("{ESCAPED}{key}"),
        // In Go's eyes a `k` and an `s`.
        3 => key.replace('s', "\u{17f}").replace('k', "\u{212a}"),
        _ => key.to_owned(),
    }
}

fn count(json: &Json) -> usize {
    1 + match json {
        Json::List(list) => list.iter().map(count).sum(),
        Json::Object(members) => members.iter().map(|(_, value)| count(value)).sum(),
        _ => 0,
    }
}

/// Goes to the value of this number.
fn visit(json: &mut Json, left: &mut usize, act: &mut impl FnMut(&mut Json)) {
    if *left == 0 {
        act(json);
    }
    *left = left.wrapping_sub(1);
    match json {
        Json::List(list) => list.iter_mut().for_each(|value| visit(value, left, act)),
        Json::Object(members) => members.iter_mut().for_each(|(_, value)| visit(value, left, act)),
        _ => {}
    }
}

fn alter(dice: &mut Dice, value: &mut Json) {
    let odd = Json::read(dice.pick(ODD).as_bytes()).unwrap();
    match value {
        Json::Object(members) if !members.is_empty() => {
            let at = dice.below(members.len());
            match dice.below(7) {
                0 => drop(members.remove(at)),
                1 => {
                    let copy = members[at].clone();
                    let to = dice.below(members.len() + 1);
                    members.insert(to, copy);
                }
                2 => {
                    let name = respelled(dice, &members[at].0);
                    members[at].0 = name;
                }
                3 => {
                    let name = respelled(dice, &members[at].0);
                    let to = dice.below(members.len() + 1);
                    members.insert(to, (name, odd));
                }
                4 => members.swap(at, 0),
                5 => members[at].1 = odd,
                _ => members[at].1 = Json::List(vec![members[at].1.clone()]),
            }
        }
        Json::List(list) if !list.is_empty() => {
            let at = dice.below(list.len());
            match dice.below(5) {
                0 => drop(list.remove(at)),
                1 => list.push(list[at].clone()),
                2 => list.swap(at, 0),
                3 => list[at] = odd,
                _ => list.insert(at, odd),
            }
        }
        Json::Text(text) => match dice.below(5) {
            0 => text.insert(0, ESCAPED),
            1 => *text = text.to_uppercase(),
            2 => text.push_str(&"x".repeat(dice.below(5000))),
            3 => *text = (*dice.pick(&["c", "u", "b", "a", "rwm", "m", "all", "/dev", ""])).into(),
            _ => *value = odd,
        },
        Json::Number(spelled) => match dice.below(5) {
            0 => spelled.push_str(".0"),
            1 => *spelled = format!("-{spelled}"),
            2 => *value = Json::Text(spelled.clone()),
            3 => {
                let number: i64 = spelled.parse().unwrap_or(0);
                *spelled = number.wrapping_add(1 << 32).to_string();
            }
            _ => *spelled = "1219".into(),
        },
        _ => *value = odd,
    }
}

/// Changes a text without regard for what it is.
fn bend(dice: &mut Dice, text: &mut Vec<u8>) {
    const WORDS: &[&[u8]] = &[
        b"\"",
        b"\\",
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"\xff",
        b"\0",
        b"\\ud800",
        b" ",
        b"\n",
        b"/*x*/",
        b"//x\n",
        b"gpulease",
        b"\xef\xbb\xbf",
        b"1219",
        b"\x7f",
    ];
    let at = dice.below(text.len().max(1)).min(text.len());
    match dice.below(7) {
        0 if at < text.len() => text[at] ^= 1 << dice.below(8),
        1 => text.truncate(at),
        2 => text.extend_from_slice(dice.pick::<&[u8]>(WORDS)),
        3 => drop(text.splice(0..0, dice.pick(WORDS).iter().copied())),
        4 => {
            let end = (at + dice.below(20)).min(text.len());
            text.drain(at..end);
        }
        5 => {
            let deep = 1 + dice.below(3000);
            let nest = [vec![b'['; deep], vec![b']'; deep]].concat();
            let nest = [&b"\"n\":"[..], &nest, b","].concat();
            text.splice(1.min(text.len())..1.min(text.len()), nest);
        }
        _ => drop(text.splice(at..at, dice.pick(WORDS).iter().copied())),
    }
}
