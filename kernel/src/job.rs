//! A contract brought to life: its plan, its seeds, its shards, their checks, their reduction. What the rest of the
//! system knows of the kernel.

use std::sync::Arc;

use forgemesh_protocol::attestation::Claim;
use forgemesh_protocol::canon::{self, Bytes};
use forgemesh_protocol::challenge::MismatchKind;
use forgemesh_protocol::contract::{Contract, Convergence, ResultBody, Work, replay_key};
use forgemesh_protocol::envelope::{Envelope, SeedMode, Terms, asked_for, canonical_json};
use forgemesh_protocol::failure::Failure;
use forgemesh_protocol::hash::{Domain, Hash, Hasher};
use forgemesh_protocol::json::Json;
use forgemesh_protocol::op::Op;
use forgemesh_protocol::plan::{Plan, ShardTask, StageKind, StageRun};
use forgemesh_protocol::problem::Problems;
use forgemesh_protocol::receipt::REDUCTION;
use serde_json::{Value, json};

use crate::accumulator::{Accumulator, LeafAccumulator, Mode};
use crate::backend::Isa;
use crate::bracket::Brackets;
use crate::codec::DecodeError;
use crate::converge::{self, Criteria};
use crate::num::chacha::Key;
use crate::profile::{ArgsError, Prepared, Profile, excluded};
use crate::reduction::{FinalOutput, ReduceError, Reducer, Reduction};
use crate::seeding::{GeneratorKey, root_derived, root_explicit};
use crate::summary::Summary;
use crate::tree::{Opening, OpeningError, Tree, TreeError};
use crate::{planner, registry};

/// A contract, prepared.
pub struct Job {
    contract: Contract,
    plan: Plan,
    profile: &'static dyn Profile,
    prepared: Arc<dyn Prepared>,
    root_seed: Hash,
    generator: GeneratorKey,
}

/// Why a shard cannot be executed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    #[error("stage {stage} has no shard {shard}")]
    NoShard { stage: u64, shard: u64 },
    #[error("the stage's input: {0}")]
    Input(DecodeError),
    #[error("the stage lacks the brackets of the one before it")]
    NoInput,
    #[error("the shard's leaves: {0}")]
    Tree(#[from] TreeError),
}

