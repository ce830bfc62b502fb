//! The exact numbers beneath every statistic: quantisation, 192-bit sums, ratios rounded once.
//!
//! Oracles: comparison in exact rational arithmetic. Random cases print their seed on failure.

#![allow(clippy::disallowed_methods, reason = "the oracles are the standard library's functions")]

use forgemesh_kernel::ratio::{RatioError, ratio_to_f64};
use forgemesh_kernel::scale::{Exclusion, Q_LIMIT, Scale};
use forgemesh_kernel::seeding::{GeneratorKey, root_derived, root_explicit};
use forgemesh_kernel::wide::U192;
use num_bigint::{BigInt, BigUint};

/// SplitMix64 (Steele, Lea & Flood 2014).
struct Random(u64);

impl Random {
    fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Of any length up to `bits`, so that all magnitudes occur.
    fn big(&mut self, bits: u64) -> BigUint {
        let len = self.word() % bits + 1;
        let words = (0..len.div_ceil(32)).map(|_| self.word() as u32).collect::<Vec<_>>();
        (BigUint::new(words) >> ((32 - len % 32) % 32)) | BigUint::from(1u32)
    }
}

/// A non-negative double as an integer multiple of 2^-1074; infinity as 2^1024.
fn exact(x: f64) -> BigUint {
    let (exponent, fraction) = (x.to_bits() >> 52, x.to_bits() & ((1 << 52) - 1));
    if exponent == 0 { BigUint::from(fraction) } else { BigUint::from(fraction | 1 << 52) << (exponent - 1) }
}

/// Is `x` the double nearest to `num/den·2^exp2`, the even one on a tie?
fn is_nearest(x: f64, num: &BigUint, den: &BigUint, exp2: i32) -> bool {
    // Everything in units of 2^-1074 / den / 2, after clearing a negative power of two.
    let up = u64::try_from(exp2 + 1074 + 1).unwrap_or(0);
    let down = u64::try_from(-(exp2 + 1074 + 1)).unwrap_or(0);
    let value = BigInt::from(num << up);
    let unit = den << down;
    let at = |half_units: BigUint| BigInt::from(half_units * &unit);
    let half_way = |a: f64, b: f64| at(exact(a) + exact(b));
    let even = x.to_bits() & 1 == 0;
    let below = x == 0.0 || {
        let edge = half_way(f64::from_bits(x.to_bits() - 1), x);
        edge < value || (even && edge == value)
    };
    let above = x.is_infinite() || {
        let edge = half_way(x, f64::from_bits(x.to_bits() + 1));
        value < edge || (even && edge == value)
    };
    below && above
}

#[test]
fn a_ratio_is_the_nearest_double() {
    let mut random = Random(1);
    for case in 0..200_000 {
        let seed = random.0;
        let (num, den) = (random.big(260), random.big(180));
        let exp2 = match case % 4 {
            0 => (random.word() % 200) as i32 - 100,
            1 => -1074 - (random.word() % 60) as i32,
            2 => 960 + (random.word() % 120) as i32,
            _ => (random.word() % 2600) as i32 - 1300,
        };
        let x = ratio_to_f64(&BigInt::from(num.clone()), &den, exp2).unwrap();
        assert!(is_nearest(x, &num, &den, exp2), "seed {seed}: {num}/{den}·2^{exp2} gave {x:e}");
        let minus = ratio_to_f64(&-BigInt::from(num), &den, exp2).unwrap();
        assert_eq!(minus.to_bits(), if x == 0.0 { 0 } else { (-x).to_bits() }, "seed {seed}");
    }
}

#[test]
fn ties_go_to_even_and_edges_are_exact() {
    let ratio =
        |num: i128, den: u64, exp2| ratio_to_f64(&BigInt::from(num), &BigUint::from(den), exp2).unwrap();
    let two53 = 1i128 << 53;
    assert_eq!(ratio(two53 + 1, 1, 0), two53 as f64);
    assert_eq!(ratio(two53 + 3, 1, 0), (two53 + 4) as f64);
    assert_eq!(ratio(3 * (two53 + 1) + 1, 3, 0), (two53 + 2) as f64, "just above a tie");
    assert_eq!(ratio(3 * (two53 + 1) - 1, 3, 0), two53 as f64, "just below a tie");
    assert_eq!(ratio(1, 1, -1074).to_bits(), 1);
    assert_eq!(ratio(1, 1, -1075).to_bits(), 0, "half the smallest subnormal is a tie");
    assert_eq!(ratio(3, 2, -1075).to_bits(), 1);
    assert_eq!(ratio(-1, 1, -1075).to_bits(), 0, "never -0");
    assert_eq!(ratio(0, 7, 5).to_bits(), 0);
    assert_eq!(ratio(two53 - 1, 1, 971), f64::MAX);
    assert_eq!(ratio(2 * two53 - 1, 1, 970), f64::INFINITY, "a tie at the top");
    assert_eq!(ratio(4 * two53 - 3, 1, 969), f64::MAX, "just below it");
    assert_eq!(ratio(1, 1, i32::MAX), f64::INFINITY);
    assert_eq!(ratio(-1, 1, i32::MAX), f64::NEG_INFINITY);
    assert_eq!(ratio(1, 1, i32::MIN).to_bits(), 0);
    assert_eq!(ratio_to_f64(&BigInt::from(1), &BigUint::from(0u32), 0), Err(RatioError));
}

