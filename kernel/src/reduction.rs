//! What the stages of a job come to: the next stage, the result, or none.
//!
//! Owns the order of stages and the sums so far. It takes the sum of one stage after the other; how a sum was put together,
//! by whom and from which shards, must never matter.

use forgemesh_protocol::canon::Bytes;
use forgemesh_protocol::contract::ResultBody;
use forgemesh_protocol::failure::Failure;
use forgemesh_protocol::plan::{StageInput, StageKind, StageRun};

use crate::accumulator::{Accumulator, MergeError};
use crate::bracket::Brackets;
use crate::converge::Look;
use crate::job::{Job, RunError};
use crate::moments::Moments;
use crate::planner;
use crate::profile::Output;
use crate::scale::Exclusion;
use crate::summary::{Incomplete, Summary};

/// More than one path in a thousand that entered no statistic fails the job.
const MOST_EXCLUDED: u64 = 1_000;

/// Why stages cannot be reduced: a bug of ours, or evidence that does not fit together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReduceError {
    #[error("{0}")]
    Run(#[from] RunError),
    #[error("{0}")]
    Merge(#[from] MergeError),
    #[error("a repair stage missed its brackets too")]
    RepairMissed,
    #[error("a repair stage comes to other sums than the stages that it repeats")]
    RepairDiffers,
    #[error("stage {0} comes after the job's end")]
    Over(u64),
}

/// What follows from the stages so far.
#[derive(Debug)]
pub enum Reduction {
    /// This stage has to be executed.
    Next(StageRun),
    /// Here is the result.
    Final(Box<FinalOutput>),
    /// There is none.
    Failed(Failure),
}

/// A result in both forms.
#[derive(Clone, Debug)]
pub struct FinalOutput {
    pub body: ResultBody,
    pub output: Output,
}

/// The stages so far, summed.
#[derive(Default)]
pub struct Reducer {
    /// Of all pilot stages, with every value.
    pilot: Option<Accumulator>,
    /// Of all main stages.
    main: Option<Accumulator>,
    counts: Counts,
    /// What was seen whenever it was decided whether to go on.
    looks: Vec<Look>,
    /// One past the last leaf that counts, once that is known.
    stop: Option<u64>,
    over: bool,
}

/// What is known of all paths so far, whatever their stage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Counts {
    paths: u64,
    excluded: [u64; Exclusion::COUNT],
    /// Of the first column.
    moments: Option<Moments>,
}

impl Counts {
    fn add(&mut self, stage: &Accumulator) {
        self.paths += stage.paths;
        self.excluded.iter_mut().zip(&stage.excluded).for_each(|(a, b)| *a += b);
        if let Some(column) = stage.columns.first() {
            self.moments.get_or_insert(Moments::EMPTY).merge(&column.moments);
        }
    }

    fn of(stage: &Accumulator) -> Counts {
        let mut counts = Counts::default();
        counts.add(stage);
        counts
    }

    fn too_many_excluded(&self) -> bool {
        self.excluded.iter().sum::<u64>() > self.paths / MOST_EXCLUDED
    }

    fn degenerate(&self) -> Failure {
        let counts = crate::profile::excluded(&self.excluded);
        let detail = format!(
            "{} of {} paths entered no statistic: {} not a number, {} +infinite, {} -infinite, {} too large, {} degenerate",
            counts.total(),
            self.paths,
            counts.nan,
            counts.pos_inf,
            counts.neg_inf,
            counts.clamped,
            counts.degenerate
        );
        Failure::new(forgemesh_protocol::failure::FailureCode::NumericDegenerate, detail)
    }
}

impl Reducer {
    /// Adds the sum of all shards of the next stage.
    pub fn push(&mut self, job: &Job, run: &StageRun, total: Accumulator) -> Result<Reduction, ReduceError> {
        if self.over {
            return Err(ReduceError::Over(run.number));
        }
        let reduction = if run.stage.kind == StageKind::Repair {
            self.repaired(job, &total)?
        } else {
            self.reduce(job, run, total)?
        };
        self.over = !matches!(reduction, Reduction::Next(_));
        Ok(reduction)
    }

    /// Bytes it takes in memory, about.
    pub fn size(&self) -> usize {
        self.pilot.iter().chain(&self.main).map(Accumulator::size).sum()
    }

