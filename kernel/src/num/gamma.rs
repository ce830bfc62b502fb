//! Standard gamma variates (scale 1) by Marsaglia and Tsang (2000, ACM TOMS 26, 363–372), with every draw at a fixed
//! address.
//!
//! A variate owns the blocks (counter = `block_index`, stream = round), rounds 0 to 31. Attempt t = 0, 1, 2, … lies
//! in round ⌊t/3⌋, slot s = t mod 3:
//!
//! ```text
//! draw 0         boost uniform (round 0 only)
//! draw 1 + 2s    normal, by inversion
//! draw 2 + 2s    uniform of the acceptance test
//! draw 7         unused
//! ```
//!
//! With shape α, and a = α + 1 where α < 1, a = α elsewhere:
//!
//! ```text
//! d = a − ⅓            c = 1 / √(9·d)
//! x = Φ⁻¹(unit(draw))  b = fma(c, x, 1)     v = (b·b)·b
//! accept iff b > 0 and ln(unit(draw')) < fma(d, (1 − v) + ln v, (½·x)·x)
//! variate = d·v, times exp(ln(unit(draw 0)) / α) where α < 1
//! ```
//!
//! ⅓ is the double nearest to it. The first accepted attempt counts. The paper's squeeze step is left out: it saves a
//! logarithm only where lanes can branch. `(1 − v) + ln v` first keeps large shapes accurate.
//!
//! There is no running position: attempts that are not needed leave no trace, so lanes never get out of step.

use super::chacha::{Key, block};
use super::func::{exp, log};
use super::normal::{inverse_cdf, inverse_cdf_array};
use super::uniform::unit;

/// Rounds (blocks) that one variate may use: 96 attempts. Each is accepted with probability above 0.95.
pub const ROUNDS: u64 = 32;

const SLOTS: usize = 3;
/// The double nearest one third.
const THIRD: f64 = f64::from_bits(0x3fd5_5555_5555_5555);

/// What an attempt needs to know of the shape.
#[derive(Clone, Copy)]
struct Scaling {
    d: f64,
    c: f64,
}

#[inline(always)]
fn scaling(shape: f64) -> Scaling {
    let a = if shape < 1.0 { shape + 1.0 } else { shape };
    let d = a - THIRD;
    Scaling { d, c: 1.0 / (9.0 * d).sqrt() }
}

/// One attempt with normal `x` and uniform `u`: d·v, and whether it is accepted.
#[inline(always)]
fn attempt(scaling: Scaling, x: f64, u: f64) -> (f64, bool) {
    let Scaling { d, c } = scaling;
    let b = c.mul_add(x, 1.0);
    let v = b * b * b;
    let bound = d.mul_add((1.0 - v) + log(v), 0.5 * x * x);
    (d * v, (b > 0.0) & (log(u) < bound))
}

/// The factor that brings a variate of shape α + 1 down to shape α.
#[inline(always)]
fn boost(draw: u64, shape: f64) -> f64 {
    exp(log(unit(draw)) / shape)
}

#[inline(always)]
fn is_shape(shape: f64) -> bool {
    (shape > 0.0) & (shape < f64::INFINITY)
}

/// The gamma variate of `shape` (> 0, finite) and scale 1 that owns the blocks `block_index` of `key`.
///
/// `first_block` is `block(key, block_index, 0)`, which the caller has usually made for many cells at once. Where the
/// shape is small the variate may be 0 by underflow.
///
/// `None` when the shape is not positive and finite, or when no attempt was accepted in [`ROUNDS`] rounds.
#[inline(always)]
pub fn standard(key: &Key, block_index: u64, first_block: &[u64; 8], shape: f64) -> Option<f64> {
    if !is_shape(shape) {
        return None;
    }
    let scaling = scaling(shape);
    let mut draws = *first_block;
    for round in 0..ROUNDS {
        if round > 0 {
            draws = block(key, block_index, round);
        }
        for slot in 0..SLOTS {
            let x = inverse_cdf(unit(draws[1 + 2 * slot]));
            let (variate, accepted) = attempt(scaling, x, unit(draws[2 + 2 * slot]));
            if accepted {
                return Some(if shape < 1.0 { variate * boost(first_block[0], shape) } else { variate });
            }
        }
    }
    None
}

/// [`standard`] of each lane, the same bits: variates, and which of them are valid (the others are 0).
///
/// `first_blocks` is `blocks(key, block_index, &[0; L])`.
#[inline(always)]
pub fn standard_array<const L: usize>(
    key: &Key,
    block_index: &[u64; L],
    first_blocks: &[[u64; L]; 8],
    shape: &[f64; L],
) -> ([f64; L], [bool; L]) {
    let mut variates = [0.0; L];
    let mut valid = [false; L];
    for slot in 0..SLOTS {
        let mut p = [0.0; L];
        for i in 0..L {
            p[i] = unit(first_blocks[1 + 2 * slot][i]);
        }
        let x = inverse_cdf_array(&p);
        let mut all = true;
        for i in 0..L {
            let (variate, accepted) = attempt(scaling(shape[i]), x[i], unit(first_blocks[2 + 2 * slot][i]));
            let accepted = accepted & is_shape(shape[i]);
            variates[i] = if accepted & !valid[i] { variate } else { variates[i] };
            valid[i] |= accepted;
            all &= valid[i];
        }
        if all {
            break;
        }
    }
    let mut any_boost = false;
    for &alpha in shape {
        any_boost |= alpha < 1.0;
    }
    if any_boost {
        for i in 0..L {
            let boosted = variates[i] * boost(first_blocks[0][i], shape[i]);
            variates[i] = if (shape[i] < 1.0) & valid[i] { boosted } else { variates[i] };
        }
    }
    for i in 0..L {
        if !valid[i] {
            let draws = std::array::from_fn(|draw| first_blocks[draw][i]);
            let variate = standard(key, block_index[i], &draws, shape[i]);
            variates[i] = variate.unwrap_or(0.0);
            valid[i] = variate.is_some();
        }
    }
    (variates, valid)
}
