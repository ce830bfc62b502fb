//! Classes of quantised values: signed, log-linear, sixteen to an octave.
//!
//! For |q| < 16 the class is |q| itself; beyond, with e = ⌊log2 |q|⌋, it is 16·(e−4) + (|q| >> (e−4)). A negative value
//! has the negative class. Every class keeps a count and an exact sum, so classes merge in any order.

use std::collections::BTreeMap;

/// The largest class: that of 2⁵¹ − 1.
pub const LAST: i16 = 16 * 46 + 31;

/// Classes that are not empty, with count and sum.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram(BTreeMap<i16, (u64, i128)>);

/// The class of a value with |q| < 2⁵¹.
#[inline(always)]
pub fn class_of(q: i64) -> i16 {
    let magnitude = q.unsigned_abs();
    let shift = 59 - (magnitude | 16).leading_zeros();
    let class = ((shift << 4) as u64 + (magnitude >> shift)) as i16;
    if q < 0 { -class } else { class }
}

/// The values of a class, from the first one on to the one after the last.
pub fn bounds(class: i16) -> (i64, i64) {
    let magnitude = i64::from(class.unsigned_abs());
    let (lower, end) = if magnitude < 16 {
        (magnitude, magnitude + 1)
    } else {
        let shift = magnitude / 16 - 1;
        let mantissa = magnitude % 16 + 16;
        (mantissa << shift, (mantissa + 1) << shift)
    };
    if class < 0 { (1 - end, 1 - lower) } else { (lower, end) }
}

impl Histogram {
    /// The classes that are not empty, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (i16, u64, i128)> + '_ {
        self.0.iter().map(|(class, (count, sum))| (*class, *count, *sum))
    }

    /// How many classes are not empty.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Is every class empty?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds to a class.
    pub fn add(&mut self, class: i16, count: u64, sum: i128) {
        if count > 0 {
            let entry = self.0.entry(class).or_default();
            *entry = (entry.0 + count, entry.1 + sum);
        }
    }

    /// Adds another histogram.
    pub fn merge(&mut self, other: &Histogram) {
        for (class, count, sum) in other.iter() {
            self.add(class, count, sum);
        }
    }

    /// The class that holds the value of `rank`, counting from 1.
    pub fn class_at(&self, rank: u64) -> Option<i16> {
        let mut seen = 0;
        self.iter()
            .find(|(_, count, _)| {
                seen += count;
                seen >= rank
            })
            .map(|(class, _, _)| class)
    }
}

/// The same for one leaf, dense: what the inner loop writes.
pub struct DenseHistogram {
    counts: Vec<u64>,
    sums: Vec<i64>,
    flushed: Vec<i128>,
    /// Values added since the sums were last flushed.
    pending: usize,
}

/// 4,096 values below 2⁵¹ sum to less than 2⁶³.
const FLUSH: usize = 1 << 12;
const CLASSES: usize = 2 * LAST as usize + 1;

impl DenseHistogram {
    /// Without values.
    pub fn new() -> Self {
        DenseHistogram {
            counts: vec![0; CLASSES],
            sums: vec![0; CLASSES],
            flushed: vec![0; CLASSES],
            pending: 0,
        }
    }

    /// Adds at most [`FLUSH`] values.
    #[inline(always)]
    pub fn add(&mut self, values: &[i64]) {
        if self.pending + values.len() > FLUSH {
            self.flush();
        }
        self.pending += values.len();
        for &q in values {
            let at = (class_of(q) + LAST) as usize;
            self.counts[at] += 1;
            self.sums[at] += q;
        }
    }

    fn flush(&mut self) {
        for (total, sum) in self.flushed.iter_mut().zip(&mut self.sums) {
            *total += i128::from(std::mem::take(sum));
        }
        self.pending = 0;
    }

    /// The classes that are not empty.
    pub fn finish(mut self) -> Histogram {
        self.flush();
        let mut histogram = Histogram::default();
        for (at, (count, sum)) in self.counts.iter().zip(&self.flushed).enumerate() {
            histogram.add(at as i16 - LAST, *count, *sum);
        }
        histogram
    }
}

impl Default for DenseHistogram {
    fn default() -> Self {
        DenseHistogram::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_its_class_and_classes_touch() {
        for class in -LAST..LAST {
            assert_eq!(bounds(class).1, bounds(class + 1).0, "class {class}");
        }
        assert_eq!(bounds(LAST).1, 1 << 51);
        for shift in 0..51 {
            for q in [(1i64 << shift) - 1, 1 << shift, (1 << shift) + 1] {
                for q in [q, -q] {
                    let (lower, end) = bounds(class_of(q));
                    assert!(lower <= q && q < end, "{q}");
                }
            }
        }
    }
}