/// Why an accumulator that a claim names was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    #[error("{0}")]
    Run(#[from] RunError),
    #[error("{0}")]
    Decode(#[from] DecodeError),
    #[error("the claim is for another task")]
    Task,
    #[error("the accumulator's digest is not the claimed one")]
    Totals,
    #[error("the accumulator has {found} paths, the shard {expected}")]
    Paths { expected: u64, found: u64 },
}

/// An executed shard: its leaves, the tree over them, their sum.
pub struct ShardRun {
    task: ShardTask,
    tree: Tree,
}

/// What is wrong with an envelope, and what would still be wrong with its arguments once that is mended.
fn of_args_too(bytes: &[u8], mut problems: Problems) -> Problems {
    if let Ok(json) = Json::parse(bytes)
        && let Some((op, args)) = asked_for(&json)
        && let Err(more) = registry::require(&op).and_then(|profile| profile.read(args))
    {
        problems.extend(more);
    }
    problems
}

impl Job {
    /// Reads a job and its terms from a JSON envelope.
    pub fn read(bytes: &[u8]) -> Result<(Job, Terms), Problems> {
        let envelope =
            Envelope::read(Json::parse(bytes)?).map_err(|problems| of_args_too(bytes, problems))?;
        let profile = registry::require(&envelope.op)?;
        let prepared = profile.read(&envelope.args)?;
        let contract = Contract { op: envelope.op, args: Bytes(prepared.args_bytes()), seed: envelope.seed };
        Ok((Job::new(contract, profile, prepared), envelope.terms))
    }

    /// The job of a canonical contract, checked as strictly as an envelope.
    pub fn of_contract(contract: Contract) -> Result<Job, ArgsError> {
        let profile = registry::require(&contract.op)?;
        let prepared = profile.decode(&contract.args.0)?;
        Ok(Job::new(contract, profile, prepared))
    }

    fn new(contract: Contract, profile: &'static dyn Profile, prepared: Arc<dyn Prepared>) -> Job {
        let root_seed = match (contract.seed.mode, &contract.seed.value) {
            (SeedMode::Explicit, Some(value)) => root_explicit(value),
            _ => root_derived(&canon::to_bytes(&contract)),
        };
        let Op { name, version, profile: profile_name } = &contract.op;
        let generator = GeneratorKey::derive(&root_seed, name, *version, profile_name);
        let looks_from = prepared.criteria().map(Criteria::min_iterations);
        let plan = planner::plan(contract.hash(), &prepared.geometry(), looks_from);
        Job { contract, plan, profile, prepared, root_seed, generator }
    }

    /// The canonical contract.
    pub fn contract(&self) -> &Contract {
        &self.contract
    }

    /// When the job may stop early; none: never.
    pub fn criteria(&self) -> Option<&Criteria> {
        self.prepared.criteria()
    }

    /// The job's arguments, prepared.
    pub(crate) fn prepared(&self) -> &dyn Prepared {
        &*self.prepared
    }

    /// The stage that every execution begins with.
    pub fn first_run(&self) -> StageRun {
        let stage = self.plan.stages.first().expect("invariant: every plan has a stage").clone();
        StageRun { number: 0, stage, input: None }
    }

    /// How the job is cut.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The canonical arguments, readable.
    pub fn args_json(&self) -> Value {
        self.prepared.args_json()
    }

    /// The canonical envelope with these terms: RFC 8785 bytes.
    pub fn envelope(&self, terms: &Terms) -> Vec<u8> {
        canon::to_json(&canonical_json(&self.contract.op, &self.args_json(), &self.contract.seed, terms))
    }

    /// From which every draw of the job follows.
    pub fn root_seed(&self) -> Hash {
        self.root_seed
    }

    /// Digest of the frozen numerics, the profile's frozen specification, and that of convergence if the contract has it.
    pub fn numerics_id(&self) -> Hash {
        let numerics = include_str!("num/numerics.v1.md");
        let hasher =
            Hasher::new(Domain::NUMERICS).bytes(numerics.as_bytes()).bytes(self.profile.spec().as_bytes());
        match self.criteria() {
            Some(_) => hasher.bytes(converge::SPEC.as_bytes()).finish(),
            None => hasher.finish(),
        }
    }

    /// What a replay must have in common with this job.
    pub fn replay_key(&self) -> Hash {
        replay_key(&self.plan.contract, &self.root_seed, &self.numerics_id(), REDUCTION)
    }

    /// The seed of a shard, as executions report it.
    pub fn shard_seed(&self, task: &ShardTask) -> Hash {
        self.generator.shard_seed(task.paths.start, task.paths.end.saturating_sub(1))
    }

    /// The task of a shard.
    pub fn task(&self, run: &StageRun, shard: u64) -> Result<ShardTask, RunError> {
        ShardTask::new(&self.plan, run, shard).ok_or(RunError::NoShard { stage: run.number, shard })
    }

    /// How leaves of this stage keep their order statistics.
    pub(crate) fn mode(&self, run: &StageRun) -> Result<Mode, RunError> {
        match (run.stage.kind, &run.input) {
            (StageKind::Pilot, _) => Ok(Mode::Pilot),
            (StageKind::Main | StageKind::Repair, Some(input)) => {
                let shape = self.prepared.shape();
                let brackets = Brackets::decode(&input.brackets.0, &shape).map_err(RunError::Input)?;
                Ok(Mode::Bracketed(Arc::new(brackets)))
            }
            (StageKind::Main | StageKind::Repair, None) if self.keeps_order() => Err(RunError::NoInput),
            (StageKind::Main | StageKind::Repair, None) => Ok(Mode::Plain),
        }
    }

    fn keeps_order(&self) -> bool {
        self.prepared.geometry().pilot_paths > 0
    }

    fn run_leaf(&self, isa: Isa, mode: &Mode, leaf: u64) -> Accumulator {
        let mut accumulator = LeafAccumulator::new(&self.prepared.shape(), mode);
        let key = Key::from_bytes(&self.generator.0.0);
        self.prepared.run(isa, &key, self.plan.leaf_range(leaf), &mut accumulator);
        accumulator.finish()
    }

    /// Executes a shard, leaf by leaf.
    pub fn run_shard(&self, isa: Isa, run: &StageRun, shard: u64) -> Result<ShardRun, RunError> {
        let task = self.task(run, shard)?;
        let mode = self.mode(run)?;
        let leaves = task.leaves.clone().map(|leaf| self.run_leaf(isa, &mode, leaf)).collect();
        let tree = Tree::build(self.leaf_context(&task), leaves)?;
        Ok(ShardRun { task, tree })
    }

    fn leaf_context(&self, task: &ShardTask) -> crate::tree::Place {
        crate::tree::Place {
            task: task.hash(),
            leaves: task.leaves.clone(),
            leaf_paths: self.plan.leaf_paths,
            paths: self.plan.paths,
        }
    }

    /// Holds one leaf against its claim: the opening must lead to the claimed root and totals, and executing the leaf
    /// again must give what was opened. The inner result says in which way it did not.
    pub fn check_leaf(
        &self,
        isa: Isa,
        run: &StageRun,
        claim: &Claim,
        leaf: u64,
        opening: &[u8],
    ) -> Result<Result<(), (MismatchKind, Hash)>, RunError> {
        let task = self.task(run, claim.shard)?;
        let mode = self.mode(run)?;
        let recomputed = self.run_leaf(isa, &mode, leaf);
        let digest = recomputed.digest();
        if claim.task != task.hash() || !task.leaves.contains(&leaf) {
            return Ok(Err((MismatchKind::WrongOpening, digest)));
        }
        let opened = Opening::decode(opening, &self.prepared.shape(), &mode);
        let Ok(opened) = opened else { return Ok(Err((MismatchKind::WrongOpening, digest))) };
        let checked = match opened.check(&self.leaf_context(&task), leaf, &claim.tree, &claim.totals) {
            Ok(()) if *opened.accumulator() == recomputed => Ok(()),
            Ok(()) => Err((MismatchKind::LeafDiffers, digest)),
            Err(OpeningError::ForgedTotal { .. }) => Err((MismatchKind::ForgedTotal, digest)),
            Err(_) => Err((MismatchKind::WrongOpening, digest)),
        };
        Ok(checked)
    }

    /// An accumulator of this stage with nothing in it.
    pub fn empty(&self, run: &StageRun) -> Result<Accumulator, RunError> {
        Ok(Accumulator::empty(&self.prepared.shape(), &self.mode(run)?))
    }

    /// The accumulator that a claim names, held against it.
    pub fn decode(&self, run: &StageRun, claim: &Claim, bytes: &[u8]) -> Result<Accumulator, ClaimError> {
        let task = self.task(run, claim.shard)?;
        if claim.task != task.hash() {
            return Err(ClaimError::Task);
        }
        let accumulator = Accumulator::decode(bytes, &self.prepared.shape(), &self.mode(run)?)?;
        if accumulator.digest() != claim.totals {
            return Err(ClaimError::Totals);
        }
        let expected = task.paths.end - task.paths.start;
        if accumulator.paths != expected {
            return Err(ClaimError::Paths { expected, found: accumulator.paths });
        }
        Ok(accumulator)
    }

    /// The result, from the sum of all leaves before `leaves`.
    pub(crate) fn finish(
        &self,
        total: &Accumulator,
        summary: &Summary,
        leaves: u64,
        convergence: Option<Convergence>,
    ) -> FinalOutput {
        let output = self.prepared.output(total, summary);
        let work = Work { iterations: total.paths, leaves, excluded: excluded(&total.excluded) };
        let contract = self.plan.contract;
        let body = ResultBody { contract, output: Bytes(output.bytes.clone()), work, convergence };
        FinalOutput { body, output }
    }

    /// `result.json`: the result, readable, with what identifies it.
    pub fn result_json(&self, result: &FinalOutput) -> Value {
        let mut json = json!({
            "op": self.contract.op.to_string(),
            "contract_hash": self.plan.contract,
            "result_hash": result.body.hash(),
            "replay_key": self.replay_key(),
            "root_seed": self.root_seed,
            "work": result.body.work,
            "output": result.output.json,
        });
        if let Some(convergence) = &result.body.convergence {
            json["convergence"] = json!(convergence);
        }
        json
    }

    /// The sum of a shard's leaves, without the tree that attests it.
    pub fn shard_totals(&self, isa: Isa, run: &StageRun, shard: u64) -> Result<Accumulator, ReduceError> {
        let mode = self.mode(run)?;
        let leaves = self.task(run, shard)?.leaves.map(|leaf| self.run_leaf(isa, &mode, leaf));
        Ok(Accumulator::merge_all(self.empty(run)?, leaves)?)
    }

    /// Executes the whole job here and now: what a replay does. `stage` gives the sum over all shards of a stage,
    /// computed in any order.
    pub fn execute(
        &self,
        mut stage: impl FnMut(&Job, &StageRun) -> Result<Accumulator, ReduceError>,
    ) -> Result<Result<FinalOutput, Failure>, ReduceError> {
        let (mut run, mut reducer) = (self.first_run(), Reducer::default());
        loop {
            let total = stage(self, &run)?;
            match reducer.push(self, &run, total)? {
                Reduction::Next(next) => run = next,
                Reduction::Final(result) => return Ok(Ok(*result)),
                Reduction::Failed(failure) => return Ok(Err(failure)),
            }
        }
    }
}

impl ShardRun {
    /// Digest of the task.
    pub fn task_hash(&self) -> Hash {
        self.task.hash()
    }

    /// Paths executed.
    pub fn paths(&self) -> u64 {
        self.task.paths.end - self.task.paths.start
    }

    /// Root of the leaf tree.
    pub fn root(&self) -> Hash {
        self.tree.root()
    }

    /// The shard's accumulator.
    pub fn totals(&self) -> &Accumulator {
        self.tree.totals()
    }

    /// Its digest.
    pub fn totals_digest(&self) -> Hash {
        self.tree.totals_digest()
    }

    /// The opening of one of its leaves, by its number within the job.
    pub fn open(&self, leaf: u64) -> Result<Vec<u8>, TreeError> {
        self.tree.open(leaf).map(|opening| opening.encode())
    }

    /// Bytes it takes in memory, about.
    pub fn size(&self) -> usize {
        self.tree.size()
    }
}
