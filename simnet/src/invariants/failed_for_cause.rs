//! A job fails only for a cause that its scenario gives: its own time limit, its submitter's cancellation, a liar
//! among its agents, a rotten disk, broken executors, arguments that the kernel itself fails. Crashes, cuts and lost messages are none.
//! Source: design/architecture.md, "A job's way through the house"; protocol/src/failure.rs.

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
            FailureCode::TimedOut => record.terms.policy.timeout_ms != 0,
            FailureCode::Cancelled => known.cancelled.contains(&record.id),
            FailureCode::VerificationMismatch => !known.liars.is_empty(),
            FailureCode::EvidenceLost => known.rotten || !known.liars.is_empty(),
            FailureCode::NumericDegenerate => memo::result(&record.contract)? == Err(failure.code),
            FailureCode::AttemptsExhausted => known.failed_shards || !known.lost.is_empty(),
            _ => false,
        };
        if excused { Ok(true) } else { Err(format!("job {} failed: {failure}", record.id)) }
    }
}
