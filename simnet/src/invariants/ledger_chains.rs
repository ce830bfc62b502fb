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
#[derive(Default)]
pub struct LedgerChains {
    /// The end of each machine's books.
    ends: BTreeMap<usize, (u64, Hash)>,
    /// What the log implies for each final job: the entry's digest, and the paths of the stages.
    implied: BTreeMap<JobId, (Hash, u64)>,
}

impl Invariant for LedgerChains {
    fn name(&self) -> &'static str {
        "ledger_chains"
    }

    fn check(&mut self, view: &View<'_>) -> Result<bool, String> {
        if let Some(finished) = view.finished() {
            self.implied.insert(finished.record.id, (finished.entry.hash(), executed(finished)));
        }
        if let Moment::Replaced { machine } = &view.moment {
            self.ends.remove(machine);
        }
        let Moment::Entered { machine, entry } = &view.moment else { return Ok(false) };
        let end = self.ends.entry(*machine).or_insert((0, Hash::ZERO));
        if (entry.seq, entry.prev) != *end {
            return Err(format!(
                "ledger entry {} of machine {machine} does not follow the one before",
                entry.seq
            ));
        }
        *end = (entry.seq + 1, entry.hash());
        self.conserves(entry).map(|()| true)
    }
}

impl LedgerChains {
    fn conserves(&self, entry: &LedgerEntry) -> Result<(), String> {
        let Some(&(implied, paths)) = self.implied.get(&entry.job) else {
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
