//! A job becomes final once: one end in the log, one entry in the books of each machine, whatever crashes lie between, and the two say
//! the same. Source: design/architecture.md, "A job's way", 9 and 10; design/trust.md, "The quorum's part".

use std::collections::BTreeMap;

use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::JobId;

use super::{Invariant, Moment, View};

/// The invariant.
#[derive(Default)]
pub struct OneFinalResult {
    ended: BTreeMap<JobId, Option<Hash>>,
    /// By machine.
    entered: BTreeMap<(usize, JobId), Option<Hash>>,
}

impl Invariant for OneFinalResult {
    fn name(&self) -> &'static str {
        "one_final_result"
    }

    fn check(&mut self, view: &View<'_>) -> Result<bool, String> {
        let (twice, place, job) = match (view.finished(), &view.moment) {
            (Some(finished), _) => {
                let (job, result) =
                    (finished.record.id, finished.result.as_ref().map(|result| result.result_hash));
                (self.ended.insert(job, result).is_some(), "the log".to_owned(), job)
            }
            (None, Moment::Entered { machine, entry }) => {
                if self.ended.get(&entry.job).is_some_and(|result| *result != entry.result_hash) {
                    return Err(format!("log and books end job {} differently", entry.job));
                }
                let twice = self.entered.insert((*machine, entry.job), entry.result_hash).is_some();
                (twice, format!("the books of machine {machine}"), entry.job)
            }
            (None, Moment::Replaced { machine }) => {
                self.entered.retain(|(other, _), _| other != machine);
                return Ok(false);
            }
            _ => return Ok(false),
        };
        if twice { Err(format!("job {job} became final twice in {place}")) } else { Ok(true) }
    }
}
