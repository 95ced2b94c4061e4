//! Sets of compute units of one AMD device. `HSA_CU_MASK` names each unit by its position, from 0.

use crate::model::order;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A set of compute units, in ascending ranges that neither overlap nor touch. Its text is a
/// `CU_list` in ROCr's grammar (`core/util/flag.cpp`): `0-7,16-23`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CuSet {
    /// First and last of each range.
    ranges: Vec<(u32, u32)>,
}

/// The largest number that is accepted in a list. Devices have a few hundred compute units.
const CU_MAX: u32 = 4095;

impl CuSet {
    /// The set of these ranges, in any order. A range includes its first and its last unit.
    pub fn of(ranges: impl IntoIterator<Item = (u32, u32)>) -> Self {
        let mut sorted: Vec<(u32, u32)> =
            ranges.into_iter().filter(|(first, last)| first <= last).collect();
        order::sort(&mut sorted);
        let mut set = Self::default();
        for (first, last) in sorted {
            match set.ranges.last_mut() {
                Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
                _ => set.ranges.push((first, last)),
            }
        }
        set
    }

    /// Reads `0-7,16-23`; each number is at most 4095.
    pub fn parse(text: &str) -> Option<Self> {
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse().ok().filter(|cu| digits && *cu <= CU_MAX)
        };
        let range = |item: &str| match item.split_once('-') {
            Some((first, last)) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then_some((first, last))
            }
            None => number(item).map(|cu| (cu, cu)),
        };
        let ranges: Option<Vec<(u32, u32)>> = text.split(',').map(range).collect();
        ranges.map(Self::of)
    }

    /// The number of compute units in the set.
    pub fn count(&self) -> u32 {
        self.ranges.iter().map(|(first, last)| last - first + 1).fold(0, u32::saturating_add)
    }

    /// Whether the set has no compute unit.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Whether the set has any unit of this range, `last` included.
    pub fn touches(&self, first: u32, last: u32) -> bool {
        self.ranges.iter().any(|(begin, end)| *begin <= last && first <= *end)
    }

    /// The ranges, in ascending order.
    pub fn ranges(&self) -> &[(u32, u32)] {
        &self.ranges
    }
}

impl fmt::Display for CuSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, (first, last)) in self.ranges.iter().enumerate() {
            let comma = if position == 0 { "" } else { "," };
            match first == last {
                true => write!(f, "{comma}{first}")?,
                false => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

impl TryFrom<String> for CuSet {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| {
            format!("`{}` is not a list of compute units like 0-7,16-23", super::text::shown(&text))
        })
    }
}

impl From<CuSet> for String {
    fn from(set: CuSet) -> Self {
        set.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_joined_and_written_as_rocr_reads_them() {
        let set = CuSet::of([(16, 23), (0, 7), (8, 8), (30, 29), (20, 25)]);
        assert_eq!((set.to_string().as_str(), set.count()), ("0-8,16-25", 19));
        assert_eq!(CuSet::parse("16-25,0-8"), Some(set.clone()));
        assert_eq!(CuSet::of([(3, 3)]).to_string(), "3");
        assert!(set.touches(8, 9) && set.touches(0, 99) && !set.touches(9, 15));
        assert!(CuSet::default().is_empty() && !set.is_empty());
    }

    #[test]
    fn what_is_no_list_is_not_read() {
        for bad in ["", ",", "1-", "-1", "2-1", "+1", "0x1", "4096", "1 2", "1,", "99999999999"] {
            assert_eq!(CuSet::parse(bad), None, "{bad}");
        }
    }
}
