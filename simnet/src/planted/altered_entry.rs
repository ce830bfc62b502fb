//! A store that writes another entry into the log than it was given: the clock of a command is a millisecond off.

use forgemesh_consensus::raft::{Logged, Payload};
use forgemesh_storage::{Batch, Write};

use super::Tamper;
use crate::draws::Draws;

/// The bug: one entry in eight.
pub struct AlteredEntry(pub Draws);

impl Tamper for AlteredEntry {
    fn batch(&mut self, batch: Batch) -> Batch {
        let mut altered = Batch::new();
        for write in batch.writes() {
            match write {
                Write::AppendLog { index, entry } if self.0.between(0, 7) == 0 => {
                    altered.append_log(*index, later(entry).unwrap_or_else(|| entry.clone()));
                }
                other => drop(altered.push(other.clone())),
            }
        }
        altered
    }
}

fn later(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut logged = Logged::decode(bytes).ok()?;
    match &mut logged.payload {
        Payload::Command(proposal) => proposal.at_ms += 1,
        Payload::Blank | Payload::Members(_) => return None,
    }
    Some(logged.encode())
}
