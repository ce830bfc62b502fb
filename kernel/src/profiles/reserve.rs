//! `mc@1/reserve.v1`: over-dispersed-Poisson bootstrap of the chain ladder on a cumulative loss triangle.
//!
//! The specification is `reserve.v1.md` beside this file; it and the golden vectors decide, this is one reading.

#![expect(clippy::needless_range_loop, reason = "lanes are indexed in lockstep, so that the loops vectorise")]

use std::ops::Range;
use std::sync::Arc;

use forgemesh_protocol::canon::{self, F64};
use forgemesh_protocol::limits;
use forgemesh_protocol::problem::{ProblemCode, Problems};
use forgemesh_protocol::schema::{Field, Kind, Need, Schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::output::{Bin, Percentile, distribution, number};
use super::triangle::Triangle;
use crate::accumulator::{Accumulator, ColumnShape, LeafAccumulator, Shape};
use crate::backend::{Isa, dispatch};
use crate::block::{BLOCK, Block, LeafBody, Paths};
use crate::converge::{self, Criteria};
use crate::num::chacha::{Key, blocks};
use crate::num::gamma;
use crate::num::uniform::bounded;
use crate::profile::{Geometry, Output, Prepared, Typed};
use crate::scale::{LARGEST_MAGNITUDE, SMALLEST_MAGNITUDE, Scale};
use crate::summary::Summary;

/// The profile.
pub struct Reserve;

/// Its canonical arguments.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Args {
    triangle: Vec<Vec<F64>>,
    iterations: u64,
    process: Process,
    levels: Vec<F64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    convergence: Option<Criteria>,
}

/// Whether the projected cells vary beyond their means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Process {
    Gamma,
    None,
}

const LOSS: Kind = Kind::Float { min: -LARGEST_MAGNITUDE, max: LARGEST_MAGNITUDE, above: false };
const ROW: Kind = Kind::List { of: &LOSS, min: 1, max: limits::TRIANGLE_SIDE };
const LEVEL: Kind = Kind::Float { min: 0.0, max: 0.999_999_999, above: true };

static SCHEMA: Schema = Schema {
    doc: "Bootstrap of the chain ladder: the distribution of what is still to be paid.",
    fields: &[
        Field::new(
            "triangle",
            "Cumulative losses, a row for each origin period, oldest first; rows get shorter downwards.",
            Kind::List { of: &ROW, min: 2, max: limits::TRIANGLE_SIDE },
            Need::Required,
        ),
        Field::new(
            "iterations",
            "Pseudo-triangles to draw.",
            Kind::Int { min: 2, max: limits::JOB_PATHS },
            Need::Default("100000"),
        ),
        Field::new(
            "process",
            "Process variance of each future cell: gamma, or none for parameter error alone.",
            Kind::Word { words: &["gamma", "none"], aliases: &[] },
            Need::Default("\"gamma\""),
        ),
        Field::new(
            "levels",
            "Percentile levels, ascending, multiples of 1e-9.",
            Kind::List { of: &LEVEL, min: 1, max: limits::LEVELS },
            Need::Default("[0.5,0.75,0.9,0.95,0.99,0.995]"),
        ),
        converge::FIELD,
    ],
};

/// The typed output. Amounts are in the triangle's unit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReserveOutput {
    pub chain_ladder_reserve: F64,
    /// φ of the over-dispersed Poisson model.
    pub dispersion: F64,
    pub mean: F64,
    /// Standard deviation about the simulated mean, n−1 in the denominator.
    pub prediction_error: F64,
    pub percentiles: Vec<Percentile>,
    pub loss_distribution: Vec<Bin>,
    pub by_origin: Vec<OriginOutput>,
    /// Values were rounded to multiples of 2 to the power of minus this before they were summed.
    pub scale_exponent: i64,
}

