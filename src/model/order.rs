//! Sorting, and filling sets and maps, with little machine code.
//!
//! The standard library's sort takes some 5 KB of machine code for each type that is sorted, and
//! collecting into a `BTreeMap` or a `BTreeSet` sorts first. The programs that run at a container
//! start are small and sort little. Here all types share one sort, which sorts positions.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

/// Sorts by `compare`; equal items keep their order.
pub fn sort_by<T>(items: &mut [T], mut compare: impl FnMut(&T, &T) -> Ordering) {
    let swaps = swaps(items.len(), &mut |a, b| match (items.get(a), items.get(b)) {
        (Some(a), Some(b)) => compare(a, b),
        _ => Ordering::Equal,
    });
    for (a, b) in swaps {
        items.swap(a, b);
    }
}

/// Sorts by `key`; equal items keep their order.
pub fn sort_by_key<T, K: Ord>(items: &mut [T], key: impl Fn(&T) -> K) {
    sort_by(items, |a, b| key(a).cmp(&key(b)));
}

/// Sorts; equal items keep their order.
pub fn sort<T: Ord>(items: &mut [T]) {
    sort_by(items, T::cmp);
}

/// Collects the items into a set.
pub fn set<T: Ord>(items: impl IntoIterator<Item = T>) -> BTreeSet<T> {
    let mut set = BTreeSet::new();
    for item in items {
        set.insert(item);
    }
    set
}

/// Collects the pairs into a map; of several values of a key the last counts.
pub fn map<K: Ord, V>(pairs: impl IntoIterator<Item = (K, V)>) -> BTreeMap<K, V> {
    let mut map = BTreeMap::new();
    for (key, value) in pairs {
        map.insert(key, value);
    }
    map
}

/// The swaps, in order, that sort `len` items. `compare` compares two items by their positions.
fn swaps(len: usize, compare: &mut dyn FnMut(usize, usize) -> Ordering) -> Vec<(usize, usize)> {
    let mut order: Vec<usize> = (0..len).collect();
    order.sort_by(|a, b| compare(*a, *b));
    // The position that each item has to move to.
    let mut goals = vec![0; len];
    for (goal, from) in order.iter().enumerate() {
        if let Some(slot) = goals.get_mut(*from) {
            *slot = goal;
        }
    }
    let mut swaps = Vec::new();
    for position in 0..len {
        // Each swap brings one item to its goal, so there are fewer swaps than items.
        while let Some(goal) = goals.get(position).copied().filter(|goal| *goal != position) {
            goals.swap(position, goal);
            swaps.push((position, goal));
        }
    }
    swaps
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_the_standard_librarys_stable_sort(
            numbers in prop::collection::vec(0_u8..20, 0..200),
        ) {
            let numbered: Vec<(u8, usize)> =
                numbers.iter().enumerate().map(|(position, n)| (*n, position)).collect();
            let mut expected = numbered.clone();
            expected.sort_by_key(|(n, _)| *n);
            let mut sorted = numbered.clone();
            sort_by_key(&mut sorted, |(n, _)| *n);
            prop_assert_eq!(&sorted, &expected);
            expected.sort_by(|a, b| b.cmp(a));
            sort_by(&mut sorted, |a, b| b.cmp(a));
            prop_assert_eq!(&sorted, &expected);
            expected.sort();
            sort(&mut sorted);
            prop_assert_eq!(&sorted, &expected);
        }

        #[test]
        fn sets_and_maps_are_as_if_collected(
            pairs in prop::collection::vec((0_u8..20, 0_u8..20), 0..50),
        ) {
            let collected: BTreeMap<u8, u8> = pairs.iter().copied().collect();
            prop_assert_eq!(map(pairs.iter().copied()), collected);
            let collected: BTreeSet<(u8, u8)> = pairs.iter().copied().collect();
            prop_assert_eq!(set(pairs), collected);
        }
    }
}
