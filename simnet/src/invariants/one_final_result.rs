//! A job becomes final once: one end in the log, one entry in the books, whatever crashes lie between, and the two say
//! the same. Source: design/architecture.md, "A job's way", 9 and 10; design/trust.md, "The quorum's part".

use std::collections::BTreeMap;

use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::JobId;

use super::{Invariant, Moment, View};

/// The invariant.
#[derive(Default)]
pub struct OneFinalResult {
    ended: BTreeMap<JobId, Option<Hash>>,
    entered: BTreeMap<JobId, Option<Hash>>,
}

impl Invariant for OneFinalResult {
    fn name(&self) -> &'static str {
        "one_final_result"
    }

    fn check(&mut self, view: &View<'_>) -> Result<bool, String> {
        let (seen, place, job, result) = match (view.finished(), &view.moment) {
            (Some(finished), _) => {
                let result = finished.result.as_ref().map(|result| result.result_hash);
                (&mut self.ended, "the log", finished.record.id, result)
            }
            (None, Moment::Entered { entry }) => {
                if self.ended.get(&entry.job).is_some_and(|result| *result != entry.result_hash) {
                    return Err(format!("log and books end job {} differently", entry.job));
                }
                (&mut self.entered, "the books", entry.job, entry.result_hash)
            }
            _ => return Ok(false),
        };
        match seen.insert(job, result) {
            Some(_) => Err(format!("job {job} became final twice in {place}")),
            None => Ok(true),
        }
    }
}
