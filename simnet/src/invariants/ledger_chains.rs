//! The books are one hash chain, they are what the log implies, and they conserve: the verified paths of a finalized
//! job add up to the paths that its stages executed, and nobody has a share in a failed one. Source:
//! design/accounting.md, "Work units and Credits" and "Double entry"; protocol/src/ledger.rs.

use std::collections::BTreeMap;

use forgemesh_consensus::settle::FinishedJob;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::JobId;
use forgemesh_protocol::ledger::LedgerEntry;

use super::{Invariant, Moment, View};

/// The invariant.
pub struct LedgerChains {
    next: u64,
    head: Hash,
    /// What the log implies for jobs that are not in the books yet: the entry's digest, and the paths of the stages.
    implied: BTreeMap<JobId, (Hash, u64)>,
}

impl Default for LedgerChains {
    fn default() -> LedgerChains {
        LedgerChains { next: 0, head: Hash::ZERO, implied: BTreeMap::new() }
    }
}

impl Invariant for LedgerChains {
    fn name(&self) -> &'static str {
        "ledger_chains"
    }

    fn check(&mut self, view: &View<'_>) -> Result<bool, String> {
        if let Some(finished) = view.finished() {
            self.implied.insert(finished.record.id, (finished.entry.hash(), executed(finished)));
        }
        let Moment::Entered { entry } = &view.moment else { return Ok(false) };
        if (entry.seq, entry.prev) != (self.next, self.head) {
            return Err(format!("ledger entry {} does not follow entry {}", entry.seq, self.next));
        }
        (self.next, self.head) = (entry.seq + 1, entry.hash());
        self.conserves(entry).map(|()| true)
    }
}

impl LedgerChains {
    fn conserves(&mut self, entry: &LedgerEntry) -> Result<(), String> {
        let Some((implied, paths)) = self.implied.remove(&entry.job) else {
            return Err(format!("job {} is in the books and not final in the log", entry.job));
        };
        let shares: u64 = entry.providers.iter().map(|provider| provider.verified_paths).sum();
        let due = if entry.failure.is_none() { paths } else { 0 };
        if shares != due {
            return Err(format!("the shares of job {} are {shares} paths, {due} were due", entry.job));
        }
        if entry.failure.is_some() && entry.charge_ucredits != 0 {
            return Err(format!("job {} failed and was billed", entry.job));
        }
        if entry.hash() != implied {
            return Err(format!("the books have another entry for job {} than the log implies", entry.job));
        }
        Ok(())
    }
}

/// Paths of all stages of a job.
fn executed(finished: &FinishedJob) -> u64 {
    let plan = &finished.record.plan;
    let paths = |run: &forgemesh_protocol::plan::StageRun| {
        let last = run.stage.first_leaf + run.stage.leaves - 1;
        plan.leaf_range(last).end - plan.leaf_range(run.stage.first_leaf).start
    };
    finished.record.runs.iter().map(paths).sum()
}
