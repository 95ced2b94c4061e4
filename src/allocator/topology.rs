//! Finds the devices that are best linked to each other.
//!
//! A set's score is the sum over its pairs. Two partitions of one GPU count 150, NVLink 100 per
//! lane, xGMI 100, PCIe 50 by one switch, 40 by several and 20 by the host bridge. A common NUMA
//! node adds 10, which decides where all pairs are linked alike (NVSwitch, xGMI hives). The weights
//! are those of NVIDIA's go-gpuallocator and AMD's device plugin, brought to one scale.

use crate::model::device::{Device, Link, LinkKind};
use crate::model::id::DeviceId;
use crate::model::order;
use std::collections::BTreeMap;

/// Score of two partitions of one AMD GPU.
const SAME_GPU: u64 = 150;

/// Up to this many sets, all are compared: that covers every size up to 14 devices. Beyond it, sets
/// are grown greedily.
const MOST_SETS: u64 = 5000;

/// The positions in `pool` of the `count` devices that, together with `fixed`, score highest. Among
/// equals, the set with the lowest positions.
pub(super) fn best_linked(
    links: &[Link],
    fixed: &[&Device],
    pool: &[&Device],
    count: usize,
) -> Vec<usize> {
    let count = count.min(pool.len());
    let scores = Scores::new(links, fixed, pool);
    if combinations(pool.len(), count) <= MOST_SETS {
        let mut search = Search { scores: &scores, count, chosen: Vec::new(), best: None };
        search.descend(0, 0);
        search.best.map(|(_, set)| set).unwrap_or_default()
    } else {
        greedy(&scores, count)
    }
}

/// The scores of all pairs in the pool, and of each device of the pool with all fixed ones.
struct Scores {
    size: usize,
    to_fixed: Vec<u64>,
    pairs: Vec<u64>,
}

impl Scores {
    fn new(links: &[Link], fixed: &[&Device], pool: &[&Device]) -> Self {
        let mut linked: BTreeMap<(&DeviceId, &DeviceId), u64> = BTreeMap::new();
        for link in links {
            let score = match link.kind {
                LinkKind::NvLink => u64::from(link.lanes).saturating_mul(100),
                LinkKind::Xgmi => 100,
                LinkKind::Pcie => 50,
                LinkKind::PcieMulti => 40,
                LinkKind::HostBridge => 20,
            };
            let sum = linked.entry(ordered(&link.a, &link.b)).or_default();
            *sum = sum.saturating_add(score);
        }
        let pair = |a: &Device, b: &Device| {
            let near = a.numa_node.is_some() && a.numa_node == b.numa_node;
            // MIG instances have no links, even if their GPUs do.
            let is_linkable = a.instance().is_none() && b.instance().is_none();
            let link = match is_linkable {
                true if a.package() == b.package() => SAME_GPU,
                true => linked.get(&ordered(a.package(), b.package())).copied().unwrap_or(0),
                false => 0,
            };
            link.saturating_add(if near { 10 } else { 0 })
        };
        let sum = |device: &&Device| {
            fixed.iter().map(|other| pair(device, other)).fold(0, u64::saturating_add)
        };
        Self {
            size: pool.len(),
            to_fixed: pool.iter().map(sum).collect(),
            pairs: pool.iter().flat_map(|a| pool.iter().map(|b| pair(a, b))).collect(),
        }
    }

    fn pair(&self, a: usize, b: usize) -> u64 {
        self.pairs.get(a * self.size + b).copied().unwrap_or(0)
    }

    /// How much `next` adds to the score of a set that already has `chosen`.
    fn gain(&self, chosen: &[usize], next: usize) -> u64 {
        let to_fixed = self.to_fixed.get(next).copied().unwrap_or(0);
        chosen.iter().map(|other| self.pair(*other, next)).fold(to_fixed, u64::saturating_add)
    }
}

fn ordered<'a>(a: &'a DeviceId, b: &'a DeviceId) -> (&'a DeviceId, &'a DeviceId) {
    if a <= b { (a, b) } else { (b, a) }
}

/// Goes through all sets in lexicographic order. The first of the best wins.
struct Search<'a> {
    scores: &'a Scores,
    count: usize,
    chosen: Vec<usize>,
    best: Option<(u64, Vec<usize>)>,
}

impl Search<'_> {
    fn descend(&mut self, from: usize, score: u64) {
        let missing = self.count.saturating_sub(self.chosen.len());
        if missing == 0 {
            if self.best.as_ref().is_none_or(|(best, _)| score > *best) {
                self.best = Some((score, self.chosen.clone()));
            }
            return;
        }
        for next in from..=self.scores.size.saturating_sub(missing) {
            let gain = self.scores.gain(&self.chosen, next);
            self.chosen.push(next);
            self.descend(next + 1, score.saturating_add(gain));
            self.chosen.pop();
        }
    }
}

