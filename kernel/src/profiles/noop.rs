//! `diag@1/noop.v1`: does nothing, once per path. It measures what the mesh itself costs.

use std::ops::Range;
use std::sync::Arc;

use forgemesh_protocol::canon;
use forgemesh_protocol::limits;
use forgemesh_protocol::problem::Problems;
use forgemesh_protocol::schema::{Field, Kind, Need, Schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::accumulator::{Accumulator, LeafAccumulator, Shape};
use crate::backend::Isa;
use crate::block::{BLOCK, Block};
use crate::num::chacha::Key;
use crate::profile::{Geometry, Output, Prepared, Typed};
use crate::summary::Summary;

/// The profile.
pub struct Noop;

/// Its canonical arguments.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Args {
    shards: u64,
}

static SCHEMA: Schema = Schema {
    doc: "Does nothing, in as many shards as asked for; not billable.",
    fields: &[Field {
        name: "shards",
        doc: "Shards, each of one leaf of one path.",
        kind: Kind::Int { min: 1, max: limits::STAGE_SHARDS },
        need: Need::Default("1"),
    }],
};

/// The typed output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoopOutput {
    pub shards: u64,
}

impl Typed for Noop {
    type Args = Args;
    type Output = NoopOutput;
    const OP: (&'static str, u64, &'static str) = ("diag", 1, "noop.v1");
    const DOC: &'static str = "diagnosis: does nothing in each shard; not billable";
    const SPEC: &'static str = include_str!("noop.v1.md");
    const SCHEMA: &'static Schema = &SCHEMA;

    fn prepare(&self, args: Args) -> Result<Arc<dyn Prepared>, Problems> {
        Ok(Arc::new(PreparedNoop { args }))
    }
}

struct PreparedNoop {
    args: Args,
}

impl Prepared for PreparedNoop {
    fn args_bytes(&self) -> Vec<u8> {
        canon::to_bytes(&self.args)
    }
    fn args_json(&self) -> Value {
        serde_json::to_value(&self.args).expect("invariant: arguments are integers")
    }
    fn geometry(&self) -> Geometry {
        // The cost of a path is set so high that the planner gives each shard one leaf.
        Geometry { paths: self.args.shards, leaf_paths: 1, pilot_paths: 0, path_cost: 1024 * 10_000_000 }
    }
    fn shape(&self) -> Shape {
        Shape { columns: Vec::new(), tallies: 0 }
    }
    fn run(&self, _: Isa, _: &Key, paths: Range<u64>, leaf: &mut LeafAccumulator) {
        let block = Block { columns: Vec::new(), degenerate: [false; BLOCK], tallies: Vec::new() };
        for first in paths.clone().step_by(BLOCK) {
            leaf.push(first, (paths.end - first).min(BLOCK as u64) as usize, &block);
        }
    }
    fn output(&self, total: &Accumulator, _: &Summary) -> Output {
        Output::of(&NoopOutput { shards: total.paths })
    }
}
