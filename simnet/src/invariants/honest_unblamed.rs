//! No honest agent is ever convicted: a verdict that the log accepts names no mismatch in a batch of an agent that did
//! what it said. Source: design/trust.md, "Commit, then challenge", 3 to 5.

use forgemesh_consensus::command::Command;
use forgemesh_protocol::challenge::CheckOutcome;

use super::{Invariant, Moment, View};

/// The invariant.
pub struct HonestUnblamed;

impl Invariant for HonestUnblamed {
    fn name(&self) -> &'static str {
        "honest_unblamed"
    }

    fn check(&mut self, view: &View<'_>) -> Result<bool, String> {
        let Moment::Applied { entry, outcome: Ok(applied) } = &view.moment else { return Ok(false) };
        let Command::Judge { verdict } = &entry.command else { return Ok(false) };
        let verdict = &verdict.body;
        if verdict.outcome != CheckOutcome::Differs {
            return Ok(true);
        }
        // A conviction may end the job in the same step: then its record is the finished one.
        let finished = applied.finished().map(|finished| &finished.record);
        let record = finished.or_else(|| view.mirror.job(&verdict.job));
        let convicted = record.into_iter().flat_map(|record| &record.convicted);
        match convicted.into_iter().find(|agent| !view.known.liars.contains(agent)) {
            Some(agent) => Err(format!("agent {agent} is honest and was convicted in job {}", verdict.job)),
            None => Ok(true),
        }
    }
}
