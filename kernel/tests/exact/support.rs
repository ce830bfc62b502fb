//! What the themes share: a seeded source, synthetic leaves, jobs, and figures computed the long way.
//!
//! Holds no test. Oracles here never call the code that they judge.

#[path = "../num_support/mod.rs"]
mod num_support;

use std::ops::Range;
use std::sync::Arc;

use forgemesh_kernel::accumulator::{Accumulator, ColumnShape, LeafAccumulator, Mode, Shape};
use forgemesh_kernel::backend::Isa;
use forgemesh_kernel::block::{BLOCK, Block};
use forgemesh_kernel::job::Job;
use forgemesh_kernel::num::chacha::Key;
use forgemesh_kernel::order::Order;
use forgemesh_kernel::profile::Prepared;
use forgemesh_kernel::reduction::{FinalOutput, ReduceError, Reducer, Reduction};
use forgemesh_kernel::registry;
use forgemesh_kernel::scale::Scale;
use forgemesh_kernel::seeding::GeneratorKey;
use forgemesh_protocol::failure::Failure;
use forgemesh_protocol::plan::StageRun;
use num_bigint::{BigInt, Sign};
use serde_json::{Value, json};

pub use num_support::Source;

/// Uniform below `bound`, near enough for a test.
pub fn below(source: &mut Source, bound: u64) -> u64 {
    source.between(0.0, bound as f64) as u64
}

/// Shuffles in place (Fisher & Yates).
pub fn shuffle<T>(source: &mut Source, items: &mut [T]) {
    for i in (1..items.len()).rev() {
        items.swap(i, below(source, i as u64 + 1) as usize);
    }
}

/// Columns whose scale is 1, so that a whole number is its own quantised value.
pub fn shape(columns: usize, levels: &[u64], histogram: bool, tallies: usize) -> Shape {
    let scale = Scale::for_magnitude((1u64 << 40) as f64).expect("2^40 is a valid magnitude");
    let column = ColumnShape { scale, histogram, levels: levels.to_vec() };
    Shape { columns: vec![column; columns], tallies }
}

/// What synthetic paths come to, column by column.
#[derive(Clone, Default)]
pub struct Paths {
    pub columns: Vec<Vec<f64>>,
    pub degenerate: Vec<bool>,
}

impl Paths {
    /// One column of whole numbers, none degenerate.
    pub fn of(values: &[i64]) -> Paths {
        let column = values.iter().map(|&q| q as f64).collect();
        Paths { columns: vec![column], degenerate: vec![false; values.len()] }
    }

    pub fn len(&self) -> usize {
        self.degenerate.len()
    }

    /// The leaf over these paths. Tally `t` counts the paths that t + 2 divides.
    pub fn leaf(&self, shape: &Shape, mode: &Mode, range: Range<usize>) -> Accumulator {
        let mut leaf = LeafAccumulator::new(shape, mode);
        for first in range.clone().step_by(BLOCK) {
            let count = (range.end - first).min(BLOCK);
            let mut block = Block {
                columns: vec![[f64::NAN; BLOCK]; shape.columns.len()],
                degenerate: [true; BLOCK],
                tallies: vec![0; shape.tallies],
            };
            for i in 0..count {
                for (to, from) in block.columns.iter_mut().zip(&self.columns) {
                    to[i] = from[first + i];
                }
                block.degenerate[i] = self.degenerate[first + i];
                for (t, tally) in block.tallies.iter_mut().enumerate() {
                    *tally += u64::from((first + i) % (t + 2) == 0);
                }
            }
            leaf.push(first as u64, count, &block);
        }
        leaf.finish()
    }

    /// Leaves of random lengths over the range.
    pub fn leaves(
        &self,
        shape: &Shape,
        mode: &Mode,
        range: Range<usize>,
        source: &mut Source,
    ) -> Vec<Accumulator> {
        let mut leaves = Vec::new();
        let longest = 1 + below(source, range.len() as u64 + 1);
        let mut first = range.start;
        while first < range.end {
            let end = (first + 1 + below(source, longest) as usize).min(range.end);
            leaves.push(self.leaf(shape, mode, first..end));
            first = end;
        }
        leaves
    }
}

/// Merges random pairs, either into the other, until one is left.
pub fn merge_randomly(mut parts: Vec<Accumulator>, source: &mut Source) -> Accumulator {
    while parts.len() > 1 {
        let a = below(source, parts.len() as u64) as usize;
        let part = parts.swap_remove(a);
        let b = below(source, parts.len() as u64) as usize;
        parts[b].merge(&part).expect("leaves of one stage");
    }
    parts.pop().expect("at least one part")
}

/// Every value of one column, ascending, from a pilot over the whole job.
pub fn kept(total: &Accumulator, column: usize) -> &[i64] {
    match &total.columns[column].order {
        Order::Pilot(values) => values,
        other => panic!("a pilot keeps every value, found {other:?}"),
    }
}

