//! Accuracy of the elementary functions against CORE-MATH (correctly rounded), of Φ⁻¹ against a committed
//! high-precision table, and the special cases of each.

#![allow(clippy::disallowed_methods, reason = "the oracles are the standard library's functions")]

mod num_support;

use forgemesh_kernel::num::func::{self, EXP_MAX_ULP, LOG_MAX_ULP};
use forgemesh_kernel::num::normal::{self, INVERSE_CDF_MAX_ULP};
use forgemesh_kernel::num::uniform;
use forgemesh_kernel::num::{NAN, gamma};
use num_support::Source;

const RANDOM_INPUTS: usize = 1_000_000;

/// Doubles between `a` and `b`, of equal sign or zero.
fn ulps_between(a: f64, b: f64) -> u64 {
    let line = |x: f64| {
        let bits = x.to_bits() as i64;
        if bits < 0 { i64::MIN - bits } else { bits }
    };
    line(a).abs_diff(line(b))
}

/// Holds `f` against a correctly rounded oracle: no more than `bound` doubles apart on any input.
fn check(
    name: &str,
    inputs: impl Iterator<Item = f64>,
    f: fn(f64) -> f64,
    oracle: fn(f64) -> f64,
    bound: u64,
) {
    let mut worst = (0, 0.0);
    let mut unequal = 0_u64;
    let mut count = 0_u64;
    for x in inputs {
        let ulps = ulps_between(f(x), oracle(x));
        unequal += u64::from(ulps > 0);
        count += 1;
        if ulps > worst.0 {
            worst = (ulps, x);
        }
    }
    println!(
        "{name}: {count} inputs, {:.2} % correctly rounded, largest distance from the correctly rounded value \
         {} ulp at {:e} ({:#x})",
        100.0 - 100.0 * unequal as f64 / count as f64,
        worst.0,
        worst.1,
        worst.1.to_bits()
    );
    assert!(worst.0 <= bound, "{name}: {} ulp at {:e}, documented {bound}", worst.0, worst.1);
}

#[test]
fn exp_is_within_its_documented_bound() {
    let mut source = Source::new(0x0e01);
    let wide: Vec<f64> = (0..RANDOM_INPUTS).map(|_| source.between(-745.2, 709.8)).collect();
    check("exp, whole range", wide.into_iter(), func::exp, core_math::exp, EXP_MAX_ULP);
    let near: Vec<f64> = (0..RANDOM_INPUTS).map(|_| source.between(-1.5, 1.5)).collect();
    check("exp, near 0", near.into_iter(), func::exp, core_math::exp, EXP_MAX_ULP);
    let tiny: Vec<f64> = (0..RANDOM_INPUTS).map(|_| source.between(-745.2, -707.0)).collect();
    check("exp, subnormal results", tiny.into_iter(), func::exp, core_math::exp, EXP_MAX_ULP);
    let borders = (-1075..=1024).flat_map(|k| {
        let x = (f64::from(k) + 0.5) * std::f64::consts::LN_2;
        [x.next_down().next_down(), x.next_down(), x, x.next_up(), x.next_up().next_up()]
    });
    check("exp, reduction borders", borders, func::exp, core_math::exp, EXP_MAX_ULP);
}

#[test]
fn log_is_within_its_documented_bound() {
    let mut source = Source::new(0x106);
    let any: Vec<f64> =
        (0..RANDOM_INPUTS).map(|_| f64::from_bits(source.next() % 0x7ff0_0000_0000_0000)).collect();
    check("log, every exponent", any.into_iter(), func::log, core_math::log, LOG_MAX_ULP);
    let unit: Vec<f64> = (0..RANDOM_INPUTS).map(|_| uniform::unit(source.next())).collect();
    check("log, uniforms", unit.into_iter(), func::log, core_math::log, LOG_MAX_ULP);
    let near: Vec<f64> = (0..RANDOM_INPUTS).map(|_| source.between(0.6, 1.6)).collect();
    check("log, near 1", near.into_iter(), func::log, core_math::log, LOG_MAX_ULP);
    let close: Vec<f64> =
        (0..RANDOM_INPUTS).map(|_| 1.0 + source.between(-1e-3, 1e-3) * source.between(0.0, 1.0)).collect();
    check("log, very near 1", close.into_iter(), func::log, core_math::log, LOG_MAX_ULP);
    let subnormal: Vec<f64> = (0..RANDOM_INPUTS).map(|_| f64::from_bits(source.next() >> 12)).collect();
    check("log, subnormal", subnormal.into_iter(), func::log, core_math::log, LOG_MAX_ULP);
    let root = std::f64::consts::SQRT_2;
    let borders = (-1074..=1023).flat_map(|k| {
        let power = func::exp(f64::from(k) * std::f64::consts::LN_2);
        [power.next_down(), power, power.next_up(), power * root, (power * root).next_down()]
    });
    check(
        "log, reduction borders",
        borders.filter(|x| *x > 0.0 && x.is_finite()),
        func::log,
        core_math::log,
        LOG_MAX_ULP,
    );
}