#[test]
fn a_scale_leaves_forty_bits_for_the_magnitude() {
    let exponent = |magnitude| Scale::for_magnitude(magnitude).unwrap().exponent();
    assert_eq!(exponent(1.0), 40);
    assert_eq!(exponent(1.0f64.next_up()), 39);
    assert_eq!(exponent(1.0f64.next_down()), 40);
    assert_eq!(exponent(250_000.0), 22);
    assert_eq!((exponent(1e-9), exponent(1e15)), (69, -10));
    for bad in [0.0, -1.0, 9.9e-10, 1.1e15, f64::NAN, f64::INFINITY] {
        assert!(Scale::for_magnitude(bad).is_err(), "{bad}");
    }
    for magnitude in [1e-9, 1.0, 1e15] {
        let scale = Scale::for_magnitude(magnitude).unwrap();
        assert_eq!(scale.value(1) * scale.factor(), 1.0);
        for q in [0, 1, -1, Q_LIMIT - 1, 1 - Q_LIMIT] {
            assert_eq!(scale.quantize(scale.value(q)), Ok(q));
        }
    }
}

#[test]
fn quantising_rounds_to_even_and_refuses_what_is_out_of_range() {
    let scale = Scale::for_magnitude(2f64.powi(40)).unwrap();
    assert_eq!(scale.exponent(), 0);
    let top = Q_LIMIT as f64;
    let cases = [
        (0.5, Ok(0)),
        (1.5, Ok(2)),
        (2.5, Ok(2)),
        (-0.5, Ok(0)),
        (-1.5, Ok(-2)),
        (-0.0, Ok(0)),
        (f64::MIN_POSITIVE, Ok(0)),
        (top - 0.75, Ok(Q_LIMIT - 1)),
        (top - 0.5, Err(Exclusion::Clamped)),
        (0.75 - top, Ok(1 - Q_LIMIT)),
        (0.5 - top, Err(Exclusion::Clamped)),
        (f64::MAX, Err(Exclusion::Clamped)),
        (f64::NAN, Err(Exclusion::Nan)),
        (-f64::NAN, Err(Exclusion::Nan)),
        (f64::INFINITY, Err(Exclusion::PosInf)),
        (f64::NEG_INFINITY, Err(Exclusion::NegInf)),
    ];
    for (x, expected) in cases {
        assert_eq!(scale.quantize(x), expected, "{x:e}");
        let mut q = [0];
        assert_eq!(scale.quantize_block(&[x], &mut q), expected.is_ok(), "{x:e}");
        assert_eq!(expected.unwrap_or(q[0]), q[0], "{x:e}");
    }
    let fine = Scale::for_magnitude(1e-9).unwrap();
    assert_eq!(fine.quantize(f64::MAX), Err(Exclusion::Clamped), "finite, though x·2^s overflows");
}

#[test]
fn wide_sums_carry_and_never_wrap() {
    let mut random = Random(2);
    for _ in 0..10_000 {
        let seed = random.0;
        let mut limbs = || {
            U192(std::array::from_fn(|_| match random.word() % 3 {
                0 => u64::MAX,
                1 => 0,
                _ => random.word(),
            }))
        };
        let (a, b) = (limbs(), limbs());
        let sum = a.to_biguint() + b.to_biguint();
        let expected = (sum.bits() <= 192).then_some(sum);
        assert_eq!(a.checked_add(b).map(U192::to_biguint), expected, "seed {seed}");
    }
    assert_eq!(U192::from(u128::MAX).to_biguint(), BigUint::from(u128::MAX));
}

#[test]
fn every_part_of_the_seed_enters_the_key() {
    let root = root_explicit("ROOT_SEED_QUICKSTART");
    let key = GeneratorKey::derive(&root, "mc", 1, "insurance.v1");
    let others = [
        GeneratorKey::derive(&root_derived(b"ROOT_SEED_QUICKSTART"), "mc", 1, "insurance.v1"),
        GeneratorKey::derive(&root, "mc", 2, "insurance.v1"),
        GeneratorKey::derive(&root, "mc", 1, "reserve.v1"),
        GeneratorKey::derive(&root, "mci", 1, "nsurance.v1"),
    ];
    assert!(others.iter().all(|other| *other != key));
    assert_ne!(key.shard_seed(0, 9), key.shard_seed(0, 10));
}
