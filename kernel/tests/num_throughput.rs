//! Time per element of each building block on each instruction set of this machine. Prints, asserts nothing of time:
//! `cargo test --release -p forgemesh-kernel --test num_throughput -- --nocapture`.

#![allow(clippy::disallowed_methods, reason = "the oracles are the standard library's functions")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use forgemesh_kernel::backend::{Body, Isa, dispatch};
use forgemesh_kernel::num::chacha::{Key, block, blocks};
use forgemesh_kernel::num::{func, gamma, normal, poisson::Poisson, uniform};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

const ELEMENTS: usize = 4096;
const KEY: Key = Key([1, 2, 3, 4, 5, 6, 7, 8]);

struct ChaCha<'a, const L: usize>(&'a mut [u64]);
impl<const L: usize> Body for ChaCha<'_, L> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let mut first = 0;
        for chunk in self.0.chunks_exact_mut(8 * L) {
            let draws = blocks::<L>(&KEY, &std::array::from_fn(|lane| first + lane as u64), &[0; L]);
            for j in 0..8 {
                chunk[j * L..(j + 1) * L].copy_from_slice(&draws[j]);
            }
            first += L as u64;
        }
    }
}

struct Map<'a, F>(F, &'a [f64], &'a mut [f64]);
impl<F: Fn(f64) -> f64> Body for Map<'_, F> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        for (x, y) in self.1.iter().zip(self.2) {
            *y = self.0(*x);
        }
    }
}

struct Normal<'a, const L: usize>(&'a [f64], &'a mut [f64]);
impl<const L: usize> Body for Normal<'_, L> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let (inputs, _) = self.0.as_chunks::<L>();
        let (outputs, _) = self.1.as_chunks_mut::<L>();
        for (x, y) in inputs.iter().zip(outputs) {
            *y = normal::inverse_cdf_array(x);
        }
    }
}

struct Gamma<'a, const L: usize>(f64, &'a mut [f64]);
impl<const L: usize> Body for Gamma<'_, L> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let (outputs, _) = self.1.as_chunks_mut::<L>();
        for (n, y) in outputs.iter_mut().enumerate() {
            let index = std::array::from_fn(|lane| (n * L + lane) as u64);
            let first = blocks::<L>(&KEY, &index, &[0; L]);
            *y = gamma::standard_array(&KEY, &index, &first, &[self.0; L]).0;
        }
    }
}

struct Counts<'a>(&'a Poisson, &'a [u64], &'a mut [u64]);
impl Body for Counts<'_> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        for (w, n) in self.1.iter().zip(self.2) {
            *n = self.0.draw(*w);
        }
    }
}

/// Best nanoseconds per element over about twenty milliseconds.
fn time(mut work: impl FnMut()) -> f64 {
    let mut best = Duration::MAX;
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(20) {
        let begin = Instant::now();
        work();
        best = best.min(begin.elapsed());
    }
    best.as_secs_f64() * 1e9 / ELEMENTS as f64
}

#[test]
fn print_nanoseconds_per_element() {
    let mut draws = vec![0_u64; ELEMENTS];
    for (i, draw) in draws.iter_mut().enumerate() {
        *draw = block(&KEY, i as u64 / 8, 0)[i % 8];
    }
    let p: Vec<f64> = draws.iter().map(|w| uniform::unit(*w)).collect();
    let x: Vec<f64> = p.iter().map(|p| p * 20.0 - 10.0).collect();
    let mut y = vec![0.0; ELEMENTS];
    let mut n = vec![0_u64; ELEMENTS];
    let mut bytes = vec![0_u8; 8 * ELEMENTS];

    let mut oracle = ChaCha8Rng::seed_from_u64(1);
    println!("rand_chacha u64   {:8.3} ns", time(|| oracle.fill_bytes(black_box(&mut bytes))));
    for isa in Isa::available() {
        let show = |name: &str, ns: f64| println!("{isa:8} {name:20} {ns:8.3} ns");
        show("chacha u64, L=1", time(|| dispatch(isa, ChaCha::<1>(black_box(&mut n)))));
        show("chacha u64, L=8", time(|| dispatch(isa, ChaCha::<8>(black_box(&mut n)))));
        show("chacha u64, L=16", time(|| dispatch(isa, ChaCha::<16>(black_box(&mut n)))));
        show("chacha u64, L=32", time(|| dispatch(isa, ChaCha::<32>(black_box(&mut n)))));
        show("chacha u64, L=64", time(|| dispatch(isa, ChaCha::<64>(black_box(&mut n)))));
        show("exp", time(|| dispatch(isa, Map(func::exp, &x, black_box(&mut y)))));
        show("log", time(|| dispatch(isa, Map(func::log, &p, black_box(&mut y)))));
        show("inverse_cdf", time(|| dispatch(isa, Map(normal::inverse_cdf, &p, black_box(&mut y)))));
        show("inverse_cdf, L=8", time(|| dispatch(isa, Normal::<8>(&p, black_box(&mut y)))));
        show("inverse_cdf, L=16", time(|| dispatch(isa, Normal::<16>(&p, black_box(&mut y)))));
        for shape in [0.5, 3.0, 300.0] {
            show(
                &format!("gamma {shape}, L=8"),
                time(|| dispatch(isa, Gamma::<8>(shape, black_box(&mut y)))),
            );
            show(
                &format!("gamma {shape}, L=16"),
                time(|| dispatch(isa, Gamma::<16>(shape, black_box(&mut y)))),
            );
            show(
                &format!("gamma {shape}, L=32"),
                time(|| dispatch(isa, Gamma::<32>(shape, black_box(&mut y)))),
            );
        }
        for lambda in [1.5, 20.0, 900.0] {
            let table = Poisson::new(lambda).unwrap();
            show(
                &format!("poisson {lambda}"),
                time(|| dispatch(isa, Counts(&table, &draws, black_box(&mut n)))),
            );
        }
    }
}
