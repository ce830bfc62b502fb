//! From one 64-bit draw to a uniform number.
//!
//! Uses exactly one draw each, never rejects, and never returns 0 or 1.

/// `1 − 2⁻⁵³`, the largest double below one.
const ONE_BELOW: f64 = f64::from_bits(0x3fef_ffff_ffff_ffff);

/// Uniform on the open interval (0, 1): `((w >> 12) + 1/2) · 2⁻⁵²`, exactly.
///
/// The smallest value is 2⁻⁵³, the largest 1 − 2⁻⁵³; `1 − unit(w)` is exact too.
#[inline(always)]
pub fn unit(w: u64) -> f64 {
    // The fraction bits of a double in [1, 2) give 1 + (w >> 12)·2⁻⁵². Taking 1 − 2⁻⁵³ away is exact: the result
    // is an odd multiple of 2⁻⁵³ below one. Integer-to-double conversion would not vectorise on AVX2.
    f64::from_bits((w >> 12) | 0x3ff0_0000_0000_0000) - ONE_BELOW
}

/// Uniform integer in `0..n`: `⌊w·n / 2⁶⁴⌋`; 0 when `n` is 0.
///
/// The probability of each value is within 2⁻⁶⁴ of 1/n.
#[inline(always)]
pub fn bounded(w: u64, n: u64) -> u64 {
    ((u128::from(w) * u128::from(n)) >> 64) as u64
}
