//! A job fails only for a cause that its scenario gives: its own time limit, its submitter's cancellation, a liar
//! among its agents, a rotten disk, broken executors, arguments that the kernel itself fails. Crashes, cuts and lost messages are none.
//! Source: design/architecture.md, "A job's way through the house"; protocol/src/failure.rs.

use forgemesh_consensus::job::{Reason, SetAside};
use forgemesh_protocol::failure::FailureCode;

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
            FailureCode::VerificationMismatch => {
                !record.convicted.is_empty()
                    && record.convicted.iter().all(|agent| known.liars.contains(agent))
            }
            FailureCode::EvidenceLost => known.rotten,
            FailureCode::NumericDegenerate => memo::result(&record.contract)? == Err(failure.code),
            FailureCode::AttemptsExhausted => {
                let lost = |aside: &SetAside| aside.reason == Reason::Lost;
                known.failed_shards.contains(&record.contract.hash()) || record.set_aside.iter().any(lost)
            }
            _ => false,
        };
        if excused { Ok(true) } else { Err(format!("job {} failed: {failure}", record.id)) }
    }
}