/// Grows one set from each device: it always adds the device that gains most. Returns the best set.
fn greedy(scores: &Scores, count: usize) -> Vec<usize> {
    let mut best: Option<(u64, Vec<usize>)> = None;
    for start in 0..scores.size {
        let mut chosen = vec![start];
        let mut score = scores.gain(&[], start);
        let mut gains: Vec<u64> = (0..scores.size).map(|i| scores.gain(&chosen, i)).collect();
        while chosen.len() < count {
            let rest = gains.iter().enumerate().filter(|(i, _)| !chosen.contains(i));
            // The last maximum of the reversed order is the first one, so lower positions win.
            let Some((next, gain)) = rest.rev().max_by_key(|(_, gain)| **gain) else { break };
            score = score.saturating_add(*gain);
            chosen.push(next);
            for (i, gain) in gains.iter_mut().enumerate() {
                *gain = gain.saturating_add(scores.pair(next, i));
            }
        }
        if best.as_ref().is_none_or(|(best, _)| score > *best) {
            order::sort(&mut chosen);
            best = Some((score, chosen));
        }
    }
    best.map(|(_, set)| set).unwrap_or_default()
}

/// `n` over `k`. A result above [`MOST_SETS`] is not exact.
fn combinations(n: usize, k: usize) -> u64 {
    let k = k.min(n - k);
    let mut sets: u64 = 1;
    for i in 0..k {
        sets = sets.saturating_mul((n - i) as u64) / (i as u64 + 1);
        if sets > MOST_SETS {
            break;
        }
    }
    sets
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::*;
    use super::super::grant;
    use super::super::{Hold, Snapshot};
    use super::*;
    use crate::model::device::Node;
    use crate::request::{Count, Request, Topology};

    fn count(count: u32) -> Request {
        Request { count: Count::Exactly(count), ..whole() }
    }

    fn given(snapshot: &Snapshot<'_>, request: &Request) -> Vec<u32> {
        indices(&grant(snapshot, request).unwrap())
    }

    fn nvlink(a: &Device, b: &Device, lanes: u32) -> Link {
        Link { a: a.uuid.clone(), b: b.uuid.clone(), kind: LinkKind::NvLink, lanes }
    }

    /// DGX-1 (V100): the pairs with two bricks are {0,3} {1,2} {4,7} {5,6}.
    fn dgx1() -> Node {
        let mut node = h100s(8);
        let d = &node.devices;
        let bricks = [
            (0, 1, 1),
            (0, 2, 1),
            (0, 3, 2),
            (0, 4, 2),
            (1, 2, 2),
            (1, 3, 1),
            (1, 5, 2),
            (2, 3, 2),
            (2, 6, 1),
            (3, 7, 1),
            (4, 5, 1),
            (4, 6, 1),
            (4, 7, 2),
            (5, 6, 2),
            (5, 7, 1),
            (6, 7, 2),
        ];
        node.links = bricks.iter().map(|(a, b, lanes)| nvlink(&d[*b], &d[*a], *lanes)).collect();
        node
    }

    #[test]
    fn sets_are_the_best_linked_ones() {
        let node = dgx1();
        let mut snapshot = snapshot(&node);
        assert_eq!(given(&snapshot, &count(2)), [0, 3]);
        assert_eq!(given(&snapshot, &count(4)), [0, 1, 2, 3]);
        assert_eq!(given(&snapshot, &count(8)), [0, 1, 2, 3, 4, 5, 6, 7]);
        let plain = Request { topology: Topology::None, ..count(2) };
        assert_eq!(given(&snapshot, &plain), [0, 1]);
        // A former device is kept and gets its best neighbour.
        snapshot.prefer.insert(node.devices[6].uuid.clone());
        assert_eq!(given(&snapshot, &count(2)), [5, 6]);
        // Links do not outweigh a lease in its grace.
        snapshot.holds = [5, 7]
            .map(|i: usize| Hold { grace: true, ..hold_whole(&node.devices[i], "gone") })
            .to_vec();
        assert_eq!(given(&snapshot, &count(2)), [4, 6]);
    }

    #[test]
    fn without_links_the_numa_node_decides() {
        let node = h100s(8);
        let mut snapshot = snapshot(&node);
        snapshot.holds = vec![hold_whole(&node.devices[0], "a"), hold_whole(&node.devices[1], "b")];
        assert_eq!(given(&snapshot, &count(3)), [4, 5, 6]);
    }

    #[test]
    fn on_large_nodes_the_greedy_search_finds_the_cliques() {
        // Ten cliques of four, interleaved: 40 over 4 is far above the number of sets that are
        // compared.
        let mut node = h100s(40);
        for device in &mut node.devices {
            device.numa_node = None;
        }
        for a in 0..40 {
            for b in a + 1..40 {
                if a % 10 == b % 10 && a % 10 != 0 {
                    node.links.push(nvlink(&node.devices[a], &node.devices[b], 4));
                }
            }
        }
        assert_eq!(given(&snapshot(&node), &count(4)), [1, 11, 21, 31]);
        assert_eq!(given(&snapshot(&node), &count(40)).len(), 40);
    }
}
