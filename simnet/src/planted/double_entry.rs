//! Books that enter a final job twice.

use forgemesh_protocol::canon;
use forgemesh_protocol::ledger::LedgerEntry;
use forgemesh_protocol::limits;
use forgemesh_storage::{Batch, Write};

use super::Tamper;

/// The bug.
pub struct DoubleEntry;

impl Tamper for DoubleEntry {
    fn batch(&mut self, mut batch: Batch) -> Batch {
        let entries = batch.writes().iter().filter_map(|write| match write {
            Write::AppendLedger { entry, .. } => {
                canon::from_bytes::<LedgerEntry>(entry, limits::COMMAND_BYTES).ok()
            }
            _ => None,
        });
        for first in entries.collect::<Vec<_>>() {
            let again = LedgerEntry { seq: first.seq + 1, prev: first.hash(), ..first };
            batch.append_ledger(again.seq, canon::to_bytes(&again));
        }
        batch
    }
}
