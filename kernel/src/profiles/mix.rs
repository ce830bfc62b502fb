//! `diag@1/mix.v1`: hashes path indices and sums the hashes. It measures the mesh, not the world: tiny leaves, a
//! digest that any lost, doubled or swapped path changes.

use std::ops::Range;
use std::sync::Arc;

use forgemesh_protocol::canon;
use forgemesh_protocol::limits;
use forgemesh_protocol::problem::Problems;
use forgemesh_protocol::schema::{Field, Kind, Need, Schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::accumulator::{Accumulator, ColumnShape, LeafAccumulator, Shape};
use crate::backend::{Isa, dispatch};
use crate::block::{BLOCK, Block, LeafBody, Paths};
use crate::num::chacha::{Key, block as draw_block};
use crate::profile::{Geometry, Output, Prepared, Typed};
use crate::scale::Scale;
use crate::summary::Summary;

/// The profile.
pub struct Mix;

/// Its canonical arguments.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Args {
    iterations: u64,
}

static SCHEMA: Schema = Schema {
    doc: "Hashes path indices in leaves of 16 paths; not billable.",
    fields: &[Field {
        name: "iterations",
        doc: "Paths to hash.",
        kind: Kind::Int { min: 1, max: limits::JOB_PATHS },
        need: Need::Default("4096"),
    }],
};

/// The typed output: the exact sum of all hashes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MixOutput {
    pub paths: u64,
    /// Sum of the 40-bit hashes, decimal: it may exceed what a JSON number carries.
    pub checksum: String,
    pub smallest: u64,
    pub largest: u64,
}

impl Typed for Mix {
    type Args = Args;
    type Output = MixOutput;
    const OP: (&'static str, u64, &'static str) = ("diag", 1, "mix.v1");
    const DOC: &'static str = "diagnosis: hashes path indices in tiny leaves; not billable";
    const SPEC: &'static str = include_str!("mix.v1.md");
    const SCHEMA: &'static Schema = &SCHEMA;

    fn prepare(&self, args: Args) -> Result<Arc<dyn Prepared>, Problems> {
        Ok(Arc::new(PreparedMix { args }))
    }
}

struct PreparedMix {
    args: Args,
}

/// Hashes have 40 bits and are summed as integers: a magnitude of 2⁴⁰ makes the scale 1.
fn scale() -> Scale {
    Scale::for_magnitude((1u64 << 40) as f64).expect("invariant: 2^40 is a valid magnitude")
}

impl Prepared for PreparedMix {
    fn args_bytes(&self) -> Vec<u8> {
        canon::to_bytes(&self.args)
    }
    fn args_json(&self) -> Value {
        serde_json::to_value(&self.args).expect("invariant: arguments are integers")
    }
    fn geometry(&self) -> Geometry {
        Geometry { paths: self.args.iterations, leaf_paths: 16, pilot_paths: 0, path_cost: 1024 * 64 }
    }
    fn shape(&self) -> Shape {
        Shape {
            columns: vec![ColumnShape { scale: scale(), histogram: false, levels: Vec::new() }],
            tallies: 0,
        }
    }
    fn run(&self, isa: Isa, key: &Key, paths: Range<u64>, leaf: &mut LeafAccumulator) {
        dispatch(isa, LeafBody { paths: &Hashes, key, range: paths, leaf, columns: 1, tallies: 0 });
    }
    fn output(&self, total: &Accumulator, _: &Summary) -> Output {
        let moments = &total.columns[0].moments;
        Output::of(&MixOutput {
            paths: total.paths,
            checksum: moments.sum.to_string(),
            smallest: moments.min.unsigned_abs(),
            largest: moments.max.unsigned_abs(),
        })
    }
}

struct Hashes;

impl Paths for Hashes {
    type Scratch = ();
    fn scratch(&self) {}

    #[inline(always)]
    fn fill(&self, key: &Key, first: u64, count: usize, block: &mut Block, _: &mut ()) {
        for path in 0..count.min(BLOCK) {
            let index = first + path as u64;
            let draw = draw_block(key, index / 8, 0)[(index % 8) as usize];
            block.columns[0][path] = (draw >> 24) as f64;
        }
    }
}
