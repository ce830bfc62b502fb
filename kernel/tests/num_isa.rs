//! One source, one set of bits: every instruction set of this machine against the portable instantiation, at lengths
//! around each lane and block boundary, and ChaCha against `rand_chacha`.

mod num_support;

use forgemesh_kernel::backend::{Body, Isa, IsaError, dispatch};
use forgemesh_kernel::num::chacha::{Key, block, blocks};
use forgemesh_kernel::num::poisson::Poisson;
use forgemesh_kernel::num::{func, gamma, normal, uniform};
use num_support::Source;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Everything in `num` over a slice of draws, as bits.
struct Everything<'a, const L: usize> {
    key: Key,
    table: &'a Poisson,
    draws: &'a [u64],
}

impl<const L: usize> Body for Everything<'_, L> {
    type Out = Vec<u64>;

    #[inline(always)]
    fn run(self) -> Vec<u64> {
        let n = self.draws.len();
        let mut out = vec![0_u64; 9 * n];
        let (simple, arrays) = out.split_at_mut(7 * n);
        for (i, w) in self.draws.iter().enumerate() {
            let u = uniform::unit(*w);
            simple[i] = u.to_bits();
            simple[n + i] = func::exp(u * 1500.0 - 750.0).to_bits();
            simple[2 * n + i] = func::log(f64::from_bits(*w)).to_bits();
            simple[3 * n + i] = normal::inverse_cdf(u).to_bits();
            simple[4 * n + i] = uniform::bounded(*w, 1000);
            simple[5 * n + i] = self.table.draw(*w);
            simple[6 * n + i] = func::quantize(u - 0.5, 1024.0) as u64;
        }
        // The tail of a length that L does not divide repeats the last draw, as a caller would pad.
        for start in (0..n).step_by(L) {
            let index: [u64; L] = std::array::from_fn(|lane| self.draws[(start + lane).min(n - 1)]);
            let shape = index.map(|w| uniform::unit(w.rotate_left(17)) * 4.0);
            let first = blocks::<L>(&self.key, &index, &[0; L]);
            let (variates, valid) = gamma::standard_array(&self.key, &index, &first, &shape);
            let normals = normal::inverse_cdf_array(&index.map(|w| uniform::unit(w >> (w % 50))));
            for lane in 0..L.min(n - start) {
                arrays[start + lane] = variates[lane].to_bits() ^ u64::from(valid[lane]);
                arrays[n + start + lane] = normals[lane].to_bits();
            }
        }
        out
    }
}

#[test]
fn every_pair_of_instruction_sets_agrees() {
    let mut source = Source::new(0x15a);
    let mut compared = 0;
    for length in (1..=33).chain([63, 64, 65, 127, 128, 129, 255, 256, 257, 1000, 4096]) {
        let draws: Vec<u64> = (0..length).map(|_| source.next()).collect();
        let table = Poisson::new(source.between(0.0, 1000.0)).unwrap();
        let key = Key(std::array::from_fn(|_| source.next() as u32));
        let run = |isa, lanes| match lanes {
            1 => dispatch(isa, Everything::<1> { key, table: &table, draws: &draws }),
            4 => dispatch(isa, Everything::<4> { key, table: &table, draws: &draws }),
            8 => dispatch(isa, Everything::<8> { key, table: &table, draws: &draws }),
            16 => dispatch(isa, Everything::<16> { key, table: &table, draws: &draws }),
            _ => dispatch(isa, Everything::<32> { key, table: &table, draws: &draws }),
        };
        let specification = run(Isa::Portable, 1);
        for isa in Isa::available() {
            for lanes in [1, 4, 8, 16, 32] {
                assert_eq!(run(isa, lanes), specification, "{isa}, {lanes} lanes, length {length}");
                compared += specification.len();
            }
        }
    }
    println!("{compared} values compared on {:?}", Isa::available());
}

