//! Bytes from outside: refused, or what they say and nothing else. Never a panic, never a second spelling.

use std::sync::Arc;

use forgemesh_kernel::DecodeError;
use forgemesh_kernel::accumulator::{Accumulator, Mode, Shape};
use forgemesh_kernel::bracket::{Bracket, Brackets};
use forgemesh_kernel::summary::Summary;
use forgemesh_kernel::tree::{Opening, Place, Tree};
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::limits;

use crate::support::{Paths, Source, below, shape};

/// Two levels, one with values inside its bracket and one that is a single point.
fn brackets() -> Brackets {
    Brackets(vec![vec![Bracket { lo: -3, hi: 6 }, Bracket { lo: 7, hi: 7 }]; 2])
}

fn small() -> Shape {
    shape(2, &[500_000_000, 900_000_000], true, 1)
}

fn modes() -> [Mode; 3] {
    [Mode::Plain, Mode::Pilot, Mode::Bracketed(Arc::new(brackets()))]
}

fn paths() -> Paths {
    let first = [-20.0, -3.0, -1.0, 0.0, 0.0, 2.0, 6.0, 7.0, 7.0, 900.0, f64::NAN, 5.0];
    let second = first.map(|x| 40.0 - x);
    Paths { columns: vec![first.to_vec(), second.to_vec()], degenerate: vec![false; first.len()] }
}

/// Whatever was let in can be merged and summarised without a panic, and its figures are finite.
fn survives(accumulator: &Accumulator, shape: &Shape) {
    let mut sum = accumulator.clone();
    for _ in 0..64 {
        sum.merge(accumulator).expect("the same stage");
    }
    for total in [accumulator, &sum] {
        if let Ok(summary) = Summary::of(total, shape) {
            for column in &summary.columns {
                let tails = column.levels.iter().map(|level| level.tail_mean);
                let mut figures = [column.mean, column.std, column.std_error].into_iter().chain(tails);
                assert!(figures.all(f64::is_finite), "{column:?}");
            }
        }
    }
}

/// Every truncation, every flipped bit, and bytes behind the end.
fn torture<T, E>(
    what: &str,
    bytes: &[u8],
    decode: impl Fn(&[u8]) -> Result<T, E>,
    encode: impl Fn(&T) -> Vec<u8>,
    then: impl Fn(&T),
) {
    assert!(decode(bytes).is_ok_and(|value| encode(&value) == bytes), "{what}: the example itself");
    for len in 0..bytes.len() {
        assert!(decode(&bytes[..len]).is_err(), "{what}: cut to {len} bytes of {}", bytes.len());
    }
    for byte in [0, 1, 255] {
        assert!(decode(&[bytes, &[byte]].concat()).is_err(), "{what}: a byte behind the end");
    }
    let mut changed = bytes.to_vec();
    for bit in 0..8 * bytes.len() {
        changed[bit / 8] ^= 1 << (bit % 8);
        if let Ok(value) = decode(&changed) {
            assert_eq!(encode(&value), changed, "{what}: bit {bit} has two spellings");
            then(&value);
        }
        changed[bit / 8] ^= 1 << (bit % 8);
    }
}

#[test]
fn accumulators_are_read_strictly() {
    for mode in modes() {
        let shape = small();
        let full = paths().leaf(&shape, &mode, 0..paths().len());
        for example in [full, Accumulator::empty(&shape, &mode), paths().leaf(&shape, &mode, 3..4)] {
            torture(
                &format!("{mode:?}"),
                &example.encode(),
                |bytes| Accumulator::decode(bytes, &shape, &mode),
                Accumulator::encode,
                |accumulator| survives(accumulator, &shape),
            );
        }
    }
    let nothing = shape(0, &[], false, 0);
    let example = Paths { columns: Vec::new(), degenerate: vec![false; 5] };
    let example = example.leaf(&nothing, &Mode::Plain, 0..5);
    torture(
        "no columns",
        &example.encode(),
        |bytes| Accumulator::decode(bytes, &nothing, &Mode::Plain),
        Accumulator::encode,
        |accumulator| survives(accumulator, &nothing),
    );
}

