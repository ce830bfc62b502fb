//! A finalized job has the result that its contract comes to when the kernel alone executes it, here and now. A liar's
//! work is excepted where the submitter has asked for less than every leaf to be checked: the receipt says so.
//! Source: design/determinism.md; design/trust.md, "Modes".

use forgemesh_protocol::envelope::Verify;

use super::{Invariant, View};
use crate::memo;

/// The invariant.
pub struct ResultCorrect;

impl Invariant for ResultCorrect {
    fn name(&self) -> &'static str {
        "result_correct"
    }

    fn check(&mut self, view: &View<'_>) -> Result<bool, String> {
        let Some(finished) = view.finished() else { return Ok(false) };
        let Some(result) = &finished.result else { return Ok(false) };
        let record = &finished.record;
        if record.terms.policy.verify != Verify::Full && view.known.has_lied(record) {
            return Ok(false);
        }
        match memo::result(&record.contract)? {
            Ok(expected) if expected == result.result_hash => Ok(true),
            expected => {
                Err(format!("job {} has result {}, the oracle {expected:?}", record.id, result.result_hash))
            }
        }
    }
}
