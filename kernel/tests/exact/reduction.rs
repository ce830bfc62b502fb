//! Sums are exact: any cut into leaves and any merge order give the same bytes, and these are the true sums.

use std::sync::Arc;

use forgemesh_kernel::accumulator::{Accumulator, Mode, Shape};
use forgemesh_kernel::bracket::{Bracket, Brackets};
use forgemesh_kernel::histogram::{bounds, class_of};
use forgemesh_kernel::summary::Summary;
use forgemesh_kernel::wide::U192;
use num_bigint::{BigInt, BigUint};

use crate::support::{Paths, Source, below, is_nearest, merge_randomly, shape};

const EDGE: f64 = (1u64 << 51) as f64;

/// Values of every kind, among them those that enter no statistic.
fn value(source: &mut Source) -> f64 {
    match below(source, 40) {
        0 => f64::NAN,
        1 => f64::INFINITY,
        2 => f64::NEG_INFINITY,
        3 => EDGE,
        4 => 1.0 - EDGE,
        5 => EDGE - 1.0,
        6..12 => 0.0,
        12 => -0.0,
        13..18 => source.between(-1.5, 1.5),
        18..24 => source.between(-EDGE, EDGE),
        24..30 => below(source, 4) as f64,
        _ => source.between(-1e6, 1e9),
    }
}

fn paths(columns: usize, count: usize, source: &mut Source) -> Paths {
    Paths {
        columns: (0..columns).map(|_| (0..count).map(|_| value(source)).collect()).collect(),
        degenerate: (0..count).map(|_| below(source, 50) == 0).collect(),
    }
}

fn brackets(shape: &Shape, source: &mut Source) -> Mode {
    let bracket = |_: &u64| {
        let mut ends = [value(source) as i64, value(source) as i64];
        ends.sort_unstable();
        match below(source, 6) {
            0 => Bracket::ALL,
            1 => Bracket { lo: ends[0], hi: i64::MAX },
            2 => Bracket { lo: i64::MIN, hi: ends[1] },
            3 => Bracket { lo: ends[0], hi: ends[0] },
            _ => Bracket { lo: ends[0], hi: ends[1] },
        }
    };
    let mut bracket = bracket;
    Mode::Bracketed(Arc::new(Brackets(
        shape.columns.iter().map(|column| column.levels.iter().map(&mut bracket).collect()).collect(),
    )))
}

#[test]
fn any_partition_and_any_merge_order_give_the_same_bytes() {
    let mut source = Source::new(0x5eed_0001);
    for round in 0..300 {
        let columns = 1 + below(&mut source, 3) as usize;
        let shape = shape(columns, &[100_000_000, 500_000_000, 990_000_000], true, round % 3);
        let count = 1 + below(&mut source, 700) as usize;
        let paths = paths(columns, count, &mut source);
        for mode in [Mode::Plain, Mode::Pilot, brackets(&shape, &mut source)] {
            let whole = paths.leaf(&shape, &mode, 0..count);
            let leaves = paths.leaves(&shape, &mode, 0..count, &mut source);
            let cut = leaves.len();
            let listed = Accumulator::merge_all(Accumulator::empty(&shape, &mode), leaves.clone()).unwrap();
            let merged = merge_randomly(leaves, &mut source);
            assert_eq!(merged.encode(), whole.encode(), "round {round}, {cut} leaves, {mode:?}");
            assert_eq!(listed.encode(), whole.encode(), "round {round}, {cut} leaves, {mode:?}");
            let again = Accumulator::decode(&merged.encode(), &shape, &mode);
            assert_eq!(again.as_ref(), Ok(&whole), "round {round}, {mode:?}");
        }
        let bracketed = brackets(&shape, &mut source);
        let pilot = paths.leaf(&shape, &Mode::Pilot, 0..count);
        let counted = paths.leaf(&shape, &bracketed, 0..count);
        assert_eq!(pilot.reclassify(&bracketed).unwrap(), counted, "round {round}: reclassified");
    }
}

