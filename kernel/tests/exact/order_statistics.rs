//! Order statistics and tail means equal those of all values sorted, whether or not all values were kept.

use std::sync::Arc;

use forgemesh_kernel::accumulator::{Accumulator, Mode, Shape};
use forgemesh_kernel::bracket::Brackets;
use forgemesh_kernel::summary::{Incomplete, Summary};

use crate::support::{Paths, Source, below, is_nearest, merge_randomly, shape, slow_rank, slow_tail_mean};

const LEVELS: [u64; 10] = [
    1,
    1_000_000,
    100_000_000,
    333_333_333,
    500_000_000,
    750_000_000,
    950_000_000,
    990_000_000,
    999_000_000,
    999_999_999,
];

/// What the stages of a job do, on synthetic values: pilot, main, and a repair where a bracket was missed.
fn staged(values: &[i64], pilot: usize, shape: &Shape, source: &mut Source) -> (Summary, bool) {
    let paths = Paths::of(values);
    let run = |mode: &Mode, range: std::ops::Range<usize>, source: &mut Source| -> Accumulator {
        let leaves = paths.leaves(shape, mode, range, source);
        merge_randomly(leaves, source)
    };
    let first = run(&Mode::Pilot, 0..pilot.min(values.len()), source);
    if pilot >= values.len() {
        return (Summary::of(&first, shape).expect("a pilot has every statistic"), false);
    }
    let bracketed = |brackets: &Brackets| {
        let brackets = Brackets::decode(&brackets.encode(), shape).expect("our own brackets");
        Mode::Bracketed(Arc::new(brackets))
    };
    let mode = bracketed(&Brackets::from_pilot(&first, shape));
    let mut total = first.reclassify(&mode).expect("a pilot of this shape");
    total.merge(&run(&mode, pilot..values.len(), source)).expect("one stage");
    match Summary::of(&total, shape) {
        Ok(summary) => (summary, false),
        Err(Incomplete::Missed(brackets)) => {
            let again = run(&bracketed(&brackets), 0..values.len(), source);
            (Summary::of(&again, shape).expect("a repair misses nothing"), true)
        }
        Err(Incomplete::NoPaths) => panic!("there are paths"),
    }
}

fn check(what: &str, values: &[i64], pilot: usize, source: &mut Source) -> bool {
    let shape = shape(1, &LEVELS, true, 0);
    let (summary, repaired) = staged(values, pilot, &shape, source);
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    for (ppb, level) in LEVELS.iter().zip(&summary.columns[0].levels) {
        let rank = slow_rank(*ppb, sorted.len() as u64) as usize;
        assert_eq!(level.value, sorted[rank - 1], "{what}, {} values, pilot {pilot}, {ppb}", values.len());
        let (numerator, denominator) = slow_tail_mean(&sorted, *ppb);
        assert!(
            is_nearest(level.tail_mean, &numerator, &denominator),
            "{what}, {} values, pilot {pilot}, {ppb}: tail mean {}",
            values.len(),
            level.tail_mean
        );
    }
    repaired
}

/// A column of a kind: what it is called, and a value of it.
type Kind = (&'static str, fn(&mut Source) -> i64);

const CAP: i64 = 1 << 40;
const KINDS: [Kind; 8] = [
    ("uniform", |s| below(s, 1 << 40) as i64),
    ("signed", |s| below(s, 1 << 41) as i64 - (1 << 40)),
    ("few values", |s| below(s, 7) as i64 - 3),
    ("two values", |s| if below(s, 10) == 0 { 17 } else { -4 }),
    ("constant", |_| 12_345),
    ("constant zero", |_| 0),
    ("atoms at zero and at the cap", |s| match below(s, 10) {
        0..4 => 0,
        4..6 => CAP,
        _ => below(s, CAP as u64) as i64,
    }),
    ("heavy tail", |s| (1i64 << below(s, 51)) - 1),
];

#[test]
fn they_equal_those_of_all_values_sorted() {
    let mut source = Source::new(0x5eed_0010);
    for (what, value) in KINDS {
        for pilot in [1, 2, 63, 500, 1_000] {
            for count in [1, pilot - 1, pilot, pilot + 1, 3 * pilot, 2_500 + pilot] {
                let values: Vec<i64> = (0..count.max(1)).map(|_| value(&mut source)).collect();
                check(what, &values, pilot, &mut source);
            }
        }
    }
}

#[test]
fn stationary_values_do_not_miss_their_brackets() {
    let mut source = Source::new(0x5eed_0011);
    for (what, value) in KINDS {
        let values: Vec<i64> = (0..60_000).map(|_| value(&mut source)).collect();
        assert!(!check(what, &values, 4_000, &mut source), "{what}: brackets at 8 σ were missed");
    }
}

#[test]
fn values_that_drift_miss_their_brackets_and_are_repaired_exactly() {
    let mut source = Source::new(0x5eed_0012);
    let small: fn(&mut Source) -> i64 = |s| below(s, 1_000) as i64;
    let large: fn(&mut Source) -> i64 = |s| 1_000_000 + below(s, 1 << 30) as i64;
    let negative: fn(&mut Source) -> i64 = |s| -(below(s, 1 << 45) as i64) - 5_000;
    let atom: fn(&mut Source) -> i64 = |_| CAP;
    for (what, before, after) in [
        ("larger later", small, large),
        ("smaller later", large, negative),
        ("an atom later", small, atom),
        ("less later than an atom", atom, small),
    ] {
        let (pilot, count) = (2_000, 20_000);
        let values: Vec<i64> =
            (0..count).map(|i| if i < pilot { before(&mut source) } else { after(&mut source) }).collect();
        assert!(check(what, &values, pilot, &mut source), "{what}: the brackets were to be missed");
    }
    // The upper levels miss, the lower ones do not: a repair keeps what was right.
    let values: Vec<i64> =
        (0..9_000).map(|i| if i >= 8_400 { 1 << 40 } else { below(&mut source, 1 << 20) as i64 }).collect();
    assert!(check("a tail later", &values, 8_000, &mut source));
}
