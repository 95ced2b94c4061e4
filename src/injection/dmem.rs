//! The text of `dmem.max` in a spec: a region and its limit a line, as in the cgroup's file (Linux,
//! admin-guide/cgroup-v2.rst, "DMEM").

use std::collections::BTreeMap;

/// Where a spec sets files of the unified hierarchy.
pub(super) const UNIFIED: [&str; 3] = ["linux", "resources", "unified"];
/// Which of them limits device memory.
pub(super) const DMEM_MAX: &str = "dmem.max";

/// `theirs` with these limits. A line for one of the regions is replaced, by the lower limit of both
/// if it says one; all else stays as it is.
pub(super) fn lines(theirs: &str, limits: &BTreeMap<String, u64>) -> String {
    let mut limits = limits.clone();
    let mut kept = Vec::new();
    for line in theirs.lines().filter(|line| !line.trim().is_empty()) {
        let mut words = line.split_ascii_whitespace();
        match words.next().and_then(|region| limits.get_mut(region)) {
            Some(limit) => {
                let other = words.next().and_then(bytes).unwrap_or(u64::MAX);
                *limit = other.min(*limit);
            }
            None => kept.push(line.to_owned()),
        }
    }
    kept.extend(limits.iter().map(|(region, limit)| format!("{region} {limit}")));
    kept.join("\n")
}

/// A number of bytes as the kernel's `memparse` reads it, in decimal; `None` for `max`.
fn bytes(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().ok()?;
    let shift = match text.get(digits.len()..)? {
        "" => 0,
        "k" | "K" => 10,
        "m" | "M" => 20,
        "g" | "G" => 30,
        "t" | "T" => 40,
        _ => return None,
    };
    number.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lower_of_two_limits_stands_and_other_regions_are_kept() {
        let limits: BTreeMap<String, u64> =
            [("drm/0000:03:00.0/vram".to_owned(), 4 << 30), ("drm/b/vram".to_owned(), 7)].into();
        let ours = "drm/0000:03:00.0/vram 4294967296\ndrm/b/vram 7";
        assert_eq!(lines("", &limits), ours);
        for higher in ["max", "8G", "4294967297", "junk", "", "99999999999999T"] {
            assert_eq!(lines(&format!("drm/0000:03:00.0/vram {higher}\n"), &limits), ours);
        }
        let theirs = "drm/c/stolen max\n\ndrm/0000:03:00.0/vram 1G\ndrm/b/vram 9\n";
        let expected = "drm/c/stolen max\ndrm/0000:03:00.0/vram 1073741824\ndrm/b/vram 7";
        assert_eq!(lines(theirs, &limits), expected);
    }
}
