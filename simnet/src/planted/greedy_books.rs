//! Books that credit a provider with one path more than it executed.

use forgemesh_protocol::canon;
use forgemesh_protocol::ledger::LedgerEntry;
use forgemesh_protocol::limits;
use forgemesh_storage::{Batch, Write};

use super::Tamper;
use crate::draws::Draws;

/// The bug: one job in four.
pub struct GreedyBooks(pub Draws);

impl Tamper for GreedyBooks {
    fn batch(&mut self, batch: Batch) -> Batch {
        let mut greedy = Batch::new();
        for write in batch.writes() {
            match write {
                Write::AppendLedger { seq, entry } if self.0.between(0, 3) == 0 => {
                    greedy.append_ledger(*seq, raised(entry).unwrap_or_else(|| entry.clone()));
                }
                other => {
                    greedy.push(other.clone());
                }
            }
        }
        greedy
    }
}

fn raised(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut entry: LedgerEntry = canon::from_bytes(bytes, limits::COMMAND_BYTES).ok()?;
    entry.providers.first_mut()?.verified_paths += 1;
    Some(canon::to_bytes(&entry))
}