/// The same for one origin period; an origin that is fully developed has zeros.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OriginOutput {
    /// Counts from 0, oldest first.
    pub origin: u64,
    pub chain_ladder_reserve: F64,
    pub mean: F64,
    pub prediction_error: F64,
    pub percentiles: Vec<Percentile>,
    pub loss_distribution: Vec<Bin>,
}

impl Typed for Reserve {
    type Args = Args;
    type Output = ReserveOutput;
    const OP: (&'static str, u64, &'static str) = ("mc", 1, "reserve.v1");
    const DOC: &'static str = "claims reserve: bootstrap of the chain ladder on a loss triangle";
    const SPEC: &'static str = include_str!("reserve.v1.md");
    const SCHEMA: &'static Schema = &SCHEMA;

    fn prepare(&self, args: Args) -> Result<Arc<dyn Prepared>, Problems> {
        let levels = crate::summary::check_levels(&args.levels, "$.args.levels")?;
        if let Some(criteria) = &args.convergence {
            criteria.check(args.iterations, "$.args.convergence")?;
        }
        let rows: Vec<Vec<f64>> =
            args.triangle.iter().map(|row| row.iter().map(|c| c.get()).collect()).collect();
        let triangle = Triangle::fit(&rows)?;
        let Ok(scale) = Scale::for_magnitude(triangle.magnitude) else {
            let message = format!("the largest loss is {}", triangle.magnitude);
            let cure = format!(
                "choose a unit in which it lies between {SMALLEST_MAGNITUDE} and {LARGEST_MAGNITUDE}"
            );
            return Err(Problems::one(ProblemCode::OutOfRange, "$.args.triangle", message, cure));
        };
        let model = Model::new(&triangle, args.process);
        Ok(Arc::new(PreparedReserve { args, levels, triangle, scale, model }))
    }
}

struct PreparedReserve {
    args: Args,
    levels: Vec<u64>,
    triangle: Triangle,
    scale: Scale,
    model: Model,
}

impl PreparedReserve {
    /// Origins with something to project; column 0 is the total, then these.
    fn open_origins(&self) -> impl Iterator<Item = usize> + '_ {
        let width = self.triangle.width;
        self.triangle.known.iter().enumerate().filter(move |(_, known)| **known < width).map(|(i, _)| i)
    }

    fn columns(&self) -> usize {
        1 + self.open_origins().count()
    }

    fn percentiles(&self, summary: &Summary, column: usize) -> Vec<Percentile> {
        let value = |(i, level): (usize, &F64)| {
            let q = summary.columns[column].levels[i].value;
            Percentile { level: *level, value: number(self.scale.value(q)) }
        };
        self.args.levels.iter().enumerate().map(value).collect()
    }
}

impl Prepared for PreparedReserve {
    fn args_bytes(&self) -> Vec<u8> {
        canon::to_bytes(&self.args)
    }

    fn args_json(&self) -> Value {
        serde_json::to_value(&self.args).expect("invariant: arguments are finite")
    }

    fn geometry(&self) -> Geometry {
        let cells = (self.triangle.cells() + 4 * self.triangle.future_cells()) as u64;
        // A thousand paths of a 10 × 10 triangle take a few milliseconds; larger triangles get shorter leaves.
        let shrink = (cells / 256).checked_ilog2().map_or(0, |log| log.min(6));
        Geometry {
            paths: self.args.iterations,
            leaf_paths: (1 << 10) >> shrink,
            pilot_paths: 1 << 16,
            path_cost: 1024 * 8 * cells,
        }
    }

    fn criteria(&self) -> Option<&Criteria> {
        self.args.convergence.as_ref()
    }

    fn shape(&self) -> Shape {
        let column = ColumnShape { scale: self.scale, histogram: true, levels: self.levels.clone() };
        Shape { columns: vec![column; self.columns()], tallies: 0 }
    }

    fn run(&self, isa: Isa, key: &Key, paths: Range<u64>, leaf: &mut LeafAccumulator) {
        let columns = self.columns();
        dispatch(isa, LeafBody { paths: &self.model, key, range: paths, leaf, columns, tallies: 0 });
    }

