//! The fixed-point scale of a contract: real numbers to integers and back.
//!
//! Owns the rule `q = rint(x·2^s)` with `s = 40 − ⌈log2 M⌉`, where `M` is the largest magnitude the
//! contract's arguments imply. Must never round twice, nor let a value outside `|q| < 2^51` through.

use crate::num::func::rint_to_i64;

/// Every quantised value obeys `|q| < Q_LIMIT`.
pub const Q_LIMIT: i64 = 1 << 51;

/// Smallest magnitude bound a scale is made for.
pub const SMALLEST_MAGNITUDE: f64 = 1e-9;
/// Largest magnitude bound a scale is made for.
pub const LARGEST_MAGNITUDE: f64 = 1e15;

/// `|y|` below this rounds to `|q| < 2^51`; at it the tie goes to the even neighbour 2^51.
const Y_LIMIT: f64 = 2_251_799_813_685_247.5; // 2^51 − 1/2

/// Why there is no scale for a magnitude bound.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("the magnitude bound is {0}; it has to lie between 1e-9 and 1e15: rescale the inputs")]
pub struct ScaleError(pub f64);

/// Why a value entered no sum. The order is that of the sticky counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exclusion {
    /// Not a number.
    Nan,
    /// Plus infinity.
    PosInf,
    /// Minus infinity.
    NegInf,
    /// Finite, but `|rint(x·2^s)| ≥ 2^51`.
    Clamped,
    /// The profile has no value for this path.
    Degenerate,
}

impl Exclusion {
    /// Number of sticky counters.
    pub const COUNT: usize = 5;
    /// Names of the counters, in their order.
    pub const NAMES: [&'static str; Self::COUNT] = ["nan", "pos_inf", "neg_inf", "clamped", "degenerate"];

    /// Place of the counter in every array of counters.
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// A power of two `2^s`, `−10 ≤ s ≤ 69`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scale {
    exponent: i32,
}

impl Scale {
    /// The scale for values of magnitude up to `magnitude` (`M`): `s = 40 − ⌈log2 M⌉`, exactly, read off
    /// the exponent bits. A power of two `2^k` gives `s = 40 − k`.
    pub fn for_magnitude(magnitude: f64) -> Result<Scale, ScaleError> {
        if !(SMALLEST_MAGNITUDE..=LARGEST_MAGNITUDE).contains(&magnitude) {
            return Err(ScaleError(magnitude));
        }
        let bits = magnitude.to_bits();
        let floor_log2 = (bits >> 52) as i32 - 1023;
        let above_power = bits & ((1 << 52) - 1) != 0;
        Ok(Scale { exponent: 40 - floor_log2 - i32::from(above_power) })
    }

    /// `s`.
    pub const fn exponent(self) -> i32 {
        self.exponent
    }

    /// `2^s`, exact.
    pub fn factor(self) -> f64 {
        f64::from_bits(((1023 + self.exponent) as u64) << 52)
    }

    /// `q·2^−s`: exact, because `|q| < 2^51`. Never −0.
    pub fn value(self, q: i64) -> f64 {
        q as f64 * f64::from_bits(((1023 - self.exponent) as u64) << 52)
    }

    /// `rint(x·2^s)`, ties to even; the reason when `x` has no such integer.
    pub fn quantize(self, x: f64) -> Result<i64, Exclusion> {
        let y = x * self.factor();
        if y.abs() < Y_LIMIT { Ok(rint_to_i64(y)) } else { Err(reason(x)) }
    }

    /// Quantises `values` into `out` (same length). True when every value was in range; otherwise `out` is
    /// meaningless where `quantize` would have failed.
    #[inline(always)]
    pub fn quantize_block(self, values: &[f64], out: &mut [i64]) -> bool {
        let factor = self.factor();
        let mut bad = 0u64;
        for (q, &x) in out.iter_mut().zip(values) {
            let y = x * factor;
            bad |= u64::from(!in_range(y));
            *q = rint_to_i64(y);
        }
        bad == 0
    }
}

#[inline(always)]
fn in_range(y: f64) -> bool {
    y.abs() < Y_LIMIT
}

fn reason(x: f64) -> Exclusion {
    if x.is_nan() {
        Exclusion::Nan
    } else if x == f64::INFINITY {
        Exclusion::PosInf
    } else if x == f64::NEG_INFINITY {
        Exclusion::NegInf
    } else {
        Exclusion::Clamped
    }
}