#[test]
fn accumulators_of_different_stages_do_not_merge() {
    let shape = shape(1, &[500_000_000], true, 1);
    let bracketed = |lo, hi| Mode::Bracketed(Arc::new(Brackets(vec![vec![Bracket { lo, hi }]])));
    let modes = [Mode::Plain, Mode::Pilot, bracketed(0, 5), bracketed(0, 6), bracketed(-1, 5)];
    for (i, a) in modes.iter().enumerate() {
        for (j, b) in modes.iter().enumerate() {
            let merged = Accumulator::empty(&shape, a).merge(&Accumulator::empty(&shape, b));
            assert_eq!(merged.is_ok(), i == j, "{a:?} with {b:?}");
        }
    }
    let other = crate::support::shape(1, &[500_000_000], true, 2);
    let plain = Accumulator::empty(&shape, &Mode::Plain);
    assert!(Accumulator::empty(&other, &Mode::Plain).merge(&plain).is_err(), "tallies");
}

/// rint, ties to even, through big integers: twice the value is whole for every value used here.
fn quantised(x: f64) -> i64 {
    x.round_ties_even() as i64
}

#[test]
fn moments_and_histogram_are_those_of_big_integers() {
    let mut source = Source::new(0x5eed_0002);
    for round in 0..200 {
        let count = 2 + below(&mut source, 500) as usize;
        let shape = shape(1, &[], true, 0);
        let paths = paths(1, count, &mut source);
        let total = merge_randomly(paths.leaves(&shape, &Mode::Plain, 0..count, &mut source), &mut source);
        let good: Vec<(usize, i64)> = (0..count)
            .filter(|&i| !paths.degenerate[i] && paths.columns[0][i].abs() < EDGE - 0.5)
            .map(|i| (i, quantised(paths.columns[0][i])))
            .collect();
        let moments = total.columns[0].moments;
        assert_eq!(moments.n, good.len() as u64, "round {round}");
        assert_eq!(total.paths, count as u64);
        assert_eq!(total.excluded.iter().sum::<u64>(), (count - good.len()) as u64, "round {round}");
        let sum: BigInt = good.iter().map(|&(_, q)| BigInt::from(q)).sum();
        let squares: BigInt = good.iter().map(|&(_, q)| BigInt::from(q) * q).sum();
        assert_eq!(BigInt::from(moments.sum), sum, "round {round}");
        assert_eq!(BigInt::from(moments.squares.to_biguint()), squares, "round {round}");
        let low = good.iter().map(|&(i, q)| (q, i as u64)).min().unwrap_or((0, 0));
        let high = good.iter().map(|&(i, q)| (q, std::cmp::Reverse(i as u64))).max();
        let high = high.map_or((0, 0), |(q, i)| (q, i.0));
        assert_eq!((moments.min, moments.min_at), low, "round {round}: lowest path wins");
        assert_eq!((moments.max, moments.max_at), high, "round {round}: lowest path wins");
        for (class, n, class_sum) in total.columns[0].histogram.as_ref().unwrap().iter() {
            let (lower, end) = bounds(class);
            let members = || good.iter().filter(|(_, q)| lower <= *q && *q < end).map(|(_, q)| *q);
            assert!(members().all(|q| class_of(q) == class));
            assert_eq!(n, members().count() as u64, "round {round}, class {class}");
            assert_eq!(class_sum, members().map(i128::from).sum::<i128>(), "round {round}, class {class}");
        }
        if good.len() < 2 {
            continue;
        }
        let summary = Summary::of(&total, &shape).unwrap();
        let (n, column) = (BigInt::from(good.len()), &summary.columns[0]);
        assert!(is_nearest(column.mean, &sum, &n), "round {round}: mean");
        let variance = (&n * &squares - &sum * &sum, &n * (&n - 1));
        let root = column.std * column.std;
        let direct = ratio(&variance.0) / ratio(&variance.1);
        assert!((root - direct).abs() <= 1e-12 * direct, "round {round}: variance {root} {direct}");
        assert_eq!(column.std_error, column.std / (good.len() as f64).sqrt());
    }
}

fn ratio(value: &BigInt) -> f64 {
    value.to_string().parse().expect("a whole number is a float")
}