    fn output(&self, total: &Accumulator, summary: &Summary) -> Output {
        let column_of: Vec<usize> = self.open_origins().collect();
        let by_origin = |(origin, reserve): (usize, &f64)| {
            let column = column_of.iter().position(|&open| open == origin).map(|at| at + 1);
            let zero = |level: &F64| Percentile { level: *level, value: number(0.0) };
            OriginOutput {
                origin: origin as u64,
                chain_ladder_reserve: number(*reserve),
                mean: number(column.map_or(0.0, |c| summary.columns[c].mean)),
                prediction_error: number(column.map_or(0.0, |c| summary.columns[c].std)),
                percentiles: match column {
                    Some(column) => self.percentiles(summary, column),
                    None => self.args.levels.iter().map(zero).collect(),
                },
                loss_distribution: column.map_or(Vec::new(), |c| distribution(&total.columns[c], self.scale)),
            }
        };
        Output::of(&ReserveOutput {
            chain_ladder_reserve: number(self.triangle.reserve),
            dispersion: number(self.triangle.dispersion),
            mean: number(summary.columns[0].mean),
            prediction_error: number(summary.columns[0].std),
            percentiles: self.percentiles(summary, 0),
            loss_distribution: distribution(&total.columns[0], self.scale),
            by_origin: self.triangle.reserve_by_origin.iter().enumerate().map(by_origin).collect(),
            scale_exponent: i64::from(self.scale.exponent()),
        })
    }
}

/// Paths computed in lockstep.
const LANES: usize = 32;
type Lanes = [f64; LANES];

/// What the paths need, laid out for them.
struct Model {
    known: Vec<usize>,
    width: usize,
    fitted: Vec<f64>,
    root: Vec<f64>,
    residuals: Vec<f64>,
    dispersion: f64,
    gamma: bool,
    /// Blocks of eight draws that the resampling takes.
    resample_blocks: u64,
    /// Blocks of a path: the resampling, then one for each future cell.
    path_blocks: u64,
}

/// Buffers for eight paths.
struct Buffers {
    cumulative: Vec<Lanes>,
    factors: Vec<Lanes>,
}

impl Model {
    fn new(triangle: &Triangle, process: Process) -> Model {
        let resample_blocks = triangle.cells().div_ceil(8) as u64;
        Model {
            known: triangle.known.clone(),
            width: triangle.width,
            fitted: triangle.fitted.clone(),
            root: triangle.root.clone(),
            residuals: triangle.residuals.clone(),
            dispersion: triangle.dispersion,
            // Without dispersion there is no process variance either.
            gamma: process == Process::Gamma && triangle.dispersion > 0.0,
            resample_blocks,
            path_blocks: resample_blocks + triangle.future_cells() as u64,
        }
    }

    /// Pseudo-triangles of eight paths, cumulative.
    #[inline(always)]
    fn resample(&self, key: &Key, base: &[u64; LANES], cumulative: &mut [Lanes]) {
        let cells = self.fitted.len();
        for k in 0..self.resample_blocks {
            let draws = blocks::<LANES>(key, &base.map(|b| b + k), &[0; LANES]);
            for (d, draw) in draws.iter().enumerate() {
                let cell = k as usize * 8 + d;
                if cell < cells {
                    let (m, root) = (self.fitted[cell], self.root[cell]);
                    for l in 0..LANES {
                        let residual = self.residuals[bounded(draw[l], cells as u64) as usize];
                        cumulative[cell][l] = residual.mul_add(root, m);
                    }
                }
            }
        }
        let mut cell = 0;
        for &known in &self.known {
            for j in 1..known {
                for l in 0..LANES {
                    cumulative[cell + j][l] += cumulative[cell + j - 1][l];
                }
            }
            cell += known;
        }
    }