#[test]
fn arrays_have_the_bits_of_scalars() {
    let mut source = Source::new(0xa5);
    for round in 0..4000_u64 {
        let p: [f64; 8] =
            std::array::from_fn(|_| uniform::unit(source.next() >> (source.next() % (1 + round % 52))));
        assert_eq!(normal::inverse_cdf_array(&p), p.map(normal::inverse_cdf));
        let key = Key(std::array::from_fn(|_| source.next() as u32));
        let index: [u64; 8] = std::array::from_fn(|_| source.next());
        let shape: [f64; 8] = std::array::from_fn(|_| source.between(1e-3, 3.0));
        let first = blocks::<8>(&key, &index, &[0; 8]);
        let (variates, valid) = gamma::standard_array(&key, &index, &first, &shape);
        for lane in 0..8 {
            let scalar = gamma::standard(&key, index[lane], &block(&key, index[lane], 0), shape[lane]);
            assert_eq!(valid[lane].then_some(variates[lane]), scalar, "round {round}, lane {lane}");
        }
    }
}

struct Blocks<const L: usize>(Key, [u64; L], [u64; L]);
impl<const L: usize> Body for Blocks<L> {
    type Out = [[u64; L]; 8];
    #[inline(always)]
    fn run(self) -> [[u64; L]; 8] {
        blocks::<L>(&self.0, &self.1, &self.2)
    }
}

fn compare_with_oracle<const L: usize>(source: &mut Source, counters: &[u64]) {
    let mut bytes = [0; 32];
    for chunk in bytes.chunks_exact_mut(8) {
        chunk.copy_from_slice(&source.next().to_le_bytes());
    }
    let key = Key::from_bytes(&bytes);
    let counter: [u64; L] = std::array::from_fn(|lane| counters[lane % counters.len()]);
    let stream: [u64; L] = std::array::from_fn(|_| source.next() >> (source.next() % 64));
    let expected: [[u64; 8]; L] = std::array::from_fn(|lane| {
        let mut oracle = ChaCha8Rng::from_seed(bytes);
        oracle.set_stream(stream[lane]);
        oracle.set_word_pos(u128::from(counter[lane]) * 16);
        std::array::from_fn(|_| oracle.next_u64())
    });
    for lane in 0..L {
        assert_eq!(block(&key, counter[lane], stream[lane]), expected[lane]);
    }
    for isa in Isa::available() {
        let found = dispatch(isa, Blocks::<L>(key, counter, stream));
        for lane in 0..L {
            assert_eq!(found.map(|draws| draws[lane]), expected[lane], "{isa}, {L} lanes, lane {lane}");
        }
    }
}

#[test]
fn chacha_is_that_of_rand_chacha() {
    let mut source = Source::new(0xcc);
    let crossing: Vec<u64> = (0..32).map(|i| (1 << 32) - 16 + i).collect();
    let top: Vec<u64> = (0..32).map(|i| u64::MAX - 31 + i).collect();
    for round in 0..200 {
        let random: Vec<u64> = (0..32).map(|_| source.next() >> (source.next() % 64)).collect();
        let counters = match round {
            0 => &crossing,
            1 => &top,
            _ => &random,
        };
        compare_with_oracle::<1>(&mut source, counters);
        compare_with_oracle::<3>(&mut source, counters);
        compare_with_oracle::<8>(&mut source, counters);
        compare_with_oracle::<16>(&mut source, counters);
        compare_with_oracle::<32>(&mut source, counters);
    }
}

#[test]
fn requests_are_met_or_refused_by_name() {
    assert_eq!(Isa::available().first(), Some(&Isa::Portable));
    assert_eq!(Isa::available().last(), Some(&Isa::best()));
    assert_eq!(Isa::from_request(None), Ok(Isa::best()));
    assert_eq!(Isa::from_request(Some("")), Ok(Isa::best()));
    for isa in [Isa::Portable, Isa::Avx2, Isa::Avx512] {
        assert_eq!(isa.to_string().parse::<Isa>(), Ok(isa));
        match Isa::from_request(Some(&isa.to_string())) {
            Ok(found) => assert!(found == isa && isa.is_available()),
            Err(error) => {
                assert!(!isa.is_available());
                assert!(error.to_string().contains("portable"), "{error}");
            }
        }
    }
    let error = Isa::from_request(Some("sse9")).unwrap_err();
    assert_eq!(error, IsaError::Unknown { name: "sse9".to_owned() });
    assert!(error.to_string().contains("portable, avx2, avx512"));
}
