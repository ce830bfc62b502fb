//! A job fails only for a cause that its scenario gives: its own time limit, its submitter's cancellation, a liar
//! among its agents, a rotten disk, broken executors, arguments that the kernel itself fails. Crashes, cuts and lost messages are none.
//! Source: design/architecture.md, "A job's way through the house"; protocol/src/failure.rs.

use forgemesh_consensus::job::{JobRecord, Reason, SetAside};
use forgemesh_protocol::failure::{Failure, FailureCode};
use forgemesh_protocol::limits;

use super::{Invariant, View};
use crate::memo;

/// The invariant.
pub struct FailedForCause;

impl Invariant for FailedForCause {
    fn name(&self) -> &'static str {
        "failed_for_cause"
    }

    fn check(&mut self, view: &View<'_>) -> Result<bool, String> {
        let Some(finished) = view.finished() else { return Ok(false) };
        let Some(failure) = &finished.failure else { return Ok(true) };
        let (record, known) = (&finished.record, view.known);
        let excused = match failure.code {
            FailureCode::TimedOut => {
                let limit_ms = record.terms.policy.timeout_ms;
                limit_ms != 0 && finished.entry.at_ms >= record.accepted_ms + limit_ms
            }
            FailureCode::Cancelled => known.cancelled.contains(&record.id),
            // Everyone who could execute it has lied. That members came to different results is another matter.
            FailureCode::VerificationMismatch => {
                let stage = record.run().number;
                !record.convicted.is_empty()
                    && record.convicted.iter().all(|agent| known.liars.contains(agent))
                    && record.votes.iter().all(|vote| vote.body.stage != stage)
            }
            // A member could not reduce what it had.
            FailureCode::EvidenceLost => view.mirror.seated().iter().any(|node| known.rotten.contains(node)),
            FailureCode::NumericDegenerate => memo::result(&record.contract)? == Err(failure.code),
            FailureCode::AttemptsExhausted => is_exhausted(record, failure, view),
            _ => false,
        };
        if excused { Ok(true) } else { Err(format!("job {} failed: {failure}", record.id)) }
    }
}

/// Was it a broken executor, or what disks have lost, that no attempt was left?
fn is_exhausted(record: &JobRecord, failure: &Failure, view: &View<'_>) -> bool {
    match named(&failure.detail) {
        Some((shard, stage)) => {
            let of_stage = |aside: &&SetAside| aside.batch.attestation.body.stage == stage;
            let counts = |aside: &&SetAside| {
                aside.reason != Reason::Superseded
                    && aside.batch.credited.iter().any(|credited| credited == shard)
            };
            let aside: Vec<&SetAside> = record.set_aside.iter().filter(of_stage).filter(counts).collect();
            let of_shard = (record.contract.hash(), stage, shard);
            let broken = view.known.failed_shards.get(&of_shard).copied().unwrap_or_default();
            let lost = aside.iter().filter(|aside| is_lost(view, Some(shard), aside)).count();
            is_explained(broken, lost, aside.len())
        }
        // Batches were set aside too often; without those that disks have lost it would not have been too often.
        None => {
            let explained = record.set_aside.iter().filter(|aside| is_lost(view, None, aside)).count();
            record.incidents() - explained <= limits::SET_ASIDE
        }
    }
}

/// Are these all the attempts that a shard gets, and are broken executors or lost blobs among the causes? So often broken
/// executors have failed it, so many batches with it were set aside, and so many of them for what a disk has lost.
fn is_explained(broken: usize, lost: usize, set_aside: usize) -> bool {
    broken + lost > 0 && broken + set_aside >= limits::SHARD_ATTEMPTS as usize
}

/// Is it so that this batch had the shard, if one is named, and a disk has lost something that it claims? Its agent's, or that
/// of a member that may have been the only one to have it.
fn is_lost(view: &View<'_>, shard: Option<u64>, aside: &SetAside) -> bool {
    let had = |shard: u64| aside.batch.credited.iter().any(|credited| credited == shard);
    if aside.reason != Reason::Lost || !shard.is_none_or(had) {
        return false;
    }
    let (known, agent) = (view.known, aside.batch.attestation.body.agent);
    let keepers = || view.mirror.seated().iter().chain([&agent]);
    let mut claims = known.claims.get(&aside.batch.digest).into_iter().flatten();
    known.liars.contains(&agent)
        || keepers().any(|node| known.rotten.contains(node))
        || claims.any(|blob| keepers().any(|node| known.lost.contains_key(&(*node, *blob))))
}

/// The shard and the stage that a failure names: "shard 3 of stage 1: …".
fn named(detail: &str) -> Option<(u64, u64)> {
    let (shard, rest) = detail.strip_prefix("shard ")?.split_once(" of stage ")?;
    let (stage, _) = rest.split_once(':')?;
    Some((shard.parse().ok()?, stage.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::{is_explained, limits, named};

    #[test]
    fn one_failure_excuses_no_job() {
        let all = limits::SHARD_ATTEMPTS as usize;
        assert!(is_explained(all, 0, 0) && is_explained(1, 0, all - 1) && is_explained(0, 1, all));
        assert!(!is_explained(1, 0, 0) && !is_explained(all - 1, 0, 0) && !is_explained(0, 1, all - 1));
        assert!(!is_explained(0, 0, all), "nothing that its world has broken");
    }

    #[test]
    fn a_failure_names_its_shard() {
        assert_eq!(named("shard 3 of stage 1: its batches were set aside"), Some((3, 1)));
        assert_eq!(named("batches were set aside more than 64 times"), None);
    }
}
