//! Exact rationals rounded once to f64.
//!
//! Owns the only way an integer reduction becomes a float: round to nearest, ties to even (IEEE 754-2019
//! §4.3.1), gradual underflow, overflow to infinity. Must never give −0, nor round twice.

use num_bigint::{BigInt, BigUint, Sign};

/// Why a ratio has no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a ratio has a zero denominator; ask only over at least one path")]
pub struct RatioError;

/// `num / den · 2^exp2`, correctly rounded. A zero or a negative value that underflows gives +0.
pub fn ratio_to_f64(num: &BigInt, den: &BigUint, exp2: i32) -> Result<f64, RatioError> {
    if den.bits() == 0 {
        return Err(RatioError);
    }
    if num.sign() == Sign::NoSign {
        return Ok(0.0);
    }
    // 66 or 67 quotient bits: 53 to keep, the others and the remainder to round by.
    let shift = 66 - (num.bits() as i64 - den.bits() as i64);
    let (num_shift, den_shift) = (shift.max(0) as u64, (-shift).max(0) as u64);
    let num_big = num.magnitude() << num_shift;
    let den_big = den << den_shift;
    let quotient = &num_big / &den_big;
    let sticky = &quotient * &den_big != num_big;
    let quotient = u128::try_from(&quotient).expect("invariant: the shift leaves at most 67 bits");
    let magnitude = round(quotient, sticky, i64::from(exp2) - shift);
    Ok(if num.sign() == Sign::Minus && magnitude != 0.0 { -magnitude } else { magnitude })
}

/// `(quotient + ε)·2^exponent` with `0 < ε < 1` iff `sticky`; `quotient` has at least 66 bits.
fn round(quotient: u128, sticky: bool, exponent: i64) -> f64 {
    let bits = i64::from(128 - quotient.leading_zeros());
    let top = exponent + bits - 1; // 2^top ≤ value < 2^(top+1)
    if top > 1023 {
        return f64::INFINITY;
    }
    // Exponent of the last kept bit: 52 below the top, but not below that of the smallest subnormal.
    let last = (top - 52).max(-1074);
    let drop = last - exponent;
    if drop > 127 {
        return 0.0; // the value lies far below half the smallest subnormal
    }
    let kept = (quotient >> drop) as u64;
    let half = 1u128 << (drop - 1);
    let tail = quotient & ((1u128 << drop) - 1);
    let up = tail > half || (tail == half && (sticky || kept & 1 == 1));
    // A carry out of the fraction raises the exponent by itself, up to and including infinity.
    let biased = if kept >> 52 == 1 { (last + 1074) as u64 } else { 0 };
    f64::from_bits((biased << 52) + kept + u64::from(up))
}
