//! The samplers against the distributions they claim: exact tables where there are some, moments and
//! Kolmogorov–Smirnov distances elsewhere. Keys are fixed, so nothing here can fail by chance.

#![allow(clippy::disallowed_methods, reason = "the oracles are the standard library's functions")]

mod num_support;

use forgemesh_kernel::num::chacha::{Key, block};
use forgemesh_kernel::num::poisson::{Poisson, PoissonError};
use forgemesh_kernel::num::{gamma, normal, uniform};
use num_support::Source;

const KEY: Key = Key([0x0f0e, 2, 3, 5, 7, 11, 13, 17]);

/// The probability that the table gives to `k`.
fn table_probability(table: &Poisson, k: u64) -> f64 {
    let threshold = |k: i128| -> u128 {
        let i = k - i128::from(table.offset());
        if i < 0 {
            return 0;
        }
        table.thresholds().get(i as usize).map_or(1 << 64, |t| u128::from(*t))
    };
    (threshold(i128::from(k)) - threshold(i128::from(k) - 1)) as f64 / 2_f64.powi(64)
}

#[test]
fn poisson_probabilities_are_those_of_the_formula() {
    for lambda in [1e-9, 0.1, 0.5, 1.0, 2.5, 7.3, 20.0, 60.0, 200.0, 700.0] {
        let table = Poisson::new(lambda).unwrap();
        let mut exact = (-lambda).exp();
        for k in 0..1200_u64 {
            let error = (table_probability(&table, k) - exact).abs();
            assert!(error < 1e-13 * exact + 2e-19, "λ {lambda}, k {k}: {error:e} off {exact:e}");
            exact *= lambda / (k + 1) as f64;
        }
    }
}

#[test]
fn poisson_mean_and_variance_of_the_table_are_lambda() {
    for lambda in [0.3, 1.0, 4.5, 33.3, 250.0, 999.5, 1000.0] {
        let table = Poisson::new(lambda).unwrap();
        let moment = |f: &dyn Fn(f64) -> f64| -> f64 {
            (0..2500).map(|k| f(k as f64) * table_probability(&table, k)).sum()
        };
        assert!((moment(&|_| 1.0) - 1.0).abs() < 1e-14);
        assert!((moment(&|k| k) / lambda - 1.0).abs() < 1e-12, "λ {lambda}");
        assert!((moment(&|k| (k - lambda) * (k - lambda)) / lambda - 1.0).abs() < 1e-10, "λ {lambda}");
    }
}

#[test]
fn a_poisson_draw_counts_the_thresholds_at_or_below_it() {
    let mut source = Source::new(0x9015);
    let means = [0.0, -0.0, 5e-324, 1e-300, 1e-9, 0.01, 1.0, 12.5, 333.3, 1000.0];
    for lambda in means.into_iter().chain((0..20).map(|_| source.between(0.0, 1000.0)).collect::<Vec<_>>()) {
        let table = Poisson::new(lambda).unwrap();
        let count = |w: u64| table.offset() + table.thresholds().iter().filter(|t| **t <= w).count() as u64;
        assert!(table.thresholds().is_sorted() && table.thresholds().first() != Some(&0));
        let near = table.thresholds().iter().flat_map(|t| [t - 1, *t, t.saturating_add(1)]);
        let prefixes =
            (0..=512_u128).map(|i| (i << 55) as u64).flat_map(|w| [w.wrapping_sub(1), w, w.wrapping_add(1)]);
        let random = (0..2000).map(|_| source.next() >> (source.next() % 64));
        for w in near.chain(prefixes).chain(random.collect::<Vec<_>>()).chain([0, u64::MAX]) {
            assert_eq!(table.draw(w), count(w), "λ {lambda}, draw {w:#x}");
        }
    }
}

#[test]
fn poisson_means_out_of_range_are_refused() {
    for lambda in [-1e-300, -1.0, 1000.0_f64.next_up(), 1e300, f64::INFINITY, f64::NEG_INFINITY, f64::NAN] {
        assert!(matches!(Poisson::new(lambda), Err(PoissonError::OutOfRange { .. })), "{lambda}");
    }
    assert_eq!(Poisson::new(0.0).unwrap().draw(u64::MAX), 0);
    assert_eq!(Poisson::new(-0.0).unwrap(), Poisson::new(0.0).unwrap());
}

/// √n times the largest distance between the empirical distribution of `sample` and `cdf`.
fn kolmogorov_smirnov(mut sample: Vec<f64>, cdf: impl Fn(f64) -> f64) -> f64 {
    sample.sort_by(f64::total_cmp);
    let n = sample.len() as f64;
    let distance =
        |(i, x): (usize, &f64)| (cdf(*x) - i as f64 / n).abs().max((cdf(*x) - (i + 1) as f64 / n).abs());
    sample.iter().enumerate().map(distance).fold(0.0, f64::max) * n.sqrt()
}

