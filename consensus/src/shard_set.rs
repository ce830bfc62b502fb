//! A set of shard numbers as ranges: a stage may have a million shards, and they arrive nearly in order.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// Disjoint, ascending, not touching.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Range<u64>>", into = "Vec<Range<u64>>")]
pub struct ShardSet(Vec<Range<u64>>);

impl TryFrom<Vec<Range<u64>>> for ShardSet {
    type Error = &'static str;

    fn try_from(ranges: Vec<Range<u64>>) -> Result<ShardSet, Self::Error> {
        ShardSet::of_ranges(ranges).ok_or("ranges of shards are empty, out of order or touch")
    }
}

impl From<ShardSet> for Vec<Range<u64>> {
    fn from(set: ShardSet) -> Self {
        set.0
    }
}

impl ShardSet {
    /// Of ascending ranges of which none is empty or meets another; none otherwise.
    pub fn of_ranges(ranges: Vec<Range<u64>>) -> Option<ShardSet> {
        let apart = ranges.windows(2).all(|pair| pair[0].end < pair[1].start);
        (apart && ranges.iter().all(|range| range.start < range.end)).then_some(ShardSet(ranges))
    }

    /// How many shards are in it.
    pub fn len(&self) -> u64 {
        self.0.iter().map(|range| range.end - range.start).sum()
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Is `shard` in it?
    pub fn contains(&self, shard: u64) -> bool {
        let at = self.0.partition_point(|range| range.end <= shard);
        self.0.get(at).is_some_and(|range| range.start <= shard)
    }

    /// Adds `shard`; false if it was there.
    pub fn insert(&mut self, shard: u64) -> bool {
        let at = self.0.partition_point(|range| range.end < shard);
        match self.0.get_mut(at) {
            Some(range) if range.start <= shard && shard < range.end => return false,
            Some(range) if range.end == shard => range.end += 1,
            Some(range) if range.start == shard + 1 => range.start = shard,
            _ => self.0.insert(at, shard..shard + 1),
        }
        if at + 1 < self.0.len() && self.0[at].end == self.0[at + 1].start {
            self.0[at].end = self.0[at + 1].end;
            self.0.remove(at + 1);
        }
        true
    }

    /// The ranges, ascending, none touching another.
    pub fn ranges(&self) -> &[Range<u64>] {
        &self.0
    }

    /// The shards, ascending.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = u64> {
        self.0.iter().cloned().flatten()
    }

    /// Takes `shard` out.
    pub fn remove(&mut self, shard: u64) {
        let at = self.0.partition_point(|range| range.end <= shard);
        let Some(range) = self.0.get(at).filter(|range| range.start <= shard).cloned() else { return };
        let parts = [range.start..shard, shard + 1..range.end];
        self.0.splice(at..=at, parts.into_iter().filter(|part| !part.is_empty()));
    }

    /// The first run of shards below `end` that are neither here nor in `other`, at most `most` long.
    pub fn first_gap(&self, other: &ShardSet, end: u64, most: u64) -> Option<Range<u64>> {
        let mut start = 0;
        loop {
            let covering =
                |set: &ShardSet| set.0.iter().find(|range| range.contains(&start)).map(|range| range.end);
            match covering(self).max(covering(other)) {
                Some(next) => start = next,
                None => break,
            }
        }
        let next_start =
            |set: &ShardSet| set.0.iter().map(|range| range.start).find(|&s| s > start).unwrap_or(end);
        let stop = next_start(self).min(next_start(other)).min(end).min(start.saturating_add(most));
        (start < stop).then_some(start..stop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_a_plain_set() {
        let mut state = 7u64;
        let mut next = |bound: u64| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) % bound
        };
        for _ in 0..200 {
            let (mut set, mut plain) = (ShardSet::default(), std::collections::BTreeSet::new());
            let (mut other, mut other_plain) = (ShardSet::default(), std::collections::BTreeSet::new());
            for _ in 0..60 {
                let shard = next(40);
                match next(5) {
                    0 => {
                        set.remove(shard);
                        plain.remove(&shard);
                    }
                    1 => assert_eq!(other.insert(shard), other_plain.insert(shard)),
                    _ => assert_eq!(set.insert(shard), plain.insert(shard)),
                }
                assert_eq!(set.len(), plain.len() as u64);
                assert!((0..41).all(|s| set.contains(s) == plain.contains(&s)));
                assert!(set.0.windows(2).all(|w| w[0].end < w[1].start));
                let free = |s: &u64| !plain.contains(s) && !other_plain.contains(s);
                let start = (0..40).find(free);
                let expected = start.map(|a| a..(a..40).take_while(free).take(6).last().unwrap() + 1);
                assert_eq!(set.first_gap(&other, 40, 6), expected);
            }
        }
    }
}