#[test]
fn special_cases_of_exp_and_log() {
    let same =
        |found: f64, expected: f64| assert_eq!(found.to_bits(), expected.to_bits(), "{found:e} {expected:e}");
    let odd_nan = f64::from_bits(0xfff8_dead_beef_0001);
    for (x, expected) in [
        (0.0, 1.0),
        (-0.0, 1.0),
        (5e-324, 1.0),
        (-5e-324, 1.0),
        (f64::INFINITY, f64::INFINITY),
        (f64::NEG_INFINITY, 0.0),
        (f64::NAN, NAN),
        (odd_nan, NAN),
        (f64::MAX, f64::INFINITY),
        (f64::MIN, 0.0),
        (710.0, f64::INFINITY),
        (-746.0, 0.0),
        (709.782_712_893_384, core_math::exp(709.782_712_893_384)),
        (709.782_712_893_385, f64::INFINITY),
        (-745.133_219_101_941_1, 5e-324),
        (-745.133_219_101_941_3, 0.0),
    ] {
        same(func::exp(x), expected);
    }
    for (x, expected) in [
        (1.0, 0.0),
        (0.0, f64::NEG_INFINITY),
        (-0.0, f64::NEG_INFINITY),
        (f64::INFINITY, f64::INFINITY),
        (-1.0, NAN),
        (-5e-324, NAN),
        (f64::NEG_INFINITY, NAN),
        (f64::NAN, NAN),
        (odd_nan, NAN),
        (5e-324, core_math::log(5e-324)),
        (f64::MAX, core_math::log(f64::MAX)),
    ] {
        same(func::log(x), expected);
    }
}

#[test]
fn minimum_and_maximum_take_the_second_of_equals() {
    assert!(func::min(0.0, -0.0).is_sign_negative() && func::min(-0.0, 0.0).is_sign_positive());
    assert!(func::max(0.0, -0.0).is_sign_negative() && func::max(-0.0, 0.0).is_sign_positive());
    assert_eq!((func::min(1.0, 2.0), func::max(1.0, 2.0)), (1.0, 2.0));
    assert_eq!((func::min(f64::NAN, 2.0), func::max(f64::NAN, 2.0)), (2.0, 2.0));
}

#[test]
fn rounding_is_to_nearest_with_ties_to_even() {
    let two_51 = (1_i64 << 51) as f64;
    for (x, expected) in [
        (0.5, 0),
        (1.5, 2),
        (2.5, 2),
        (-0.5, 0),
        (-1.5, -2),
        (-2.5, -2),
        (0.499_999_999_999_999_94, 0),
        (-0.0, 0),
        (two_51, 1 << 51),
        (-two_51, -(1 << 51)),
        (two_51 - 0.5, 1 << 51),
        (two_51 - 0.75, (1 << 51) - 1),
    ] {
        assert_eq!(func::rint_to_i64(x), expected, "{x:e}");
    }
    let mut source = Source::new(0x51);
    for _ in 0..100_000 {
        let x = source.between(-two_51, two_51) * source.between(0.0, 1e-12);
        assert_eq!(func::rint_to_i64(x), x.round_ties_even() as i64, "{x:e}");
        assert_eq!(func::quantize(x, 1024.0), (x * 1024.0).round_ties_even() as i64, "{x:e}");
    }
}

#[test]
fn uniforms_are_exact_and_open() {
    assert_eq!(uniform::unit(0), (-53_f64).exp2());
    assert_eq!(uniform::unit(u64::MAX), 1.0 - (-53_f64).exp2());
    let mut source = Source::new(0x0111);
    for _ in 0..100_000 {
        let w = source.next();
        let odd = 2 * (w >> 12) + 1;
        assert_eq!(uniform::unit(w), odd as f64 * (-53_f64).exp2());
        let n = source.next() >> (source.next() % 64);
        assert!(uniform::bounded(w, n) < n.max(1));
    }
    assert_eq!(
        (uniform::bounded(u64::MAX, 7), uniform::bounded(0, 7), uniform::bounded(u64::MAX, 0)),
        (6, 0, 0)
    );
}

/// `normal_reference.txt` has `p` and the double nearest Φ⁻¹(p), from 60-digit arithmetic.
#[test]
fn inverse_cdf_is_within_its_documented_bound() {
    let mut worst = (0, 0.0);
    let mut rows = 0;
    for line in
        include_str!("../vectors/num/normal_reference.txt").lines().filter(|line| !line.starts_with('#'))
    {
        let (p, x) = line.split_once(' ').unwrap();
        let read = |text| f64::from_bits(u64::from_str_radix(text, 16).unwrap());
        let (p, x) = (read(p), read(x));
        let ulps = ulps_between(normal::inverse_cdf(p), x);
        rows += 1;
        if ulps > worst.0 {
            worst = (ulps, p);
        }
    }
    println!("inverse_cdf: {rows} inputs, largest distance {} ulp at {:e}", worst.0, worst.1);
    assert!(rows >= 2_000);
    assert!(worst.0 <= INVERSE_CDF_MAX_ULP, "{} ulp at {:e}", worst.0, worst.1);
}

#[test]
fn inverse_cdf_is_odd_and_rejects_what_is_no_probability() {
    for p in [0.0, -0.0, 1.0, -0.5, 1.5, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert_eq!(normal::inverse_cdf(p).to_bits(), NAN.to_bits(), "{p:e}");
        assert_eq!(normal::inverse_cdf_array(&[p, 0.5])[0].to_bits(), NAN.to_bits(), "{p:e}");
    }
    let mut source = Source::new(0x0dd);
    for _ in 0..100_000 {
        let p = uniform::unit(source.next() >> (source.next() % 52));
        assert_eq!(normal::inverse_cdf(p).to_bits(), (-normal::inverse_cdf(1.0 - p)).to_bits(), "{p:e}");
    }
}

#[test]
fn gamma_refuses_what_is_no_shape() {
    let key = forgemesh_kernel::num::chacha::Key([7; 8]);
    let first = forgemesh_kernel::num::chacha::block(&key, 0, 0);
    for shape in [0.0, -0.0, -1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert_eq!(gamma::standard(&key, 0, &first, shape), None, "{shape}");
        let lanes = first.map(|draw| [draw; 2]);
        let (variates, valid) = gamma::standard_array(&key, &[0, 0], &lanes, &[shape, 2.0]);
        assert_eq!((variates[0].to_bits(), valid), (0, [false, true]), "{shape}");
    }
}
