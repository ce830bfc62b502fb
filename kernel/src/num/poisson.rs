//! Poisson variates by inversion of an exact table: one 64-bit draw, one variate.
//!
//! The table for mean λ is a matter of integers, so that no two machines can disagree about it. With λ taken as the
//! rational number that the double is, and k₀ = ⌊λ⌋:
//!
//! ```text
//! w(k₀) = 2²⁵⁰
//! w(k+1) = ⌊w(k)·λ / (k+1)⌋   upwards from k₀ until it is 0
//! w(k−1) = ⌊w(k)·k / λ⌋       downwards from k₀ until it is 0 or k = 0
//! S = Σ w(k)    C(k) = Σ_{j ≤ k} w(j)    T(k) = ⌊2⁶⁴·C(k) / S⌋
//! ```
//!
//! A draw w gives N = #{k : T(k) ≤ w}. The recurrence starts at the mode rather than at e^(−λ), which underflows for
//! λ > 745 and would need a transcendental constant besides; here only ratios matter. Each probability is within
//! about 2⁻⁶³ of the exact one.
//!
//! Must not use floating-point arithmetic.

use num_bigint::BigUint;

/// The largest mean.
pub const MAX_LAMBDA: f64 = 1000.0;

const MODE_WEIGHT_BITS: u64 = 250;
/// The guide is indexed with the leading bits of a draw.
const GUIDE_BITS: u32 = 9;

/// Why there is no table for a mean.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum PoissonError {
    /// Below zero, above [`MAX_LAMBDA`], or not a number.
    #[error("Poisson mean {lambda} is out of range; use a finite number from 0 to 1000")]
    OutOfRange {
        /// The mean given.
        lambda: f64,
    },
}

/// The table of one mean. Immutable; at most some two thousand thresholds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Poisson {
    offset: u64,
    thresholds: Vec<u64>,
    /// `guide[g]` thresholds lie at or below `g << (64 − GUIDE_BITS)`; one entry more than there are prefixes.
    guide: Vec<u32>,
}

impl Poisson {
    /// The table for mean `lambda`, 0 ≤ λ ≤ 1000; −0 counts as 0.
    ///
    /// # Errors
    /// [`PoissonError::OutOfRange`] otherwise.
    pub fn new(lambda: f64) -> Result<Poisson, PoissonError> {
        if !(0.0..=MAX_LAMBDA).contains(&lambda) {
            return Err(PoissonError::OutOfRange { lambda });
        }
        let (offset, thresholds) =
            if lambda == 0.0 { (0, Vec::new()) } else { table(Rational::of(lambda), lambda as u64) };
        let guide = guide(&thresholds);
        Ok(Poisson { offset, thresholds, guide })
    }

    /// The variate of the draw `w`.
    #[inline(always)]
    pub fn draw(&self, w: u64) -> u64 {
        let prefix = (w >> (64 - GUIDE_BITS)) as usize;
        let from = self.guide[prefix] as usize;
        let to = self.guide[prefix + 1] as usize;
        // Nearly always none or one threshold is left between the two.
        let within = self.thresholds[from..to].partition_point(|&threshold| threshold <= w);
        self.offset + (from + within) as u64
    }

    /// The thresholds T(k) from k = `offset` on, ascending, those above 2⁶⁴ − 1 left out.
    pub fn thresholds(&self) -> &[u64] {
        &self.thresholds
    }

    /// The number of leading values k with T(k) = 0, which no draw gives.
    pub fn offset(&self) -> u64 {
        self.offset
    }
}

/// A positive double as the exact quotient `numerator / 2^shift`.
struct Rational {
    numerator: u64,
    shift: u64,
}

impl Rational {
    /// `lambda` must be positive and at most [`MAX_LAMBDA`].
    fn of(lambda: f64) -> Rational {
        let bits = lambda.to_bits();
        let fraction = bits & ((1 << 52) - 1);
        let exponent = bits >> 52;
        // value = numerator · 2^(exponent − 1075), and exponent ≤ 1032 here.
        if exponent == 0 {
            Rational { numerator: fraction, shift: 1074 }
        } else {
            Rational { numerator: fraction | 1 << 52, shift: 1075 - exponent }
        }
    }
}

/// Offset and thresholds of a mean with integer part `mode`.
fn table(lambda: Rational, mode: u64) -> (u64, Vec<u64>) {
    let (first, weights) = weights(&lambda, mode);
    let sum: BigUint = weights.iter().sum();
    let mut offset = first;
    let mut thresholds = Vec::new();
    let mut cumulative = BigUint::ZERO;
    for weight in &weights {
        cumulative += weight;
        let threshold: BigUint = (&cumulative << 64_u32) / &sum;
        // Only the last one, C = S, reaches 2⁶⁴.
        let Ok(threshold) = u64::try_from(threshold) else { break };
        if threshold == 0 {
            offset += 1;
        } else {
            thresholds.push(threshold);
        }
    }
    (offset, thresholds)
}

/// The non-zero weights in ascending order of k, and the k of the first.
fn weights(lambda: &Rational, mode: u64) -> (u64, Vec<BigUint>) {
    let numerator = BigUint::from(lambda.numerator);
    let start = BigUint::from(1_u32) << MODE_WEIGHT_BITS;

    let mut weights = Vec::new();
    let mut first = mode;
    let mut weight = start.clone();
    while first > 0 {
        weight = ((weight * first) << lambda.shift) / &numerator;
        if weight == BigUint::ZERO {
            break;
        }
        first -= 1;
        weights.push(weight.clone());
    }
    weights.reverse();
    weights.push(start.clone());

    let mut weight = start;
    for k in mode.. {
        // ⌊⌊a / 2^shift⌋ / (k+1)⌋ = ⌊a / (2^shift (k+1))⌋: still one rounding down.
        weight = ((weight * &numerator) >> lambda.shift) / (k + 1);
        if weight == BigUint::ZERO {
            break;
        }
        weights.push(weight.clone());
    }
    (first, weights)
}

fn guide(thresholds: &[u64]) -> Vec<u32> {
    let prefixes = 1_u64 << GUIDE_BITS;
    let count_to = |bound: u64| thresholds.partition_point(|&threshold| threshold <= bound) as u32;
    let mut guide: Vec<u32> = (0..prefixes).map(|prefix| count_to(prefix << (64 - GUIDE_BITS))).collect();
    guide.push(thresholds.len() as u32);
    guide
}
