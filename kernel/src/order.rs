//! Exact order statistics without keeping every value: a pilot that keeps all of its values, then counts against the
//! pilot's brackets, and the values inside them.

use crate::bracket::{BILLION, Bracket};

/// What a column keeps for its order statistics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Nothing.
    None,
    /// Every value, ascending.
    Pilot(Vec<i64>),
    /// For each level, counts against its bracket.
    Bracketed(Vec<LevelCount>),
}

/// Where the values lie about one bracket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LevelCount {
    pub bracket: Bracket,
    pub below: u64,
    pub below_sum: i128,
    /// Values equal to the lower end.
    pub at_lo: u64,
    /// Values equal to the upper end, unless it equals the lower one.
    pub at_hi: u64,
    pub above: u64,
    pub above_sum: i128,
    /// Values strictly between the ends, ascending.
    pub inside: Vec<i64>,
}

/// The order statistic of a rank, and what lies beyond it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statistic {
    pub value: i64,
    /// Exact sum of the values of all higher ranks.
    pub tail: i128,
}

/// The rank of a level among `n` values: ⌈ppb·n/10⁹⌉, at least 1. The inverse of the empirical distribution (type 1 of
/// Hyndman & Fan, "Sample quantiles in statistical packages", 1996).
pub fn rank(ppb: u64, n: u64) -> u64 {
    let rank = (u128::from(ppb) * u128::from(n)).div_ceil(u128::from(BILLION));
    (rank as u64).clamp(1, n.max(1))
}

impl LevelCount {
    /// Of no value.
    pub fn new(bracket: Bracket) -> Self {
        LevelCount {
            bracket,
            below: 0,
            below_sum: 0,
            at_lo: 0,
            at_hi: 0,
            above: 0,
            above_sum: 0,
            inside: Vec::new(),
        }
    }

    /// Counts at most 2¹² values; those inside are kept in the order in which they came.
    #[inline(always)]
    pub fn add(&mut self, values: &[i64]) {
        let Bracket { lo, hi } = self.bracket;
        let (mut below, mut below_sum, mut above, mut above_sum) = (0u64, 0i64, 0u64, 0i64);
        let (mut at_lo, mut at_hi) = (0u64, 0u64);
        for &q in values {
            below += u64::from(q < lo);
            below_sum += if q < lo { q } else { 0 };
            above += u64::from(q > hi);
            above_sum += if q > hi { q } else { 0 };
            at_lo += u64::from(q == lo);
            at_hi += u64::from(q == hi);
        }
        at_hi = if lo == hi { 0 } else { at_hi };
        if below + above + at_lo + at_hi < values.len() as u64 {
            self.inside.extend(values.iter().filter(|&&q| lo < q && q < hi));
        }
        self.below += below;
        self.below_sum += i128::from(below_sum);
        self.above += above;
        self.above_sum += i128::from(above_sum);
        self.at_lo += at_lo;
        self.at_hi += at_hi;
    }

    /// Adds the counts of other paths against the same bracket.
    pub fn merge(&mut self, other: &LevelCount) {
        self.below += other.below;
        self.below_sum += other.below_sum;
        self.at_lo += other.at_lo;
        self.at_hi += other.at_hi;
        self.above += other.above;
        self.above_sum += other.above_sum;
        merge_sorted(&mut self.inside, &other.inside);
    }

    /// How many values were counted.
    pub fn n(&self) -> Option<u64> {
        let parts = [self.below, self.at_lo, self.inside.len() as u64, self.at_hi, self.above];
        parts.iter().try_fold(0u64, |sum, part| sum.checked_add(*part))
    }

    /// The statistic of `rank`; none if it lies outside the bracket.
    pub fn at(&self, rank: u64) -> Option<Statistic> {
        let Bracket { lo, hi } = self.bracket;
        let times = |count: u64, q: i64| i128::from(count) * i128::from(q);
        let sum = |values: &[i64]| values.iter().map(|&q| i128::from(q)).sum::<i128>();
        let beyond_hi = self.above_sum;
        let beyond_inside = beyond_hi + times(self.at_hi, hi);
        let mut left = rank.checked_sub(self.below).filter(|&left| left > 0)?;
        if left <= self.at_lo {
            let tail = times(self.at_lo - left, lo) + sum(&self.inside) + beyond_inside;
            return Some(Statistic { value: lo, tail });
        }
        left -= self.at_lo;
        let inside = self.inside.len() as u64;
        if left <= inside {
            let at = left as usize;
            return Some(Statistic {
                value: self.inside[at - 1],
                tail: sum(&self.inside[at..]) + beyond_inside,
            });
        }
        left -= inside;
        (left <= self.at_hi).then(|| Statistic { value: hi, tail: times(self.at_hi - left, hi) + beyond_hi })
    }
}

/// The statistic of `rank` among values that were all kept.
pub fn at_rank(sorted: &[i64], rank: u64) -> Option<Statistic> {
    let at = usize::try_from(rank).ok().filter(|&at| at >= 1)?;
    let value = *sorted.get(at - 1)?;
    Some(Statistic { value, tail: sorted[at..].iter().map(|&q| i128::from(q)).sum() })
}

/// Merges ascending values into ascending values.
pub fn merge_sorted(into: &mut Vec<i64>, other: &[i64]) {
    if other.is_empty() {
        return;
    }
    into.extend_from_slice(other);
    // The stable sort finds the two runs and merges them in linear time.
    into.sort();
}
