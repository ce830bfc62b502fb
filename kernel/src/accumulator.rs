//! What a leaf, a shard, a stage comes to: exact integers that merge in any order to the same bytes.
//!
//! The layout is frozen (all little-endian): `FMAC`, version, mode (0 plain, 1 pilot, 2 bracketed), paths u64, the five
//! exclusion counters u64, tallies (u32 count, u64 each), columns (u32 count). A column: sum i128, squares 3×u64, min
//! i64, its path u64, max i64, its path u64; if the profile keeps a histogram: u32 count, then class i16, count u64, sum
//! i128 each; if it has levels: in pilot mode u64 count and the values i64; in bracketed mode for each level lo, hi i64,
//! below u64, its sum i128, at lo u64, at hi u64, above u64, its sum i128, u64 count and the inside values i64.

use std::sync::Arc;

use forgemesh_protocol::hash::{Domain, Hash};
use forgemesh_protocol::limits;
use num_bigint::{BigInt, BigUint};

use crate::block::{BLOCK, Block};
use crate::bracket::{Bracket, Brackets};
use crate::codec::{DecodeError, Reader, Writer};
use crate::column::Column;
use crate::histogram::{DenseHistogram, Histogram, LAST, bounds, class_of};
use crate::moments::Moments;
use crate::order::{LevelCount, Order, merge_sorted};
use crate::scale::{Exclusion, Q_LIMIT, Scale};
use crate::wide::U192;

/// What a job accumulates: a function of its contract.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    pub columns: Vec<ColumnShape>,
    /// Event counters of the profile; a path counts at most once in each.
    pub tallies: usize,
}

/// What one column keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnShape {
    pub scale: Scale,
    pub histogram: bool,
    /// Levels of the order statistics in parts per billion, ascending; a column with levels keeps a histogram.
    pub levels: Vec<u64>,
}

/// How a stage keeps its order statistics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Not at all.
    Plain,
    /// Every value.
    Pilot,
    /// Counts against brackets.
    Bracketed(Arc<Brackets>),
}

/// The sums.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accumulator {
    /// Paths executed, the excluded ones too.
    pub paths: u64,
    /// By [`Exclusion`].
    pub excluded: [u64; Exclusion::COUNT],
    pub tallies: Vec<u64>,
    pub columns: Vec<Column>,
}

/// Two accumulators that do not belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("accumulators of different jobs or stages cannot be merged; merge those of one stage")]
pub struct MergeError;

const MAGIC: &[u8; 4] = b"FMAC";

impl Accumulator {
    /// Of no path.
    pub fn empty(shape: &Shape, mode: &Mode) -> Accumulator {
        let column = |(i, column): (usize, &ColumnShape)| Column {
            moments: Moments::EMPTY,
            histogram: column.histogram.then(Histogram::default),
            order: match mode {
                _ if column.levels.is_empty() => Order::None,
                Mode::Plain => Order::None,
                Mode::Pilot => Order::Pilot(Vec::new()),
                Mode::Bracketed(brackets) => {
                    Order::Bracketed(brackets.0[i].iter().copied().map(LevelCount::new).collect())
                }
            },
        };
        Accumulator {
            paths: 0,
            excluded: [0; Exclusion::COUNT],
            tallies: vec![0; shape.tallies],
            columns: shape.columns.iter().enumerate().map(column).collect(),
        }
    }

