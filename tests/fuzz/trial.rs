//! One decoder against many damaged inputs.

use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use forgemesh_protocol::limits;

use crate::damage::{self, Draws};
use crate::memory::measure;

/// How often each decoder is tried, unless the environment says otherwise.
const CASES: u64 = 150;
/// From where, unless the environment says otherwise: what is committed passes or fails for everybody alike.
const SEED: u64 = 1;
/// Bytes of an input that is printed; a longer one is written to a file.
const PRINTED: usize = 600;

/// Bytes from which damaged ones are made.
pub struct Examples {
    /// Names the decoder in the environment's and the report's lines.
    pub name: &'static str,
    pub form: damage::Form,
    pub valid: Vec<Vec<u8>>,
}

/// What a decoder is held to.
#[derive(Clone, Copy)]
pub struct Bound {
    /// Bytes that it may take for each byte of the input ...
    pub factor: usize,
    /// ... and besides.
    pub bytes: usize,
}

/// What everything is held to.
const BOUND: Bound = Bound { factor: limits::DECODED_FACTOR, bytes: limits::DECODED_BYTES };

/// And a result that somebody has chosen to read.
const RESULT: Bound = Bound { factor: limits::RESULT_FACTOR, bytes: limits::DECODED_BYTES };

/// Damages the examples and gives them to `decode`, which must not panic, nor take more memory than the bound; what it lets
/// in, `encode` writes as it was, where there is one spelling. The examples themselves are let in.
pub fn try_all<T, E: Debug>(
    examples: &Examples,
    decode: impl Fn(&[u8]) -> Result<T, E>,
    encode: impl Fn(&T) -> Option<Vec<u8>>,
) {
    try_within(BOUND, examples, <[u8]>::to_vec, decode, encode);
}

/// The same for results.
pub fn try_results<T, E: Debug>(
    examples: &Examples,
    decode: impl Fn(&[u8]) -> Result<T, E>,
    encode: impl Fn(&T) -> Option<Vec<u8>>,
) {
    try_within(RESULT, examples, <[u8]>::to_vec, decode, encode);
}

/// The same, where something stands around what was damaged that is as it should be: a checksum, a length, a signature.
pub fn try_dressed<T, E: Debug>(
    examples: &Examples,
    dress: impl Fn(&[u8]) -> Vec<u8>,
    decode: impl Fn(&[u8]) -> Result<T, E>,
    encode: impl Fn(&T) -> Option<Vec<u8>>,
) {
    try_within(BOUND, examples, dress, decode, encode);
}

fn try_within<T, E: Debug>(
    bound: Bound,
    examples: &Examples,
    dress: impl Fn(&[u8]) -> Vec<u8>,
    decode: impl Fn(&[u8]) -> Result<T, E>,
    encode: impl Fn(&T) -> Option<Vec<u8>>,
) {
    let Examples { name, form, valid } = examples;
    let number = |key: &str| std::env::var(key).ok().map(|text| text.parse().expect("a whole number"));
    let seed: u64 = number("FORGEMESH_FUZZ_SEED").unwrap_or(SEED);
    let cases = number("FORGEMESH_FUZZ_CASES").unwrap_or(CASES);
    let cases = number("FORGEMESH_FUZZ_CASE").map_or(0..cases, |case| case..case + 1);
    let (mut accepted, mut worst) = (0_u64, Worst { bound, taken: 0, input: 0 });
    let tried = cases.end - cases.start;
    for example in valid {
        let read = decode(&dress(example));
        assert!(read.is_ok(), "{name}: an example is refused: {:?}", read.err());
    }
    for case in cases {
        let mut draws = Draws::new(name, seed, case);
        let input = dress(&damage::of(*form, valid, &mut draws));
        let (outcome, taken) = measure(|| catch_unwind(AssertUnwindSafe(|| decode(&input))));
        let fault = match outcome {
            Err(_) => Some("it panics".to_owned()),
            Ok(Ok(value)) => {
                accepted += 1;
                let again = encode(&value);
                again.is_some_and(|again| again != input).then(|| "it has two spellings".to_owned())
            }
            Ok(Err(_)) => None,
        };
        let most = input.len() * bound.factor + bound.bytes;
        let fault = fault.or_else(|| {
            (taken > most).then(|| format!("it takes {taken} bytes for {}, at most {most}", input.len()))
        });
        worst.note(taken, input.len());
        if let Some(fault) = fault {
            panic!(
                "{name}: {fault}\n  {}\n  FORGEMESH_FUZZ_SEED={seed} FORGEMESH_FUZZ_CASE={case} cargo test \
                 --package forgemesh-tests --test fuzz {name}",
                shown(name, &input)
            );
        }
    }
    println!("{name}: seed {seed}, {tried} inputs, {accepted} accepted; {worst}");
}

/// The input that took the most of what it might.
struct Worst {
    bound: Bound,
    taken: usize,
    input: usize,
}

impl Worst {
    fn share(&self) -> f64 {
        self.taken as f64 / (self.input * self.bound.factor + self.bound.bytes) as f64
    }

    fn note(&mut self, taken: usize, input: usize) {
        let other = Worst { bound: self.bound, taken, input };
        if other.share() > self.share() {
            *self = other;
        }
    }
}

impl std::fmt::Display for Worst {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Worst { taken, input, .. } = self;
        write!(f, "at most {:.0} % of the bound: {taken} bytes taken for {input}", 100.0 * self.share())
    }
}

fn shown(name: &str, input: &[u8]) -> String {
    if input.len() <= PRINTED {
        let hex: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
        return format!("{} bytes: {hex}", input.len());
    }
    let path: PathBuf = std::env::temp_dir().join(format!("forgemesh-fuzz-{name}-{}", std::process::id()));
    match std::fs::write(&path, input) {
        Ok(()) => format!("{} bytes: {}", input.len(), path.display()),
        Err(error) => format!("{} bytes, which could not be written: {error}", input.len()),
    }
}