/// ⌈p·n⌉, at least 1, by its definition: the smallest k with k·10⁹ ≥ ppb·n.
pub fn slow_rank(ppb: u64, n: u64) -> u64 {
    let wanted = u128::from(ppb) * u128::from(n);
    let rank = wanted / 1_000_000_000 + u128::from(!wanted.is_multiple_of(1_000_000_000));
    (rank as u64).max(1)
}

/// Numerator and denominator of the mean of the worst 1 − p: order statistic i weighs min(1, max(0, i − p·n)).
pub fn slow_tail_mean(sorted: &[i64], ppb: u64) -> (BigInt, BigInt) {
    let n = sorted.len() as i128;
    let cut = i128::from(ppb) * n;
    let weighted = sorted.iter().enumerate().map(|(i, &q)| {
        let weight = ((i as i128 + 1) * 1_000_000_000 - cut).clamp(0, 1_000_000_000);
        BigInt::from(weight * i128::from(q))
    });
    (weighted.sum(), BigInt::from((1_000_000_000 - i128::from(ppb)) * n))
}

/// Is `x` a nearest double of `numerator / denominator`, with `denominator` above zero?
pub fn is_nearest(x: f64, numerator: &BigInt, denominator: &BigInt) -> bool {
    // Everything times 2^1100: exact, also for subnormal numbers.
    let exact = |x: f64| {
        let bits = x.abs().to_bits();
        let (exponent, fraction) = (bits >> 52, bits & ((1 << 52) - 1));
        let mantissa = if exponent == 0 { fraction } else { fraction | 1 << 52 };
        let value = BigInt::from(mantissa) << (exponent.max(1) + 25);
        if x < 0.0 { -value } else { value }
    };
    let target = numerator << 1100u32;
    let distance = |x: f64| (exact(x) * denominator - &target).magnitude().clone();
    let neighbours = [x.next_up(), x.next_down()];
    denominator.sign() == Sign::Plus && neighbours.iter().all(|&other| distance(x) <= distance(other))
}

/// The job of an operation with these arguments.
pub fn job(op: &str, args: &Value, seed: &str) -> Job {
    let (family, profile) = op.split_once("@1/").expect("family@1/profile");
    let envelope = json!({
        "op": { "name": family, "version": 1, "profile": profile },
        "args": args,
        "seed": { "mode": "explicit", "value": seed },
    });
    let bytes = serde_json::to_vec(&envelope).expect("an envelope is JSON");
    Job::read(&bytes).unwrap_or_else(|problems| panic!("{op} {args}: {problems:?}")).0
}

/// The arguments as the profile prepared them, and the key of the job's draws.
pub fn parts(job: &Job) -> (Arc<dyn Prepared>, Key) {
    let contract = job.contract();
    let profile = registry::find(&contract.op).expect("a registered profile");
    let prepared = profile.decode(&contract.args.0).expect("canonical arguments");
    let key =
        GeneratorKey::derive(&job.root_seed(), &contract.op.name, contract.op.version, &contract.op.profile);
    (prepared, Key::from_bytes(&key.0.0))
}

/// Every path of the job, executed as if all of them were the pilot.
pub fn all_kept(job: &Job, isa: Isa) -> Accumulator {
    let (prepared, key) = parts(job);
    let shape = prepared.shape();
    let leaves = (0..job.plan().leaves()).map(|leaf| {
        let mut accumulator = LeafAccumulator::new(&shape, &Mode::Pilot);
        prepared.run(isa, &key, job.plan().leaf_range(leaf), &mut accumulator);
        accumulator.finish()
    });
    Accumulator::merge_all(Accumulator::empty(&shape, &Mode::Pilot), leaves).expect("leaves of one stage")
}

/// What the sums of these stages come to, one after the other.
pub fn reduce(job: &Job, stages: &[(StageRun, Accumulator)]) -> Result<Reduction, ReduceError> {
    let mut reducer = Reducer::default();
    let pushed = stages.iter().map(|(run, total)| reducer.push(job, run, total.clone()));
    pushed.last().expect("at least one stage")
}

/// Executes the job as planned, shard after shard.
pub fn execute(job: &Job, isa: Isa) -> Result<FinalOutput, Failure> {
    let stage = |job: &Job, run: &StageRun| {
        let mut total = job.empty(run)?;
        for shard in 0..run.stage.shards() {
            total.merge(&job.shard_totals(isa, run, shard)?)?;
        }
        Ok(total)
    };
    job.execute(stage).unwrap_or_else(|error| panic!("{error}"))
}

/// The published RAA triangle (Mack, "Which stochastic model is underlying the chain ladder method?", 1994).
pub fn raa() -> Value {
    json!([
        [5012, 8269, 10907, 11805, 13539, 16181, 18009, 18608, 18662, 18834],
        [106, 4285, 5396, 10666, 13782, 15599, 15496, 16169, 16704],
        [3410, 8992, 13873, 16141, 18735, 22214, 22863, 23466],
        [5655, 11555, 15766, 21266, 23425, 26083, 27067],
        [1092, 9565, 15836, 22169, 25955, 26180],
        [1513, 6445, 11702, 12935, 15852],
        [557, 4020, 10946, 12314],
        [1351, 6947, 13112],
        [3133, 5395],
        [2063]
    ])
}
