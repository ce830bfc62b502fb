//! What is said of a column: each figure computed once, from the integers, with one rounding that is named.

use forgemesh_protocol::canon::F64;
use forgemesh_protocol::problem::{ProblemCode, Problems};
use num_bigint::{BigInt, BigUint};

use crate::accumulator::{Accumulator, ColumnShape, Shape};
use crate::bracket::{BILLION, Bracket, Brackets};
use crate::column::Column;
use crate::histogram;
use crate::moments::Moments;
use crate::order::{Order, Statistic, at_rank, rank};
use crate::ratio::ratio_to_f64;
use crate::scale::Scale;

/// The figures of every column.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    pub columns: Vec<ColumnSummary>,
}

/// The figures of one column.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnSummary {
    /// Nearest double of Σq/(n·2^s).
    pub mean: f64,
    /// See [`Spread`].
    pub std: f64,
    pub std_error: f64,
    /// In the order of the shape's levels.
    pub levels: Vec<Level>,
}

/// The figures of one level.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Level {
    /// The order statistic, quantised.
    pub value: i64,
    /// Expected shortfall, nearest double of (Σ_{i>k} q_(i) + (k − pn)·q_(k)) / ((1−p)n·2^s) (Acerbi & Tasche, "On the
    /// coherence of expected shortfall", 2002).
    pub tail_mean: f64,
}

/// Why there is no summary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incomplete {
    /// Every path was excluded.
    NoPaths,
    /// A rank lies outside its bracket; these brackets hold it for certain.
    Missed(Brackets),
}

impl Summary {
    /// Of the sums of all paths.
    pub fn of(total: &Accumulator, shape: &Shape) -> Result<Summary, Incomplete> {
        if total.columns.iter().any(|column| column.moments.n == 0) {
            return Err(Incomplete::NoPaths);
        }
        let statistics: Vec<Vec<Option<Statistic>>> = total
            .columns
            .iter()
            .zip(&shape.columns)
            .map(|(column, shape)| statistics(column, shape))
            .collect();
        if statistics.iter().flatten().any(Option::is_none) {
            return Err(Incomplete::Missed(repair(total, shape, &statistics)));
        }
        let columns = total.columns.iter().zip(&shape.columns).zip(&statistics);
        Ok(Summary {
            columns: columns.map(|((column, shape), found)| summarise(column, shape, found)).collect(),
        })
    }
}

/// How far the values of a column lie apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// Nearest double of (nΣq² − (Σq)²)/(n(n−1)·2^(2s)); 0 for one path or none.
    pub variance: f64,
    /// Its square root.
    pub std: f64,
    /// `std` over the square root of n, two roundings; 0 for no path.
    pub std_error: f64,
}

/// The spread of exact sums.
pub fn spread(moments: &Moments, scale: Scale) -> Spread {
    let n = BigUint::from(moments.n);
    let sum = BigInt::from(moments.sum);
    let squares = BigInt::from(&n * moments.squares.to_biguint()) - &sum * &sum;
    let pairs = &n * BigUint::from(moments.n.saturating_sub(1));
    // One path has no spread: the ratio has no value, and the deviation is zero.
    let variance = ratio_to_f64(&squares, &pairs, -2 * scale.exponent()).unwrap_or(0.0);
    let std = variance.sqrt();
    let std_error = if moments.n == 0 { 0.0 } else { std / (moments.n as f64).sqrt() };
    Spread { variance, std, std_error }
}

/// Nearest double of a sum of quantised values over a count.
pub fn mean(sum: i128, count: u64, scale: Scale) -> f64 {
    ratio_to_f64(&BigInt::from(sum), &BigUint::from(count), -scale.exponent()).unwrap_or(0.0)
}