#[test]
fn every_excluded_path_is_counted_once_and_is_in_no_statistic() {
    let shape = shape(2, &[500_000_000], true, 0);
    let (nan, inf) = (f64::NAN, f64::INFINITY);
    // Two columns, degenerate, the counter expected: nan, +inf, -inf, clamped, degenerate; none for 5.
    let table = [
        (1.0, 2.0, false, 5),
        (nan, 2.0, false, 0),
        (2.0, nan, false, 0),
        (nan, nan, false, 0),
        (inf, 2.0, false, 1),
        (3.0, -inf, false, 2),
        (inf, -inf, false, 1),
        (-inf, nan, false, 0),
        (-inf, 1e300, false, 2),
        (EDGE - 1.0, 1.0 - EDGE, false, 5),
        (EDGE - 0.75, 0.75 - EDGE, false, 5),
        (EDGE - 0.5, 0.0, false, 3),
        (0.0, 0.5 - EDGE, false, 3),
        (EDGE, 0.0, false, 3),
        (0.0, -EDGE, false, 3),
        (f64::MAX, 0.0, false, 3),
        (0.0, 0.0, true, 4),
        (5.0, 6.0, true, 4),
        (nan, 0.0, true, 0),
    ];
    let paths = Paths {
        columns: vec![table.iter().map(|row| row.0).collect(), table.iter().map(|row| row.1).collect()],
        degenerate: table.iter().map(|row| row.2).collect(),
    };
    let mut expected = [0u64; 6];
    table.iter().for_each(|row| expected[row.3] += 1);
    let bracketed = Mode::Bracketed(Arc::new(Brackets(vec![vec![Bracket::ALL]; 2])));
    for mode in [Mode::Plain, Mode::Pilot, bracketed] {
        let total = paths.leaf(&shape, &mode, 0..table.len());
        assert_eq!(total.paths, table.len() as u64);
        assert_eq!(total.excluded, expected[..5], "{mode:?}");
        for (column, sum) in total.columns.iter().zip([2 * (1i128 << 51) - 1, 4 - 2 * (1i128 << 51)]) {
            assert_eq!((column.moments.n, column.moments.sum), (expected[5], sum), "{mode:?}");
            let histogram = column.histogram.as_ref().unwrap();
            assert_eq!(histogram.iter().map(|class| class.1).sum::<u64>(), expected[5]);
        }
        assert_eq!(total.columns[0].moments.min_at, 0, "the path's own index survives the gaps");
        assert_eq!(total.columns[0].moments.max_at, 9, "the path's own index survives the gaps");
    }
}

#[test]
fn the_widest_sums_are_exact() {
    for q in [(1i64 << 51) - 1, 1 - (1i64 << 51)] {
        let shape = shape(1, &[], true, 0);
        let count = 5_000;
        let mut total = Paths::of(&vec![q; count]).leaf(&shape, &Mode::Plain, 0..count);
        for _ in 0..27 {
            let same = total.clone();
            total.merge(&same).unwrap();
        }
        let moments = total.columns[0].moments;
        let n = BigUint::from(count) << 27u32;
        assert_eq!(BigUint::from(moments.n), n);
        assert_eq!(BigInt::from(moments.sum), BigInt::from(n.clone()) * q);
        assert_eq!(moments.squares.to_biguint(), n * BigUint::from(q.unsigned_abs()).pow(2));
        assert_eq!(Accumulator::decode(&total.encode(), &shape, &Mode::Plain).as_ref(), Ok(&total));
        let summary = Summary::of(&total, &shape).unwrap();
        assert_eq!((summary.columns[0].mean, summary.columns[0].std), (q as f64, 0.0));
    }
}

#[test]
fn squares_never_wrap() {
    let most = U192([u64::MAX; 3]);
    assert_eq!(most.checked_add(U192::from(1)), None);
    assert_eq!(most.checked_add(U192::from(0)), Some(most));
    assert_eq!(U192([u64::MAX, u64::MAX, 0]).checked_add(U192::from(1)), Some(U192([0, 0, 1])));
    let mut source = Source::new(0x5eed_0003);
    for _ in 0..1_000 {
        let mut any = || U192(std::array::from_fn(|_| source.next() >> (source.next() % 64)));
        let (a, b) = (any(), any());
        let sum = a.to_biguint() + b.to_biguint();
        assert_eq!(a.checked_add(b).map(U192::to_biguint), (sum.bits() <= 192).then_some(sum));
    }
}