#[test]
fn brackets_are_read_strictly() {
    let shape = small();
    torture(
        "brackets",
        &brackets().encode(),
        |bytes| Brackets::decode(bytes, &shape),
        Brackets::encode,
        |brackets| {
            let mode = Mode::Bracketed(Arc::new(brackets.clone()));
            survives(&paths().leaf(&shape, &mode, 0..paths().len()), &shape);
        },
    );
}

#[test]
fn openings_are_read_strictly() {
    let shape = small();
    for mode in modes() {
        let place = Place { task: Hash([7; 32]), leaves: 4..7, leaf_paths: 4, paths: 28 };
        let leaves = (0..3).map(|i| paths().leaf(&shape, &mode, 4 * i..4 * i + 4)).collect();
        let tree = Tree::build(place.clone(), leaves).unwrap();
        let check = |opening: &Opening| opening.check(&place, 5, &tree.root(), &tree.totals_digest());
        let example = tree.open(5).unwrap();
        assert_eq!(check(&example), Ok(()));
        torture(
            &format!("opening, {mode:?}"),
            &example.encode(),
            |bytes| Opening::decode(bytes, &shape, &mode),
            Opening::encode,
            |opening| assert!(check(opening).is_err(), "a flipped bit leads to the same root: {opening:?}"),
        );
    }
}

#[test]
fn random_bytes_are_refused() {
    let mut source = Source::new(0x5eed_0020);
    let shape = small();
    for mode in modes() {
        let leaf = paths().leaf(&shape, &mode, 0..paths().len());
        let tree = Tree::build(
            Place { task: Hash([7; 32]), leaves: 0..1, leaf_paths: 12, paths: 12 },
            vec![leaf.clone()],
        );
        let opening = tree.unwrap().open(0).unwrap();
        for (magic, example) in
            [(b"FMAC", leaf.encode()), (b"FMBR", brackets().encode()), (b"FMOP", opening.encode())]
        {
            for _ in 0..3_000 {
                let mut bytes = match below(&mut source, 2) {
                    0 => (0..below(&mut source, 400)).map(|_| source.next() as u8).collect(),
                    _ => example.clone(),
                };
                for _ in 0..below(&mut source, 12) {
                    let at = below(&mut source, bytes.len().max(1) as u64) as usize;
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte = [0, 1, 0x7f, 0x80, 0xff, source.next() as u8][below(&mut source, 6) as usize];
                    }
                }
                if below(&mut source, 3) > 0 {
                    bytes.splice(..bytes.len().min(4), *magic);
                }
                if let Ok(value) = Accumulator::decode(&bytes, &shape, &mode) {
                    assert_eq!(value.encode(), bytes);
                    survives(&value, &shape);
                }
                if let Ok(value) = Brackets::decode(&bytes, &shape) {
                    assert_eq!(value.encode(), bytes);
                }
                if let Ok(value) = Opening::decode(&bytes, &shape, &mode) {
                    assert_eq!(value.encode(), bytes);
                }
            }
        }
    }
}

