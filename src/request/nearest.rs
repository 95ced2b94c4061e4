//! Guesses the key that a mistyped one was meant to be.

use super::keys::{KEYS, Key};

/// The key whose short name is most similar to a mistyped one; `None` if none is similar.
pub fn nearest(short: &str) -> Option<&'static Key> {
    // No mistyped key is longer, and the cost of the comparison is quadratic.
    const LONGEST: usize = 40;
    if short.len() > LONGEST {
        return None;
    }
    let typed = short.trim().to_ascii_lowercase().replace('_', "-");
    // Other tools call these keys `gpu-count`, `gpu-memory`.
    let typed = typed.strip_prefix("gpu-").unwrap_or(&typed);
    let (key, distance) =
        KEYS.iter().map(|key| (key, distance(typed, key.short()))).min_by_key(|(_, far)| *far)?;
    (distance <= (typed.chars().count() / 2).max(2)).then_some(key)
}

/// The Levenshtein distance: insertions, deletions and replacements of single characters.
fn distance(from: &str, to: &str) -> usize {
    let mut above: Vec<usize> = (0..=to.chars().count()).collect();
    for (line, a) in from.chars().enumerate() {
        let mut left = line.saturating_add(1);
        let mut row = vec![left];
        for (pair, b) in above.windows(2).zip(to.chars()) {
            let [corner, up] = pair else { continue };
            let replaced = corner.saturating_add(usize::from(a != b));
            left = replaced.min(up.saturating_add(1)).min(left.saturating_add(1));
            row.push(left);
        }
        above = row;
    }
    above.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_levenshteins() {
        for (from, to, far) in
            [("", "", 0), ("", "abc", 3), ("abc", "", 3), ("kitten", "sitting", 3), ("ab", "ba", 2)]
        {
            assert_eq!(distance(from, to), far, "{from} {to}");
        }
    }

    #[test]
    fn slips_find_their_key_and_noise_finds_none() {
        for (typed, meant) in [
            ("cuont", "count"),
            ("Count", "count"),
            ("gpu-count", "count"),
            ("min_memory", "min-memory"),
            ("memmory", "memory"),
            ("device", "devices"),
            ("mig_profile", "mig-profile"),
            ("topolgy", "topology"),
        ] {
            assert_eq!(nearest(typed).map(Key::short), Some(meant), "{typed}");
        }
        for noise in ["", "xyzzy-frobnicate", "ééééééé", &"count".repeat(20)] {
            assert_eq!(nearest(noise).map(Key::short), None, "{noise}");
        }
    }
}