fn gammas(shape: f64, n: u64) -> Vec<f64> {
    (0..n)
        .map(|index| {
            gamma::standard(&KEY, index, &block(&KEY, index, 0), shape).expect("an attempt is accepted")
        })
        .collect()
}

#[test]
fn gamma_moments_are_those_of_the_distribution() {
    let n = 400_000;
    for shape in [0.1, 0.5, 0.9, 1.0, 2.0, 7.5, 100.0, 1e4] {
        let sample = gammas(shape, n);
        let count = n as f64;
        let mean = sample.iter().sum::<f64>() / count;
        let variance = sample.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / count;
        let skew = sample.iter().map(|x| (x - mean).powi(3)).sum::<f64>() / count / variance.powf(1.5);
        // Standard errors: of the mean √(α/n); of the variance √((μ₄ − σ⁴)/n) with μ₄ = 3α² + 6α.
        let mean_errors = (mean - shape) / (shape / count).sqrt();
        let variance_errors = (variance - shape) / ((2.0 * shape * shape + 6.0 * shape) / count).sqrt();
        println!(
            "shape {shape}: mean {mean_errors:+.2}, variance {variance_errors:+.2} standard errors, skew {skew:.4}"
        );
        assert!(mean_errors.abs() < 4.0 && variance_errors.abs() < 4.0, "shape {shape}");
        assert!(
            (skew - 2.0 / shape.sqrt()).abs() < 0.02 + 0.1 * 2.0 / shape.sqrt(),
            "shape {shape}: skew {skew}"
        );
    }
}

#[test]
fn gamma_distributions_with_a_closed_form_fit() {
    // Erlang: 1 − e^(−x) Σ_{j<α} x^j/j!.
    let erlang = |alpha: i32| {
        move |x: f64| {
            1.0 - (-x).exp()
                * (1..alpha).fold((1.0, 1.0), |(s, t), j| (s + t * x / f64::from(j), t * x / f64::from(j))).0
        }
    };
    for alpha in [1, 2, 5, 20] {
        let distance = kolmogorov_smirnov(gammas(f64::from(alpha), 200_000), erlang(alpha));
        println!("shape {alpha}: √n·D = {distance:.3}");
        // 1.95 is exceeded once in a thousand keys.
        assert!(distance < 1.95, "shape {alpha}");
    }
    // Shape ½ is half the square of a standard normal: P(X ≤ x) = 2Φ(√(2x)) − 1, tested in z = √(2x) by inversion.
    let folded: Vec<f64> = gammas(0.5, 200_000).into_iter().map(|x| (2.0 * x).sqrt()).collect();
    let mut grid: Vec<f64> =
        (0..200_000).map(|i| normal::inverse_cdf((f64::from(i) + 0.5) / 200_000.0).abs()).collect();
    grid.sort_by(f64::total_cmp);
    let cdf = |z: f64| grid.partition_point(|g| *g <= z) as f64 / grid.len() as f64;
    let distance = kolmogorov_smirnov(folded, cdf);
    println!("shape 1/2: √n·D = {distance:.3}");
    assert!(distance < 1.95, "shape 1/2");
}

#[test]
fn normal_variates_by_inversion_fit() {
    let sample: Vec<f64> = (0..50_000_u64)
        .flat_map(|index| block(&KEY, index, 9))
        .map(|w| normal::inverse_cdf(uniform::unit(w)))
        .collect();
    let n = sample.len() as f64;
    let moment = |power: i32| sample.iter().map(|x| x.powi(power)).sum::<f64>() / n;
    assert!(moment(1).abs() < 4.0 / n.sqrt());
    assert!((moment(2) - 1.0).abs() < 4.0 * (2.0 / n).sqrt());
    assert!(moment(3).abs() < 4.0 * (15.0 / n).sqrt());
    assert!((moment(4) - 3.0).abs() < 4.0 * (96.0 / n).sqrt());
}

#[test]
fn bounded_integers_are_uniform() {
    let mut counts = [0_u64; 10];
    for w in (0..20_000_u64).flat_map(|index| block(&KEY, index, 4)) {
        counts[uniform::bounded(w, 10) as usize] += 1;
    }
    let expected = 16_000.0;
    let chi_square: f64 = counts.iter().map(|c| (*c as f64 - expected).powi(2) / expected).sum();
    // 9 degrees of freedom: 27.9 is exceeded once in a thousand keys.
    assert!(chi_square < 27.9, "{chi_square}");
}
