//! What a profile is: the meaning of a job's arguments, how its paths are computed, how its output is made.
//!
//! A released profile never changes meaning; a new meaning is a new profile version.

use std::ops::Range;
use std::sync::Arc;

use forgemesh_protocol::canon::{self, CanonError};
use forgemesh_protocol::contract::Excluded;
use forgemesh_protocol::json::Json;
use forgemesh_protocol::op::Op;
use forgemesh_protocol::problem::Problems;
use forgemesh_protocol::schema::Schema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::accumulator::{Accumulator, LeafAccumulator, Shape};
use crate::backend::Isa;
use crate::converge::Criteria;
use crate::num::chacha::Key;
use crate::scale::Exclusion;
use crate::summary::Summary;

/// A registered profile.
pub trait Profile: Sync {
    /// Its name.
    fn op(&self) -> Op;
    /// What it computes, in a line.
    fn doc(&self) -> &'static str;
    /// Its arguments.
    fn schema(&self) -> &'static Schema;
    /// Its frozen specification; the numerics id is a digest of it.
    fn spec(&self) -> &'static str;
    /// Reads arguments from the JSON that a person wrote.
    fn read(&self, args: &Json) -> Result<Arc<dyn Prepared>, Problems>;
    /// The canonical bytes of an output that was rendered as JSON.
    fn encode_output(&self, output: &Value) -> Result<Vec<u8>, OutputError>;
    /// Reads arguments from their canonical bytes, as strictly.
    fn decode(&self, args: &[u8]) -> Result<Arc<dyn Prepared>, ArgsError>;
}

/// Why canonical arguments were refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArgsError {
    #[error("the contract's arguments: {0}")]
    Canon(#[from] CanonError),
    #[error("the contract's arguments: {0}")]
    Problems(#[from] Problems),
    #[error("the contract's arguments are not in canonical form; canonicalise them through the profile")]
    NotCanonical,
}

/// Why a rendered output was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an output of this profile: {0}")]
pub struct OutputError(String);

/// Arguments that were read and found good, with everything computed that does not depend on the path.
pub trait Prepared: Send + Sync {
    /// The canonical bytes of the arguments.
    fn args_bytes(&self) -> Vec<u8>;
    /// The canonical arguments as JSON.
    fn args_json(&self) -> Value;
    /// How the paths are to be cut.
    fn geometry(&self) -> Geometry;
    /// When the job may stop before its last path; none: never. A profile that has some keeps order statistics.
    fn criteria(&self) -> Option<&Criteria> {
        None
    }
    /// What a leaf accumulates.
    fn shape(&self) -> Shape;
    /// Executes the paths of one leaf.
    fn run(&self, isa: Isa, key: &Key, paths: Range<u64>, leaf: &mut LeafAccumulator);
    /// The output, from the statistics of all paths.
    fn output(&self, total: &Accumulator, summary: &Summary) -> Output;
}

/// What the planner needs to know. All of it is frozen with the profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Paths of the job.
    pub paths: u64,
    /// Paths of a leaf.
    pub leaf_paths: u64,
    /// Paths of the pilot, a multiple of the leaf; 0 if no order statistic is kept.
    pub pilot_paths: u64,
    /// Static cost of a path on one core, in nanoseconds times 1,024.
    pub path_cost: u64,
}

/// A typed output: canonical bytes for hashing, JSON for reading.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// Canonical CBOR, floats as their bits.
    pub bytes: Vec<u8>,
    /// The same, rendered.
    pub json: Value,
}

impl Output {
    /// Both forms of one value.
    pub fn of<T: Serialize>(value: &T) -> Output {
        let json = serde_json::to_value(value).expect("invariant: outputs are finite and have text keys");
        Output { bytes: canon::to_bytes(value), json }
    }
}

/// A profile by its types; the blanket implementation of [`Profile`] does the reading.
pub trait Typed: Sync {
    /// The canonical arguments.
    type Args: Serialize + DeserializeOwned;
    /// The typed output.
    type Output: Serialize + DeserializeOwned;
    /// Family, version, profile.
    const OP: (&'static str, u64, &'static str);
    const DOC: &'static str;
    const SPEC: &'static str;
    const SCHEMA: &'static Schema;
    /// Checks what no single field can, and prepares. Paths of problems start at `$.args`.
    fn prepare(&self, args: Self::Args) -> Result<Arc<dyn Prepared>, Problems>;
}

impl<T: Typed> Profile for T {
    fn op(&self) -> Op {
        Op::new(T::OP.0, T::OP.1, T::OP.2)
    }
    fn doc(&self) -> &'static str {
        T::DOC
    }
    fn schema(&self) -> &'static Schema {
        T::SCHEMA
    }
    fn spec(&self) -> &'static str {
        T::SPEC
    }
    fn read(&self, args: &Json) -> Result<Arc<dyn Prepared>, Problems> {
        let mut problems = Problems::default();
        let object = T::SCHEMA.read(args, "$.args", &mut problems);
        let object = problems.into_result(object)?;
        let args = serde_json::from_value(Value::Object(object))
            .expect("invariant: what the schema accepts, the types accept; tested per profile");
        self.prepare(args)
    }
    fn encode_output(&self, output: &Value) -> Result<Vec<u8>, OutputError> {
        let output: T::Output =
            serde_json::from_value(output.clone()).map_err(|error| OutputError(error.to_string()))?;
        Ok(canon::to_bytes(&output))
    }
    fn decode(&self, bytes: &[u8]) -> Result<Arc<dyn Prepared>, ArgsError> {
        let args: T::Args = canon::from_bytes(bytes, forgemesh_protocol::limits::ENVELOPE_BYTES)?;
        let text = serde_json::to_vec(&args).expect("invariant: arguments are finite and have text keys");
        let prepared = self.read(&Json::parse(&text)?)?;
        if prepared.args_bytes() == bytes { Ok(prepared) } else { Err(ArgsError::NotCanonical) }
    }
}

/// The sticky counters under their names.
pub fn excluded(counts: &[u64; Exclusion::COUNT]) -> Excluded {
    let [nan, pos_inf, neg_inf, clamped, degenerate] = *counts;
    Excluded { nan, pos_inf, neg_inf, clamped, degenerate }
}