    /// Adds the sums of other paths of the same stage. Commutative and associative, to the bit.
    pub fn merge(&mut self, other: &Accumulator) -> Result<(), MergeError> {
        if self.tallies.len() != other.tallies.len() || self.columns.len() != other.columns.len() {
            return Err(MergeError);
        }
        self.columns.iter().zip(&other.columns).try_for_each(|(a, b)| fit(a, b))?;
        self.paths += other.paths;
        self.excluded.iter_mut().zip(&other.excluded).for_each(|(a, b)| *a += b);
        self.tallies.iter_mut().zip(&other.tallies).for_each(|(a, b)| *a += b);
        for (a, b) in self.columns.iter_mut().zip(&other.columns) {
            a.moments.merge(&b.moments);
            if let (Some(a), Some(b)) = (&mut a.histogram, &b.histogram) {
                a.merge(b);
            }
            match (&mut a.order, &b.order) {
                (Order::Pilot(a), Order::Pilot(b)) => merge_sorted(a, b),
                (Order::Bracketed(a), Order::Bracketed(b)) => {
                    a.iter_mut().zip(b).for_each(|(a, b)| a.merge(b));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The sum of many, merged pairwise so that kept values move a logarithmic number of times.
    pub fn merge_all(
        empty: Accumulator,
        parts: impl IntoIterator<Item = Accumulator>,
    ) -> Result<Accumulator, MergeError> {
        let mut stack: Vec<(u32, Accumulator)> = Vec::new();
        for part in parts {
            let (mut level, mut sum) = (0, part);
            while let Some((_, top)) = stack.pop_if(|(top, _)| *top == level) {
                let mut left = top;
                left.merge(&sum)?;
                (level, sum) = (level + 1, left);
            }
            stack.push((level, sum));
        }
        let mut total = empty;
        while let Some((_, top)) = stack.pop() {
            total.merge(&top)?;
        }
        Ok(total)
    }

    /// A pilot's values, counted against the brackets of the stage after it.
    pub fn reclassify(&self, mode: &Mode) -> Result<Accumulator, MergeError> {
        let Mode::Bracketed(brackets) = mode else { return Err(MergeError) };
        let mut out = self.clone();
        for (column, brackets) in out.columns.iter_mut().zip(&brackets.0) {
            if let Order::Pilot(values) = &column.order {
                let count = |&bracket: &Bracket| {
                    let mut level = LevelCount::new(bracket);
                    values.chunks(BLOCK).for_each(|chunk| level.add(chunk));
                    level
                };
                column.order = Order::Bracketed(brackets.iter().map(count).collect());
            }
        }
        Ok(out)
    }

    /// Bytes it takes in memory, about.
    pub fn size(&self) -> usize {
        256 + self.columns.iter().map(Column::size).sum::<usize>()
    }

    /// The frozen bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::open(MAGIC);
        let orders = self.columns.iter().map(|column| &column.order);
        out.u8(orders.fold(0, |mode, order| match order {
            Order::None => mode,
            Order::Pilot(_) => 1,
            Order::Bracketed(_) => 2,
        }));
        out.u64(self.paths);
        self.excluded.iter().for_each(|count| out.u64(*count));
        out.count(self.tallies.len());
        self.tallies.iter().for_each(|tally| out.u64(*tally));
        out.count(self.columns.len());
        self.columns.iter().for_each(|column| encode_column(&mut out, column));
        out.finish()
    }

    /// Digest of the frozen bytes.
    pub fn digest(&self) -> Hash {
        Hash::of(Domain::ACCUMULATOR, &self.encode())
    }

    /// Reads the frozen bytes of an accumulator of this job and stage; everything that can be held against everything
    /// else is.
    pub fn decode(bytes: &[u8], shape: &Shape, mode: &Mode) -> Result<Accumulator, DecodeError> {
        let mut out = Accumulator::empty(shape, mode);
        let mut input = Reader::open(bytes, MAGIC, "accumulator")?;
        let keeps = shape.columns.iter().any(|column| !column.levels.is_empty());
        let expected = match mode {
            _ if !keeps => 0,
            Mode::Plain => 0,
            Mode::Pilot => 1,
            Mode::Bracketed(_) => 2,
        };
        if input.u8("the mode")? != expected {
            return Err(DecodeError::Shape("mode of the order statistics"));
        }
        out.paths = input.u64("paths")?;
        for count in &mut out.excluded {
            *count = input.u64("exclusions")?;
        }
        if input.count(8, "tallies")? != shape.tallies {
            return Err(DecodeError::Shape("number of tallies"));
        }
        for tally in &mut out.tallies {
            *tally = input.u64("tallies")?;
        }
        // With both bounded, no tree of merges can overflow.
        if out.paths > limits::JOB_PATHS || out.tallies.iter().any(|tally| *tally > out.paths) {
            return Err(DecodeError::Inconsistent("there are more paths or events than a job can have"));
        }
        let excluded = out.excluded.iter().try_fold(0u64, |sum, count| sum.checked_add(*count));
        let n = excluded.and_then(|excluded| out.paths.checked_sub(excluded));
        let n = n.ok_or(DecodeError::Inconsistent("more paths are excluded than were executed"))?;
        if input.count(1, "columns")? != shape.columns.len() {
            return Err(DecodeError::Shape("number of columns"));
        }
        for column in &mut out.columns {
            decode_column(&mut input, column, n)?;
        }
        input.close()?;
        Ok(out)
    }
}

fn fit(a: &Column, b: &Column) -> Result<(), MergeError> {
    let order = match (&a.order, &b.order) {
        (Order::None, Order::None) | (Order::Pilot(_), Order::Pilot(_)) => true,
        (Order::Bracketed(a), Order::Bracketed(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.bracket == b.bracket)
        }
        _ => false,
    };
    if order && a.histogram.is_some() == b.histogram.is_some() { Ok(()) } else { Err(MergeError) }
}

fn encode_column(out: &mut Writer, column: &Column) {
    let moments = &column.moments;
    out.i128(moments.sum);
    moments.squares.0.iter().for_each(|limb| out.u64(*limb));
    out.i64(moments.min);
    out.u64(moments.min_at);
    out.i64(moments.max);
    out.u64(moments.max_at);
    if let Some(histogram) = &column.histogram {
        out.count(histogram.len());
        for (class, count, sum) in histogram.iter() {
            out.i16(class);
            out.u64(count);
            out.i128(sum);
        }
    }
    match &column.order {
        Order::None => {}
        Order::Pilot(values) => out.values(values),
        Order::Bracketed(levels) => {
            for level in levels {
                out.i64(level.bracket.lo);
                out.i64(level.bracket.hi);
                out.u64(level.below);
                out.i128(level.below_sum);
                out.u64(level.at_lo);
                out.u64(level.at_hi);
                out.u64(level.above);
                out.i128(level.above_sum);
                out.values(&level.inside);
            }
        }
    }
}

fn decode_column(input: &mut Reader<'_>, column: &mut Column, n: u64) -> Result<(), DecodeError> {
    let moments = &mut column.moments;
    moments.n = n;
    moments.sum = input.i128("a sum")?;
    let mut limbs = [0; 3];
    for limb in &mut limbs {
        *limb = input.u64("a sum of squares")?;
    }
    moments.squares = U192(limbs);
    moments.min = input.i64("a minimum")?;
    moments.min_at = input.u64("a minimum")?;
    moments.max = input.i64("a maximum")?;
    moments.max_at = input.u64("a maximum")?;
    check_moments(moments)?;
    if let Some(histogram) = &mut column.histogram {
        decode_histogram(input, histogram, moments)?;
    }
    match &mut column.order {
        Order::None => Ok(()),
        Order::Pilot(values) => {
            *values = input.sorted_values("the pilot's values")?;
            let sum: i128 = values.iter().map(|&q| i128::from(q)).sum();
            let ends = values.first().zip(values.last()).map_or((0, 0), |(a, b)| (*a, *b));
            let moments_fit =
                values.len() as u64 == n && sum == moments.sum && ends == (moments.min, moments.max);
            // Between these ends a value has a class and a square that fits.
            if !moments_fit || !check_pilot(values, moments, column.histogram.as_ref()) {
                return Err(DecodeError::Inconsistent(
                    "the pilot's values do not come to the column's moments",
                ));
            }
            Ok(())
        }
        Order::Bracketed(levels) => {
            levels.iter_mut().try_for_each(|level| decode_level(input, level, moments))
        }
    }
}

/// Whether squares and classes are those of the values, which are all in range.
fn check_pilot(values: &[i64], moments: &Moments, histogram: Option<&Histogram>) -> bool {
    let square = |q: &i64| U192::from(u128::from(q.unsigned_abs()).pow(2));
    let squares = values.iter().try_fold(U192::default(), |sum, q| sum.checked_add(square(q)));
    let classes = histogram.map(|_| {
        let mut dense = DenseHistogram::new();
        values.chunks(BLOCK).for_each(|chunk| dense.add(chunk));
        dense.finish()
    });
    squares == Some(moments.squares) && classes.as_ref() == histogram
}

fn check_moments(moments: &Moments) -> Result<(), DecodeError> {
    let Moments { n, sum, squares, min, max, min_at, max_at } = *moments;
    let range = -Q_LIMIT + 1..Q_LIMIT;
    if n == 0 {
        return if *moments == Moments::EMPTY {
            Ok(())
        } else {
            Err(DecodeError::Inconsistent("moments without a path"))
        };
    }
    let within = i128::from(n) * i128::from(min) <= sum && sum <= i128::from(n) * i128::from(max);
    // Cauchy and Schwarz: (Σq)² ≤ n·Σq². Otherwise the variance would be negative, the deviation not a number.
    let (count, squares) = (BigUint::from(n), squares.to_biguint());
    let widest = BigUint::from(min.unsigned_abs().max(max.unsigned_abs()));
    let bounded =
        BigInt::from(sum).magnitude().pow(2) <= &count * &squares && squares <= count * widest.pow(2);
    if !range.contains(&min) || !range.contains(&max) || min > max || !within || !bounded {
        return Err(DecodeError::Inconsistent("a column's moments contradict each other"));
    }
    if n == 1 && (min != max || min_at != max_at) {
        return Err(DecodeError::Inconsistent("one path has two extremes"));
    }
    Ok(())
}

fn decode_histogram(
    input: &mut Reader<'_>,
    histogram: &mut Histogram,
    moments: &Moments,
) -> Result<(), DecodeError> {
    let (mut last, mut n, mut total) = (i16::MIN, 0u64, 0i128);
    for _ in 0..input.count(26, "a histogram")? {
        let (class, count, sum) = (input.i16("a class")?, input.u64("a class")?, input.i128("a class")?);
        let (lower, end) = if (-LAST..=LAST).contains(&class) { bounds(class) } else { (1, 0) };
        let times = |q: i64| i128::from(count) * i128::from(q);
        if class <= last || count == 0 || lower >= end || sum < times(lower) || sum > times(end - 1) {
            return Err(DecodeError::Inconsistent("a histogram's classes contradict each other"));
        }
        last = class;
        n = n.checked_add(count).ok_or(DecodeError::Inconsistent("a histogram's counts overflow"))?;
        total = total.checked_add(sum).ok_or(DecodeError::Inconsistent("a histogram's sums overflow"))?;
        histogram.add(class, count, sum);
    }
    let mut classes = histogram.iter().map(|(class, _, _)| class);
    let first = classes.next();
    let ends = first.map(|first| (first, classes.last().unwrap_or(first)));
    let extremes = (moments.n > 0).then(|| (class_of(moments.min), class_of(moments.max)));
    if n != moments.n || total != moments.sum || ends != extremes {
        return Err(DecodeError::Inconsistent("a histogram does not come to the column's moments"));
    }
    Ok(())
}

fn decode_level(
    input: &mut Reader<'_>,
    level: &mut LevelCount,
    moments: &Moments,
) -> Result<(), DecodeError> {
    let bracket = Bracket { lo: input.i64("a level")?, hi: input.i64("a level")? };
    if bracket != level.bracket {
        return Err(DecodeError::Shape("bracket of a level"));
    }
    level.below = input.u64("a level")?;
    level.below_sum = input.i128("a level")?;
    level.at_lo = input.u64("a level")?;
    level.at_hi = input.u64("a level")?;
    level.above = input.u64("a level")?;
    level.above_sum = input.i128("a level")?;
    level.inside = input.sorted_values("a level's values")?;
    if !level_fits(level, moments) {
        return Err(DecodeError::Inconsistent("a level's parts lie beyond its bracket or the extremes"));
    }
    let Bracket { lo, hi } = bracket;
    let times = |count: u64, q: i64| i128::from(count).checked_mul(i128::from(q));
    let sums = [
        Some(level.below_sum),
        times(level.at_lo, lo),
        Some(level.inside.iter().map(|&q| i128::from(q)).sum()),
        times(level.at_hi, hi),
        Some(level.above_sum),
    ];
    let sum = sums.into_iter().try_fold(0i128, |total, part| total.checked_add(part?));
    if level.n() != Some(moments.n) || sum != Some(moments.sum) {
        return Err(DecodeError::Inconsistent("a level's counts do not come to the column's moments"));
    }
    Ok(())
}

/// Whether each part of a level can be what it says, between the column's extremes and on its side of the bracket.
fn level_fits(level: &LevelCount, moments: &Moments) -> bool {
    let Moments { min, max, .. } = *moments;
    let Bracket { lo, hi } = level.bracket;
    let times = |count: u64, q: i64| i128::from(count) * i128::from(q);
    let sums = |count: u64, sum: i128, low: i64, high: i64| match count {
        0 => sum == 0,
        _ => low <= high && times(count, low) <= sum && sum <= times(count, high),
    };
    let end = |count: u64, q: i64| count == 0 || (min <= q && q <= max);
    sums(level.below, level.below_sum, min, max.min(lo.saturating_sub(1)))
        && sums(level.above, level.above_sum, min.max(hi.saturating_add(1)), max)
        && end(level.at_lo, lo)
        && end(level.at_hi, hi)
        && (lo != hi || level.at_hi == 0)
        && level.inside.first().is_none_or(|&q| lo < q && min <= q)
        && level.inside.last().is_none_or(|&q| q < hi && q <= max)
}

/// Takes the paths of one leaf, block by block, ascending.
pub struct LeafAccumulator {
    sums: Accumulator,
    scales: Vec<Scale>,
    dense: Vec<Option<DenseHistogram>>,
    /// Quantised values of a block, one array for each column.
    quantised: Vec<[i64; BLOCK]>,
}

impl LeafAccumulator {
    /// Of no path.
    pub fn new(shape: &Shape, mode: &Mode) -> Self {
        LeafAccumulator {
            sums: Accumulator::empty(shape, mode),
            scales: shape.columns.iter().map(|column| column.scale).collect(),
            dense: shape.columns.iter().map(|column| column.histogram.then(DenseHistogram::new)).collect(),
            quantised: vec![[0; BLOCK]; shape.columns.len()],
        }
    }

    /// Adds paths `first .. first + count` of a block.
    #[inline(always)]
    pub fn push(&mut self, first: u64, count: usize, block: &Block) {
        self.sums.paths += count as u64;
        for (total, tally) in self.sums.tallies.iter_mut().zip(&block.tallies) {
            *total += tally;
        }
        let mut good = !block.degenerate[..count].contains(&true);
        for ((values, scale), quantised) in block.columns.iter().zip(&self.scales).zip(&mut self.quantised) {
            good &= scale.quantize_block(&values[..count], &mut quantised[..count]);
        }
        if good {
            self.add(count, |i| first + i as u64);
        } else {
            let (kept, paths) = self.exclude(first, count, block);
            self.add(kept, |i| paths[i]);
        }
    }

    #[inline(always)]
    fn add(&mut self, count: usize, path: impl Fn(usize) -> u64) {
        for ((column, dense), quantised) in
            self.sums.columns.iter_mut().zip(&mut self.dense).zip(&self.quantised)
        {
            let values = &quantised[..count];
            column.moments.add(values, &path);
            if let Some(dense) = dense {
                dense.add(values);
            }
            match &mut column.order {
                Order::None => {}
                Order::Pilot(kept) => kept.extend_from_slice(values),
                Order::Bracketed(levels) => levels.iter_mut().for_each(|level| level.add(values)),
            }
        }
    }

    /// Counts the paths that have no value, once each, and closes the ranks of the others.
    #[cold]
    fn exclude(&mut self, first: u64, count: usize, block: &Block) -> (usize, [u64; BLOCK]) {
        let (mut kept, mut paths) = (0, [0; BLOCK]);
        for i in 0..count {
            let reasons =
                block.columns.iter().zip(&self.scales).map(|(values, scale)| scale.quantize(values[i]));
            let mut worst = block.degenerate[i].then_some(Exclusion::Degenerate);
            for (q, quantised) in reasons.zip(&mut self.quantised) {
                match q {
                    Ok(q) => quantised[kept] = q,
                    Err(reason) => worst = Some(worst.map_or(reason, |worst| worst.min(reason))),
                }
            }
            match worst {
                Some(reason) => self.sums.excluded[reason.index()] += 1,
                None => {
                    paths[kept] = first + i as u64;
                    kept += 1;
                }
            }
        }
        (kept, paths)
    }

    /// The leaf's sums.
    pub fn finish(mut self) -> Accumulator {
        for (column, dense) in self.sums.columns.iter_mut().zip(self.dense) {
            column.histogram = dense.map(DenseHistogram::finish);
            match &mut column.order {
                Order::None => {}
                Order::Pilot(values) => values.sort_unstable(),
                Order::Bracketed(levels) => levels.iter_mut().for_each(|level| level.inside.sort_unstable()),
            }
        }
        self.sums
    }
}
