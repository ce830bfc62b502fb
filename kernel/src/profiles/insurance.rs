//! `mc@1/insurance.v1`: the yearly loss of an insured portfolio, with a rare catastrophe and two limits.
//!
//! The specification is `insurance.v1.md` beside this file; it and the golden vectors decide, this is one reading.

#![expect(clippy::needless_range_loop, reason = "lanes are indexed in lockstep, so that the loops vectorise")]

use std::ops::Range;
use std::sync::Arc;

use forgemesh_protocol::canon::{self, F64};
use forgemesh_protocol::limits;
use forgemesh_protocol::problem::{ProblemCode, Problems};
use forgemesh_protocol::schema::{Field, Kind, Need, Schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::output::{Bin, distribution, number};
use crate::accumulator::{Accumulator, ColumnShape, LeafAccumulator, Shape};
use crate::backend::{Isa, dispatch};
use crate::block::{BLOCK, Block, LeafBody, Paths};
use crate::converge::{self, Criteria};
use crate::num::chacha::{Key, blocks};
use crate::num::func::{exp, min};
use crate::num::normal::{inverse_cdf, inverse_cdf_array};
use crate::num::poisson::{MAX_LAMBDA, Poisson};
use crate::num::uniform::unit;
use crate::profile::{Geometry, Output, Prepared, Typed};
use crate::scale::{LARGEST_MAGNITUDE, SMALLEST_MAGNITUDE, Scale};
use crate::summary::Summary;

/// The profile.
pub struct Insurance;

/// Its canonical arguments.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Args {
    iterations: u64,
    claim_freq: F64,
    claim_severity_mu: F64,
    claim_severity_sig: F64,
    cat_prob: F64,
    cat_mu: F64,
    cat_sig: F64,
    policy_limit: F64,
    aggregate_limit: F64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    convergence: Option<Criteria>,
}

const fn field(name: &'static str, doc: &'static str, kind: Kind, default: &'static str) -> Field {
    Field::new(name, doc, kind, Need::Default(default))
}
const fn float(min: f64, max: f64) -> Kind {
    Kind::Float { min, max, above: false }
}
const LIMIT: Kind = float(SMALLEST_MAGNITUDE, LARGEST_MAGNITUDE);

static SCHEMA: Schema = Schema {
    doc: "Yearly insured loss: Poisson claims with lognormal sizes, a rare catastrophe, two limits.",
    fields: &[
        field("iterations", "Years to simulate.", Kind::Int { min: 2, max: limits::JOB_PATHS }, "1000000"),
        field("claim_freq", "Mean number of claims a year.", float(0.0, MAX_LAMBDA), "2.0"),
        field("claim_severity_mu", "Mean of the logarithm of a claim.", float(-100.0, 100.0), "6.0"),
        field("claim_severity_sig", "Standard deviation of the logarithm.", float(0.0, 20.0), "1.0"),
        field("cat_prob", "Probability of a catastrophe in a year.", float(0.0, 1.0), "0.02"),
        field("cat_mu", "Mean of the logarithm of its size.", float(-100.0, 100.0), "10.0"),
        field("cat_sig", "Standard deviation of that logarithm.", float(0.0, 20.0), "1.5"),
        field(
            "policy_limit",
            "The most that one claim costs; a catastrophe is not subject to it.",
            LIMIT,
            "50000.0",
        ),
        field("aggregate_limit", "The most that a year costs.", LIMIT, "250000.0"),
        converge::FIELD,
    ],
};

/// Levels of the tail surface, in parts per billion; with 0.5 and 0.95 among them.
const LEVELS: [u64; 9] = [
    500_000_000,
    750_000_000,
    900_000_000,
    950_000_000,
    975_000_000,
    990_000_000,
    995_000_000,
    998_000_000,
    999_000_000,
];

/// The typed output. Amounts are in the unit of the limits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InsuranceOutput {
    pub mean: F64,
    /// Standard deviation, n−1 in the denominator.
    pub std: F64,
    /// `std` over √n.
    pub std_error: F64,
    pub p50_loss: F64,
    pub p95_loss: F64,
    pub p99_loss: F64,
    pub tail_exposure_surface: Vec<TailPoint>,
    pub loss_distribution: Vec<Bin>,
    /// Share of years in which at least one claim reached the policy limit.
    pub policy_limit_probability: F64,
    /// Share of years whose total reached the aggregate limit.
    pub aggregate_limit_probability: F64,
    /// Values were rounded to multiples of 2 to the power of minus this before they were summed.
    pub scale_exponent: i64,
}

