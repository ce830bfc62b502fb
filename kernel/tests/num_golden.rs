//! Golden bits of everything in `num`, committed under `kernel/vectors/num` and compared on every instruction set.
//!
//! `FORGEMESH_BLESS=1` writes the files. They are frozen: a difference is a defect of the code, never of the file.
//! `kernel/vectors/num/reference.py check` recomputes them from the specification.

mod num_support;

use std::path::PathBuf;

use forgemesh_kernel::backend::{Body, Isa, dispatch};
use forgemesh_kernel::num::chacha::{Key, block};
use forgemesh_kernel::num::poisson::Poisson;
use forgemesh_kernel::num::{func, gamma, normal, uniform};
use num_support::Source;

/// Compares `lines` with the committed file `kernel/vectors/num/<name>`, or writes it where `FORGEMESH_BLESS=1`.
fn golden(name: &str, header: &str, lines: &[String]) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("vectors/num").join(name);
    let mut text = String::new();
    for line in header.lines() {
        text += &format!("# {line}\n");
    }
    for line in lines {
        text += &format!("{line}\n");
    }
    if std::env::var_os("FORGEMESH_BLESS").is_some_and(|value| value == "1") {
        std::fs::write(&path, &text).expect("the vectors can be written");
        return;
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_else(|error| {
        panic!("{}: {error}; write it with FORGEMESH_BLESS=1 if the vector is new", path.display())
    });
    for (number, (expected, found)) in committed.lines().zip(text.lines()).enumerate() {
        assert_eq!(found, expected, "{name}, line {}", number + 1);
    }
    assert_eq!(text.lines().count(), committed.lines().count(), "{name}: number of lines");
}

/// Bits as 16 hex digits.
fn hex(x: f64) -> String {
    format!("{:016x}", x.to_bits())
}

struct Each<'a, F>(F, &'a [f64]);
impl<F: Fn(f64) -> f64> Body for Each<'_, F> {
    type Out = Vec<f64>;
    #[inline(always)]
    fn run(self) -> Vec<f64> {
        let mut outputs = vec![0.0; self.1.len()];
        for (x, y) in self.1.iter().zip(&mut outputs) {
            *y = self.0(*x);
        }
        outputs
    }
}

/// One line per input, after every instruction set has given the same bits.
fn function_lines(inputs: &[f64], f: impl Fn(f64) -> f64 + Copy) -> Vec<String> {
    let lines = |isa| -> Vec<String> {
        let outputs = dispatch(isa, Each(f, inputs));
        inputs.iter().zip(outputs).map(|(x, y)| format!("{} {}", hex(*x), hex(y))).collect()
    };
    let specification = lines(Isa::Portable);
    for isa in Isa::available() {
        assert_eq!(lines(isa), specification, "{isa}");
    }
    specification
}

/// Edges every function has to survive.
fn edges() -> Vec<f64> {
    let magnitudes = [
        0.0,
        5e-324,
        f64::MIN_POSITIVE.next_down(),
        f64::MIN_POSITIVE,
        f64::EPSILON,
        0.5,
        1.0,
        2.0,
        f64::MAX,
    ];
    let mut edges: Vec<f64> = magnitudes.iter().flat_map(|x| [*x, -x]).collect();
    edges.extend([f64::INFINITY, f64::NEG_INFINITY, f64::from_bits(0x7ff8_0000_0000_0000)]);
    edges.extend([f64::from_bits(0xfff8_0000_0000_0000), f64::from_bits(0x7ff0_0000_0000_0001)]);
    edges
}

#[test]
fn exp_bits() {
    let mut inputs = edges();
    inputs.extend([
        709.782_712_893_384,
        709.782_712_893_385,
        710.0,
        710.1,
        -745.133_219_101_941_1,
        -745.2,
        -746.0,
        -747.0,
    ]);
    let mut source = Source::new(0xe0);
    inputs.extend((0..150).map(|_| source.between(-745.5, 710.0)));
    inputs.extend((0..100).map(|_| source.between(-746.0, -707.0)));
    inputs.extend((0..100).map(|_| source.between(-2.0, 2.0)));
    golden("exp.txt", "exp: x, exp(x); bits in hex.", &function_lines(&inputs, func::exp));
}

#[test]
fn log_bits() {
    let mut inputs = edges();
    let root = f64::from_bits(0x3fe6_a09e_667f_3bcd);
    inputs.extend([root.next_down(), root, root.next_up(), 2.0 * root, (2.0 * root).next_down()]);
    inputs.extend([1.0_f64.next_down(), 1.0_f64.next_up()]);
    let mut source = Source::new(0x10);
    inputs.extend((0..150).map(|_| f64::from_bits(source.next() % 0x7ff0_0000_0000_0000)));
    inputs.extend((0..50).map(|_| f64::from_bits(source.next() >> (12 + source.next() % 50))));
    inputs.extend((0..150).map(|_| uniform::unit(source.next())));
    inputs.extend((0..50).map(|_| source.between(0.9, 1.1)));
    golden("log.txt", "log: x, log(x); bits in hex.", &function_lines(&inputs, func::log));
}

