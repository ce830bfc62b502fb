//! A job's record that came from elsewhere, in a bundle, a snapshot or another node's books, held against its contract.
//! Nothing may be derived from one before: its numbers may be any.

use forgemesh_kernel::job::Job;
use forgemesh_kernel::planner;
use forgemesh_protocol::limits;
use forgemesh_protocol::shard_list::ShardList;

use crate::job::JobRecord;

/// What in a record does not follow from the contract that it says it is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Foreign {
    #[error("the record is of another contract or plan")]
    Plan,
    #[error("the record's stages are not those of the plan")]
    Stages,
    #[error("the record says of shards that they are attested which its current stage does not have")]
    Attested,
    #[error("a batch of the record is of no stage of it")]
    Stage,
    #[error(
        "a batch of the record has too many shards, or not in their order, or counts for some that it does not have"
    )]
    Shards,
}

impl JobRecord {
    /// Is this a record of the job: its plan, stages that follow from each other, batches of their shards?
    ///
    /// # Errors
    /// With the first that is not.
    pub fn is_of(&self, job: &Job) -> Result<(), Foreign> {
        let plan = job.plan();
        if self.contract != *job.contract() || self.plan != *plan {
            return Err(Foreign::Plan);
        }
        let begins = self.runs.first() == Some(&job.first_run());
        let follow = || self.runs.windows(2).all(|pair| planner::may_follow(plan, &pair[0], &pair[1]));
        if !begins || self.runs.len() as u64 > limits::JOB_STAGES || !follow() {
            return Err(Foreign::Stages);
        }
        let last = self.attested.ranges().last();
        if last.is_some_and(|last| last.end > self.run().stage.shards()) {
            return Err(Foreign::Attested);
        }
        for batch in &self.batches {
            let run = self.stage_run(batch.attestation.body.stage).ok_or(Foreign::Stage)?;
            is_batch(&batch.attestation.body.shards, &batch.credited, run.stage.shards())?;
        }
        for batch in self.set_aside.iter().map(|aside| &aside.batch) {
            // Its stage may have been planned anew since.
            is_batch(&batch.attestation.body.shards, &batch.credited, u64::MAX)?;
        }
        Ok(())
    }
}

/// No more shards than a batch has, ascending, each once; those that count are among them, and below `end`.
fn is_batch(attested: &ShardList, credited: &ShardList, end: u64) -> Result<(), Foreign> {
    let whole = |shards: &ShardList| {
        shards.len() <= limits::BATCH_SHARDS && shards.iter().is_sorted_by(|before, after| before < after)
    };
    let mut others = attested.iter();
    let mut is_within = |shard: u64| shard < end && others.any(|other| other == shard);
    let is_batch = whole(attested) && whole(credited) && credited.iter().all(&mut is_within);
    if is_batch { Ok(()) } else { Err(Foreign::Shards) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_counts_of_a_batch_is_some_of_it() {
        let list = |shards: &[u64]| ShardList::from(shards.to_vec());
        let longest: ShardList = (0..limits::BATCH_SHARDS as u64).collect();
        let longer: ShardList = (0..=limits::BATCH_SHARDS as u64).collect();
        for (credited, attested, end, holds) in [
            (list(&[]), list(&[0]), 1, true),
            (list(&[1, 5]), list(&[0, 1, 3, 5]), 6, true),
            (list(&[1, 5]), list(&[0, 1, 3, 5]), 5, false),
            (list(&[2]), list(&[1, 3]), 9, false),
            (list(&[3, 4]), list(&[3]), 9, false),
            (list(&[]), list(&[1, 1]), 9, false),
            (list(&[]), list(&[2, 1]), 9, false),
            (list(&[1, 1]), list(&[1, 2]), 9, false),
            (longest.clone(), longest, u64::MAX, true),
            (list(&[]), longer, u64::MAX, false),
        ] {
            assert_eq!(is_batch(&attested, &credited, end).is_ok(), holds, "{credited:?} of {attested:?}");
        }
    }
}