/// The multiple of 10⁻⁹ between 0 and 1 that a double stands for.
pub fn parts_per_billion(level: f64) -> Option<u64> {
    // Exact enough to find the one candidate; the division decides.
    let ppb = (level * BILLION as f64 + 0.5) as u64;
    ((1..BILLION).contains(&ppb) && ppb as f64 / BILLION as f64 == level).then_some(ppb)
}

/// Levels as parts per billion: ascending, each a multiple of 10⁻⁹ that its double stands for.
pub fn check_levels(levels: &[F64], path: &str) -> Result<Vec<u64>, Problems> {
    let mut problems = Problems::default();
    let mut out: Vec<u64> = Vec::new();
    for (i, level) in levels.iter().enumerate() {
        let path = format!("{path}[{i}]");
        let Some(ppb) = parts_per_billion(level.get()) else {
            let message = format!("found {}", level.get());
            problems.add(
                ProblemCode::OutOfRange,
                path,
                message,
                "expected a multiple of 1e-9 between 0 and 1",
            );
            continue;
        };
        if out.last().is_some_and(|last| *last >= ppb) {
            let message = format!("{} does not exceed the level before it", level.get());
            problems.add(
                ProblemCode::Inconsistent,
                path,
                message,
                "give the levels in ascending order, each once",
            );
        } else {
            out.push(ppb);
        }
    }
    problems.into_result(out)
}

fn statistics(column: &Column, shape: &ColumnShape) -> Vec<Option<Statistic>> {
    let n = column.moments.n;
    let find = |(i, &ppb): (usize, &u64)| match &column.order {
        Order::None => None,
        Order::Pilot(values) => at_rank(values, rank(ppb, n)),
        Order::Bracketed(levels) => levels[i].at(rank(ppb, n)),
    };
    shape.levels.iter().enumerate().map(find).collect()
}

/// Brackets that hold every rank: the old one where it did, else the histogram's class that has the rank.
fn repair(total: &Accumulator, shape: &Shape, found: &[Vec<Option<Statistic>>]) -> Brackets {
    let column = |((column, shape), found): ((&Column, &ColumnShape), &Vec<Option<Statistic>>)| {
        let bracket = |(i, statistic): (usize, &Option<Statistic>)| match (&column.order, statistic) {
            (Order::Bracketed(levels), Some(_)) => levels[i].bracket,
            _ => {
                let rank = rank(shape.levels[i], column.moments.n);
                let class = column.histogram.as_ref().and_then(|histogram| histogram.class_at(rank));
                class.map(histogram::bounds).map_or(Bracket::ALL, |(lo, end)| Bracket { lo, hi: end - 1 })
            }
        };
        found.iter().enumerate().map(bracket).collect()
    };
    Brackets(total.columns.iter().zip(&shape.columns).zip(found).map(column).collect())
}

fn summarise(column: &Column, shape: &ColumnShape, found: &[Option<Statistic>]) -> ColumnSummary {
    let moments = &column.moments;
    let scale = shape.scale;
    let Spread { std, std_error, .. } = spread(moments, scale);
    let level =
        |(ppb, statistic): (&u64, &Option<Statistic>)| statistic.map(|at| level(*ppb, moments.n, at, scale));
    ColumnSummary {
        mean: mean(moments.sum, moments.n, scale),
        std,
        std_error,
        levels: shape.levels.iter().zip(found).filter_map(level).collect(),
    }
}

fn level(ppb: u64, n: u64, at: Statistic, scale: Scale) -> Level {
    let (billion, wide) = (BigInt::from(BILLION), |value: u64| BigInt::from(value));
    let excess = wide(rank(ppb, n)) * &billion - wide(ppb) * wide(n);
    let numerator = BigInt::from(at.tail) * &billion + excess * BigInt::from(at.value);
    let denominator = BigUint::from(BILLION - ppb) * BigUint::from(n);
    let tail_mean = ratio_to_f64(&numerator, &denominator, -scale.exponent()).unwrap_or(0.0);
    Level { value: at.value, tail_mean }
}