    /// Development factors of eight pseudo-triangles; true where a column sum is zero.
    #[inline(always)]
    fn refit(&self, cumulative: &[Lanes], factors: &mut [Lanes]) -> [bool; LANES] {
        let mut degenerate = [false; LANES];
        for j in 0..self.width - 1 {
            let (mut from, mut to) = ([0.0; LANES], [0.0; LANES]);
            let mut cell = 0;
            for &known in self.known.iter().take_while(|known| **known > j + 1) {
                for l in 0..LANES {
                    from[l] += cumulative[cell + j][l];
                    to[l] += cumulative[cell + j + 1][l];
                }
                cell += known;
            }
            for l in 0..LANES {
                degenerate[l] |= from[l] == 0.0;
                factors[j][l] = to[l] / from[l];
            }
        }
        degenerate
    }

    /// One future cell of eight paths: its mean, or a gamma variate with that mean and variance φ·|mean|.
    #[inline(always)]
    fn process(
        &self,
        key: &Key,
        block: &[u64; LANES],
        mean: &Lanes,
        degenerate: &mut [bool; LANES],
    ) -> Lanes {
        if !self.gamma {
            return *mean;
        }
        let draws = blocks::<LANES>(key, block, &[0; LANES]);
        let mut shape = [1.0; LANES];
        for l in 0..LANES {
            let s = mean[l].abs() / self.dispersion;
            shape[l] = if s > 0.0 { s } else { 1.0 };
        }
        let (variate, ok) = gamma::standard_array::<LANES>(key, block, &draws, &shape);
        let mut out = [0.0; LANES];
        for l in 0..LANES {
            let x = variate[l] * self.dispersion;
            let signed = if mean[l] < 0.0 { -x } else { x };
            // A mean so small that its shape is zero has no variance to speak of.
            let varies = mean[l].abs() / self.dispersion > 0.0;
            out[l] = if varies { signed } else { mean[l] };
            degenerate[l] |= varies && !ok[l];
        }
        out
    }
}

impl Paths for Model {
    type Scratch = Buffers;

    fn scratch(&self) -> Buffers {
        Buffers {
            cumulative: vec![[0.0; LANES]; self.fitted.len()],
            factors: vec![[0.0; LANES]; self.width - 1],
        }
    }

    #[inline(always)]
    fn fill(&self, key: &Key, first: u64, count: usize, block: &mut Block, buffers: &mut Buffers) {
        for group in (0..count.min(BLOCK)).step_by(LANES) {
            let base: [u64; LANES] =
                std::array::from_fn(|l| (first + (group + l) as u64).wrapping_mul(self.path_blocks));
            self.resample(key, &base, &mut buffers.cumulative);
            let mut degenerate = self.refit(&buffers.cumulative, &mut buffers.factors);
            let mut total = [0.0; LANES];
            let (mut cell, mut column) = (0, 1);
            let mut future = self.resample_blocks;
            for &known in &self.known {
                cell += known;
                if known == self.width {
                    continue;
                }
                let mut latest = buffers.cumulative[cell - 1];
                let mut reserve = [0.0; LANES];
                for j in known..self.width {
                    let mut mean = [0.0; LANES];
                    for l in 0..LANES {
                        let next = latest[l] * buffers.factors[j - 1][l];
                        mean[l] = next - latest[l];
                        latest[l] = next;
                    }
                    let paid = self.process(key, &base.map(|b| b + future), &mean, &mut degenerate);
                    future += 1;
                    for l in 0..LANES {
                        reserve[l] += paid[l];
                    }
                }
                for l in 0..LANES {
                    total[l] += reserve[l];
                }
                block.columns[column][group..group + LANES].copy_from_slice(&reserve);
                column += 1;
            }
            block.columns[0][group..group + LANES].copy_from_slice(&total);
            for column in &mut block.columns {
                for l in 0..LANES {
                    // A degenerate path counts as such, whatever its arithmetic came to.
                    let x = column[group + l];
                    column[group + l] = if degenerate[l] { 0.0 } else { x };
                }
            }
            block.degenerate[group..group + LANES].copy_from_slice(&degenerate);
        }
    }
}