#[test]
fn inverse_cdf_bits() {
    let mut inputs = edges();
    for border in [0.075, 0.925, 1.388_794_386_496_402e-11, 1.0 - 1.388_794_386_496_402e-11] {
        inputs.extend([f64::next_down(border), border, f64::next_up(border)]);
    }
    inputs.extend([uniform::unit(0), uniform::unit(u64::MAX)]);
    let mut source = Source::new(0x1c);
    inputs.extend((0..200).map(|_| uniform::unit(source.next())));
    inputs.extend((0..100).map(|_| uniform::unit(source.next() >> (source.next() % 52))));
    inputs.extend((0..100).map(|_| 1.0 - uniform::unit(source.next() >> (source.next() % 52))));
    let lines = function_lines(&inputs, normal::inverse_cdf);
    golden("inverse_cdf.txt", "inverse_cdf: p, the standard normal quantile of p; bits in hex.", &lines);
}

fn key_bytes(source: &mut Source) -> [u8; 32] {
    let mut bytes = [0; 32];
    for chunk in bytes.chunks_exact_mut(8) {
        chunk.copy_from_slice(&source.next().to_le_bytes());
    }
    bytes
}

fn hex_bytes(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn chacha_bits() {
    let mut source = Source::new(0xc4a);
    let mut addresses = vec![([0; 32], 0, 0), ([0xff; 32], u64::MAX, u64::MAX)];
    for counter in [0, 1, u64::from(u32::MAX), 1 << 32, u64::MAX] {
        for stream in [0, 1, u64::from(u32::MAX), 1 << 32, 1 << 63] {
            addresses.push((key_bytes(&mut source), counter, stream));
        }
    }
    addresses.extend((0..200).map(|_| (key_bytes(&mut source), source.next(), source.next())));
    let lines: Vec<String> = addresses
        .iter()
        .map(|(key, counter, stream)| {
            let draws = block(&Key::from_bytes(key), *counter, *stream).map(|draw| format!("{draw:016x}"));
            format!("{} {counter:016x} {stream:016x} {}", hex_bytes(key), draws.join(" "))
        })
        .collect();
    golden("chacha.txt", "ChaCha8: key bytes, counter, stream, the eight 64-bit draws; hex.", &lines);
}

#[test]
fn poisson_thresholds() {
    let mut lines = Vec::new();
    for lambda in [5e-324, 1e-9, 0.1, 1.0, 3.7, 25.0, 130.5, 1000.0_f64.next_down(), 1000.0] {
        let table = Poisson::new(lambda).unwrap();
        for (i, threshold) in table.thresholds().iter().enumerate() {
            lines.push(format!("{} {} {threshold:016x}", hex(lambda), table.offset() + i as u64));
        }
    }
    golden("poisson.txt", "Poisson: bits of the mean in hex, k, threshold T(k) in hex.", &lines);
}

#[test]
fn gamma_bits() {
    let mut source = Source::new(0x6a);
    let mut lines = Vec::new();
    for shape in
        [1e-3, 0.05, 0.5, 1.0_f64.next_down(), 1.0, 1.0_f64.next_up(), 1.5, 3.0, 17.25, 1e3, 1e6, 1e12]
    {
        for _ in 0..40 {
            let bytes = key_bytes(&mut source);
            let (key, index) = (Key::from_bytes(&bytes), source.next() >> (source.next() % 64));
            let variate = gamma::standard(&key, index, &block(&key, index, 0), shape).unwrap();
            lines.push(format!("{} {index:016x} {} {}", hex_bytes(&bytes), hex(shape), hex(variate)));
        }
    }
    // Variates that need an overflow block are rare: search for some.
    let key = Key::from_bytes(&[0x5a; 32]);
    let shape = 1.0;
    let overflows = (0..).filter(|index| {
        let first = block(&key, *index, 0);
        let mut poisoned = first;
        // Slots of the first block that cannot be accepted: the normal lies where b ≤ 0.
        for slot in 0..3 {
            poisoned[1 + 2 * slot] = 0;
        }
        gamma::standard(&key, *index, &first, shape) == gamma::standard(&key, *index, &poisoned, shape)
    });
    for index in overflows.take(20) {
        let variate = gamma::standard(&key, index, &block(&key, index, 0), shape).unwrap();
        lines.push(format!("{} {index:016x} {} {}", hex_bytes(&[0x5a; 32]), hex(shape), hex(variate)));
    }
    golden("gamma.txt", "Gamma: key bytes, block index, shape, variate; bits in hex.", &lines);
}