/// A length that was believed would ask for more memory than there is, and end the test.
#[test]
fn hostile_lengths_are_refused_before_anything_is_allocated() {
    let shape = small();
    for mode in modes() {
        let leaf = paths().leaf(&shape, &mode, 0..paths().len());
        // Where the bytes happen to be no length, what is read is what was written.
        let read = |bytes: &[u8]| {
            let accumulator = Accumulator::decode(bytes, &shape, &mode).map(|value| value.encode());
            let brackets = Brackets::decode(bytes, &shape).map(|value| value.encode());
            let opening = Opening::decode(bytes, &shape, &mode).map(|value| value.encode());
            for found in [accumulator, brackets, opening].into_iter().flatten() {
                assert_eq!(found, bytes);
            }
        };
        let place = Place { task: Hash([7; 32]), leaves: 0..2, leaf_paths: 12, paths: 24 };
        let tree = Tree::build(place, vec![leaf.clone(), leaf.clone()]).unwrap();
        for bytes in [leaf.encode(), brackets().encode(), tree.open(1).unwrap().encode()] {
            for at in 5..bytes.len() {
                let room = bytes.len() - at;
                for hostile in [u64::MAX, 1 << 60, 1 << 40, u64::from(u32::MAX), 1 << 31] {
                    for width in [4, 8] {
                        let mut changed = bytes.clone();
                        let width = room.min(width);
                        changed[at..at + width].copy_from_slice(&hostile.to_le_bytes()[..width]);
                        read(&changed);
                    }
                }
            }
        }
    }
    let opening = [b"FMOP\x01".as_slice(), &[0; 8], &u64::MAX.to_le_bytes(), &[0; 64]].concat();
    let found = Opening::decode(&opening, &shape, &Mode::Plain);
    assert_eq!(found, Err(DecodeError::Length("an accumulator")));
}

/// An accumulator that contradicts itself is refused though every field of it could be.
#[test]
fn contradictions_are_refused() {
    let shape = small();
    let [_, pilot, bracketed] = modes();
    let refused = |what: &str, mode: &Mode, forge: &dyn Fn(&mut Accumulator)| {
        let mut forged = paths().leaf(&shape, mode, 0..paths().len());
        forge(&mut forged);
        let found = Accumulator::decode(&forged.encode(), &shape, mode);
        assert!(matches!(found, Err(DecodeError::Inconsistent(_))), "{what}: {found:?}");
    };
    for mode in modes() {
        refused("more paths than any job has", &mode, &|a| a.paths = limits::JOB_PATHS + 1);
        refused("paths to the brim", &mode, &|a| {
            a.excluded[4] += u64::MAX - a.paths;
            a.paths = u64::MAX;
        });
        refused("a tally above the paths", &mode, &|a| a.tallies[0] = a.paths + 1);
        refused("no squares", &mode, &|a| a.columns[0].moments.squares.0 = [0; 3]);
        refused("squares below the mean's", &mode, &|a| {
            let moments = &mut a.columns[0].moments;
            moments.squares.0[0] = (moments.sum * moments.sum / i128::from(moments.n)) as u64 - 1;
        });
        refused("squares above the extremes'", &mode, &|a| a.columns[0].moments.squares.0[1] = 1);
        refused("a maximum in no class", &mode, &|a| a.columns[0].moments.max += 1 << 20);
        refused("a minimum in no class", &mode, &|a| a.columns[0].moments.min -= 1 << 20);
    }
    refused("a kept value changed", &pilot, &|a| {
        let forgemesh_kernel::order::Order::Pilot(values) = &mut a.columns[0].order else { panic!() };
        values[2] -= 1;
        values[8] += 1;
    });
    let level = |forge: fn(&mut forgemesh_kernel::order::LevelCount)| {
        move |a: &mut Accumulator| {
            let forgemesh_kernel::order::Order::Bracketed(levels) = &mut a.columns[0].order else { panic!() };
            forge(&mut levels[0]);
        }
    };
    refused(
        "a sum below that makes up for one above",
        &bracketed,
        &level(|level| {
            level.below_sum -= 1 << 100;
            level.above_sum += 1 << 100;
        }),
    );
    refused(
        "a sum of no value below",
        &bracketed,
        &level(|level| {
            level.at_lo += level.below;
            level.below_sum += i128::from(3 * level.below);
            level.below = 0;
        }),
    );
    refused(
        "sums beside their side",
        &bracketed,
        &level(|level| {
            level.below_sum += 1_000;
            level.above_sum -= 1_000;
        }),
    );
    refused(
        "the brim of a sum",
        &bracketed,
        &level(|level| {
            let shift = i128::MAX - level.above_sum;
            level.above_sum += shift;
            level.below_sum -= shift;
        }),
    );
}