/// Value at risk and what lies beyond it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TailPoint {
    pub level: F64,
    /// Value at risk: the order statistic at `level`.
    pub var: F64,
    /// Tail value at risk, or expected shortfall (Acerbi & Tasche 2002): the mean of the worst 1 − level.
    pub tvar: F64,
}

impl Typed for Insurance {
    type Args = Args;
    type Output = InsuranceOutput;
    const OP: (&'static str, u64, &'static str) = ("mc", 1, "insurance.v1");
    const DOC: &'static str = "yearly insured loss: claims, a catastrophe, two limits";
    const SPEC: &'static str = include_str!("insurance.v1.md");
    const SCHEMA: &'static Schema = &SCHEMA;

    fn prepare(&self, args: Args) -> Result<Arc<dyn Prepared>, Problems> {
        let out_of_range =
            |path, message: String, cure: &str| Problems::one(ProblemCode::OutOfRange, path, message, cure);
        let poisson = Poisson::new(args.claim_freq.get())
            .map_err(|error| out_of_range("$.args.claim_freq", error.to_string(), "use 0 to 1000"))?;
        let scale = Scale::for_magnitude(args.aggregate_limit.get()).map_err(|error| {
            out_of_range("$.args.aggregate_limit", error.to_string(), "choose another unit")
        })?;
        if let Some(criteria) = &args.convergence {
            criteria.check(args.iterations, "$.args.convergence")?;
        }
        let model = Model {
            poisson,
            mu: args.claim_severity_mu.get(),
            sig: args.claim_severity_sig.get(),
            cat_prob: args.cat_prob.get(),
            cat_mu: args.cat_mu.get(),
            cat_sig: args.cat_sig.get(),
            policy_limit: args.policy_limit.get(),
            aggregate_limit: args.aggregate_limit.get(),
        };
        Ok(Arc::new(PreparedInsurance { args, scale, model }))
    }
}

struct PreparedInsurance {
    args: Args,
    scale: Scale,
    model: Model,
}

const POLICY_HITS: usize = 0;
const AGGREGATE_HITS: usize = 1;

impl Prepared for PreparedInsurance {
    fn args_bytes(&self) -> Vec<u8> {
        canon::to_bytes(&self.args)
    }

    fn args_json(&self) -> Value {
        serde_json::to_value(&self.args).expect("invariant: arguments are finite")
    }

    fn geometry(&self) -> Geometry {
        let claims = self.args.claim_freq.get();
        // 2^16 paths at up to two claims a year, half as many for each doubling: ⌈log2 claims⌉ by halving.
        let mut shrink = 0;
        let mut mean = claims;
        while mean > 2.0 {
            mean *= 0.5;
            shrink += 1;
        }
        let path_cost = 1024 * 12 + (1024.0 * 8.0 * claims) as u64;
        Geometry {
            paths: self.args.iterations,
            leaf_paths: (1 << 16) >> shrink,
            pilot_paths: 1 << 20,
            path_cost,
        }
    }

    fn criteria(&self) -> Option<&Criteria> {
        self.args.convergence.as_ref()
    }

    fn shape(&self) -> Shape {
        let column = ColumnShape { scale: self.scale, histogram: true, levels: LEVELS.to_vec() };
        Shape { columns: vec![column], tallies: 2 }
    }

    fn run(&self, isa: Isa, key: &Key, paths: Range<u64>, leaf: &mut LeafAccumulator) {
        dispatch(isa, LeafBody { paths: &self.model, key, range: paths, leaf, columns: 1, tallies: 2 });
    }

    fn output(&self, total: &Accumulator, summary: &Summary) -> Output {
        let column = &summary.columns[0];
        let value = |q: i64| number(self.scale.value(q));
        let at = |ppb: u64| {
            let i = LEVELS.iter().position(|&level| level == ppb).expect("invariant: a level of the list");
            value(column.levels[i].value)
        };
        let point = |(ppb, level): (&u64, &crate::summary::Level)| TailPoint {
            // The nearest double of the decimal level: one division of exact integers.
            level: number(*ppb as f64 / 1e9),
            var: value(level.value),
            tvar: number(level.tail_mean),
        };
        let share = |hits: u64| number(hits as f64 / total.paths as f64);
        Output::of(&InsuranceOutput {
            mean: number(column.mean),
            std: number(column.std),
            std_error: number(column.std_error),
            p50_loss: at(500_000_000),
            p95_loss: at(950_000_000),
            p99_loss: at(990_000_000),
            tail_exposure_surface: LEVELS.iter().zip(&column.levels).map(point).collect(),
            loss_distribution: distribution(&total.columns[0], self.scale),
            policy_limit_probability: share(total.tallies[POLICY_HITS]),
            aggregate_limit_probability: share(total.tallies[AGGREGATE_HITS]),
            scale_exponent: i64::from(self.scale.exponent()),
        })
    }
}