    fn reduce(&mut self, job: &Job, run: &StageRun, total: Accumulator) -> Result<Reduction, ReduceError> {
        let (alone, end) = (Counts::of(&total), run.stage.end());
        self.counts.add(&total);
        let sums = if run.stage.kind == StageKind::Pilot { &mut self.pilot } else { &mut self.main };
        match sums {
            Some(sums) => sums.merge(&total)?,
            None => *sums = Some(total),
        }
        let next = job.plan().stages.get(run.number as usize + 1);
        let has_converged = self.look(job, end);
        let goes_on = next.is_some() && !has_converged;
        // A stage of a job that looks may be so short that chance fails it: there only all paths so far count.
        let in_pilot = next.is_some_and(|next| next.kind == StageKind::Pilot);
        let counts = if job.criteria().is_none() { &alone } else { &self.counts };
        if counts.too_many_excluded() && !(goes_on && in_pilot) {
            return Ok(Reduction::Failed(counts.degenerate()));
        }
        match next.filter(|_| goes_on) {
            Some(next) => {
                let input = match (next.kind, run.stage.kind) {
                    (StageKind::Pilot, _) => None,
                    (_, StageKind::Main) => run.input.clone(),
                    _ => self.pilot.as_ref().map(|pilot| {
                        stage_input(pilot, &Brackets::from_pilot(pilot, &job.prepared().shape()))
                    }),
                };
                Ok(Reduction::Next(StageRun { number: run.number + 1, stage: next.clone(), input }))
            }
            None => self.stop(job, run, end),
        }
    }

    /// Looks whether the job has converged, if it does so here.
    fn look(&mut self, job: &Job, end: u64) -> bool {
        let (Some(criteria), Some(moments)) = (job.criteria(), &self.counts.moments) else { return false };
        if job.plan().first_look.is_none_or(|first| end < first) {
            return false;
        }
        self.looks.push(Look::at(moments, job.prepared().shape().columns[0].scale));
        criteria.hold(&self.looks)
    }

    /// Nothing more is executed, unless a bracket was missed.
    fn stop(&mut self, job: &Job, run: &StageRun, end: u64) -> Result<Reduction, ReduceError> {
        self.stop = Some(end);
        if self.counts.too_many_excluded() {
            return Ok(Reduction::Failed(self.counts.degenerate()));
        }
        let total = match (self.pilot.take(), self.main.take()) {
            (Some(pilot), Some(main)) => {
                let mut total = pilot.reclassify(&job.mode(run)?)?;
                total.merge(&main)?;
                total
            }
            (pilot, main) => pilot.or(main).expect("invariant: the stage that stops was added before"),
        };
        match self.finish(job, &total) {
            Ok(reduction) => Ok(reduction),
            Err(brackets) => {
                let input = Some(stage_input(&total, &brackets));
                let stage = planner::repair(&run.stage, end);
                Ok(Reduction::Next(StageRun { number: run.number + 1, stage, input }))
            }
        }
    }

    /// The same leaves again: they stop where they stopped, and must come to what they came to.
    fn repaired(&self, job: &Job, total: &Accumulator) -> Result<Reduction, ReduceError> {
        if self.counts != Counts::of(total) {
            return Err(ReduceError::RepairDiffers);
        }
        self.finish(job, total).map_err(|_| ReduceError::RepairMissed)
    }

    /// The result, or brackets that hold every rank.
    fn finish(&self, job: &Job, total: &Accumulator) -> Result<Reduction, Brackets> {
        let summary = match Summary::of(total, &job.prepared().shape()) {
            Ok(summary) => summary,
            Err(Incomplete::NoPaths) => return Ok(Reduction::Failed(self.counts.degenerate())),
            Err(Incomplete::Missed(brackets)) => return Err(brackets),
        };
        let convergence = job.criteria().map(|criteria| criteria.record(&self.looks));
        let leaves = self.stop.unwrap_or_else(|| job.plan().leaves());
        Ok(Reduction::Final(Box::new(job.finish(total, &summary, leaves, convergence))))
    }
}

fn stage_input(source: &Accumulator, brackets: &Brackets) -> StageInput {
    StageInput { source: source.digest(), brackets: Bytes(brackets.encode()) }
}
