//! Exact sums of quantised values: count, sum, sum of squares, extremes with the path where they occur.

use crate::wide::U192;

/// Moments of a column over its valid paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moments {
    pub n: u64,
    pub sum: i128,
    pub squares: U192,
    /// Smallest and largest value; both 0 if there is none.
    pub min: i64,
    pub max: i64,
    /// The lowest path that has them; 0 if there is none.
    pub min_at: u64,
    pub max_at: u64,
}

impl Moments {
    /// Of no value.
    pub const EMPTY: Moments =
        Moments { n: 0, sum: 0, squares: U192([0; 3]), min: 0, max: 0, min_at: 0, max_at: 0 };

    /// Adds the values of consecutive or ascending paths; `path(i)` is that of `values[i]`. At most 2¹² values.
    #[inline(always)]
    pub fn add(&mut self, values: &[i64], path: impl Fn(usize) -> u64) {
        let (mut sum, mut squares) = (0i64, 0u128);
        let (mut min, mut max) = (i64::MAX, i64::MIN);
        for &q in values {
            sum += q;
            let magnitude = u128::from(q.unsigned_abs());
            squares += magnitude * magnitude;
            min = if q < min { q } else { min };
            max = if q > max { q } else { max };
        }
        let first = |wanted: i64| values.iter().position(|&q| q == wanted).map_or(0, &path);
        if values.is_empty() {
            return;
        }
        if self.n == 0 || min < self.min {
            (self.min, self.min_at) = (min, first(min));
        }
        if self.n == 0 || max > self.max {
            (self.max, self.max_at) = (max, first(max));
        }
        self.n += values.len() as u64;
        self.sum += i128::from(sum);
        self.squares =
            self.squares.checked_add(U192::from(squares)).expect("invariant: 2^64 squares below 2^102 fit");
    }

    /// Adds the moments of other paths.
    pub fn merge(&mut self, other: &Moments) {
        if other.n == 0 {
            return;
        }
        if self.n == 0 {
            *self = *other;
            return;
        }
        if (other.min, other.min_at) < (self.min, self.min_at) {
            (self.min, self.min_at) = (other.min, other.min_at);
        }
        if other.max > self.max || (other.max == self.max && other.max_at < self.max_at) {
            (self.max, self.max_at) = (other.max, other.max_at);
        }
        self.n += other.n;
        self.sum += other.sum;
        self.squares =
            self.squares.checked_add(other.squares).expect("invariant: decoding bounds squares by n");
    }
}