/// What the paths need.
struct Model {
    poisson: Poisson,
    mu: f64,
    sig: f64,
    cat_prob: f64,
    cat_mu: f64,
    cat_sig: f64,
    policy_limit: f64,
    aggregate_limit: f64,
}

/// Draws of a path come from the stream of this bit and the path's index.
const VARIABLE: u64 = 1 << 63;
/// Blocks generated together.
const LANES: usize = 32;
/// Claims evaluated together.
const CLAIMS: usize = 32;
/// Claims whose draws are in a path's first block, after number, flag and size of the catastrophe.
const FIRST_CLAIMS: usize = 5;

/// The claims of a block of paths, one after another without gaps.
struct Buffers {
    draws: Vec<u64>,
    amounts: Vec<f64>,
    /// Claims of each path.
    counts: [usize; BLOCK],
}

impl Model {
    /// The draws of one path's claims beyond its first block.
    #[inline(always)]
    fn more_draws(&self, key: &Key, stream: u64, claims: usize, draws: &mut Vec<u64>) {
        let mut left = claims - FIRST_CLAIMS;
        let mut counter = 1;
        while left > 0 {
            let many = blocks::<LANES>(key, &std::array::from_fn(|l| counter + l as u64), &[stream; LANES]);
            for l in 0..LANES {
                let take = left.min(8);
                draws.extend(many[..take].iter().map(|draw| draw[l]));
                left -= take;
            }
            counter += LANES as u64;
        }
    }

    /// Sizes of all claims of the block, uncapped.
    #[inline(always)]
    fn sizes(&self, buffers: &mut Buffers) {
        let padded = buffers.draws.len().next_multiple_of(CLAIMS);
        buffers.draws.resize(padded, 1 << 63);
        buffers.amounts.clear();
        for chunk in buffers.draws.chunks_exact(CLAIMS) {
            let mut p = [0.0; CLAIMS];
            for i in 0..CLAIMS {
                p[i] = unit(chunk[i]);
            }
            let z = inverse_cdf_array::<CLAIMS>(&p);
            let mut x = [0.0; CLAIMS];
            for i in 0..CLAIMS {
                x[i] = exp(self.sig.mul_add(z[i], self.mu));
            }
            buffers.amounts.extend_from_slice(&x);
        }
    }
}

impl Paths for Model {
    type Scratch = Buffers;

    fn scratch(&self) -> Buffers {
        Buffers { draws: Vec::new(), amounts: Vec::new(), counts: [0; BLOCK] }
    }

    #[inline(always)]
    fn fill(&self, key: &Key, first: u64, count: usize, block: &mut Block, buffers: &mut Buffers) {
        buffers.draws.clear();
        let mut cat = [0.0; BLOCK];
        for group in (0..count).step_by(LANES) {
            let streams: [u64; LANES] = std::array::from_fn(|l| VARIABLE | (first + (group + l) as u64));
            let draws = blocks::<LANES>(key, &[0; LANES], &streams);
            for l in 0..LANES {
                let path = group + l;
                let claims = if path < count { self.poisson.draw(draws[0][l]) as usize } else { 0 };
                buffers.counts[path] = claims;
                for draw in &draws[3..3 + claims.min(FIRST_CLAIMS)] {
                    buffers.draws.push(draw[l]);
                }
                if claims > FIRST_CLAIMS {
                    self.more_draws(key, streams[l], claims, &mut buffers.draws);
                }
                if unit(draws[1][l]) < self.cat_prob {
                    cat[path] = exp(self.cat_sig.mul_add(inverse_cdf(unit(draws[2][l])), self.cat_mu));
                }
            }
        }
        self.sizes(buffers);
        let mut claim = 0;
        for path in 0..count {
            let (mut total, mut hit) = (0.0, false);
            for &amount in &buffers.amounts[claim..claim + buffers.counts[path]] {
                hit |= amount >= self.policy_limit;
                total += min(amount, self.policy_limit);
            }
            claim += buffers.counts[path];
            total += cat[path];
            block.tallies[POLICY_HITS] += u64::from(hit);
            block.tallies[AGGREGATE_HITS] += u64::from(total >= self.aggregate_limit);
            block.columns[0][path] = min(total, self.aggregate_limit);
        }
    }
}
