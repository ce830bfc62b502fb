//! A job has one statement, whoever signs it, and all members have the same books. Source: design/trust.md, "The quorum's
//! part"; protocol/src/receipt.rs: a later signature never makes a second receipt.

use std::collections::BTreeMap;

use forgemesh_node::job_file::JobFile;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::JobId;
use forgemesh_storage::Storage;

use super::{Invariant, Moment, View};

/// The invariant.
#[derive(Default)]
pub struct OneReceipt {
    /// Digest of each job's signed statement.
    statements: BTreeMap<JobId, Hash>,
    /// Digests of the ledger's entries.
    books: BTreeMap<u64, Hash>,
}

impl Invariant for OneReceipt {
    fn name(&self) -> &'static str {
        "one_receipt"
    }

    fn check(&mut self, view: &View<'_>) -> Result<bool, String> {
        match &view.moment {
            Moment::Recorded { machine, file } => self.recorded(*machine, file).map(|()| true),
            Moment::Entered { machine, entry } => {
                let known = *self.books.entry(entry.seq).or_insert(entry.hash());
                match known == entry.hash() {
                    true => Ok(true),
                    false => Err(format!("machine {machine} has another ledger entry {}", entry.seq)),
                }
            }
            Moment::Over { storages, unfinished: [] } => {
                storages.iter().try_for_each(|(machine, storage)| self.whole(*machine, storage))?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }
}

impl OneReceipt {
    fn recorded(&mut self, machine: usize, file: &JobFile) -> Result<(), String> {
        let job = file.finished.record.id;
        let statement = Hash::blob(&file.receipt.payload.0);
        if *self.statements.entry(job).or_insert(statement) == statement {
            return Ok(());
        }
        Err(format!("machine {machine} has a second statement of job {job}"))
    }

    /// Every member in good order has all of the books.
    fn whole(&mut self, machine: usize, storage: &Storage) -> Result<(), String> {
        let entries = storage.ledger_len().map_err(|error| error.to_string())?;
        let all = self.books.len() as u64;
        if entries != all {
            return Err(format!("machine {machine} has {entries} ledger entries of {all}"));
        }
        let mut before = None;
        loop {
            let page = storage.jobs(before, 100).map_err(|error| error.to_string())?;
            let Some(last) = page.last() else { return Ok(()) };
            before = Some(last.seq);
            for row in &page {
                let file = JobFile::decode(&row.record).map_err(|error| error.to_string())?;
                self.recorded(machine, &file)?;
            }
        }
    }
}
