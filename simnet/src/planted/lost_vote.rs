//! A store that forgets votes: after a restart the member may vote a second time in the same term, and what it has stored
//! counts for nothing.

use forgemesh_storage::{Batch, MetaKey, Write};

use super::Tamper;

/// The bug.
pub struct LostVote;

impl Tamper for LostVote {
    fn batch(&mut self, batch: Batch) -> Batch {
        let mut rest = Batch::new();
        for write in batch.writes() {
            if !matches!(write, Write::PutMeta { key: MetaKey::RaftVote, .. }) {
                rest.push(write.clone());
            }
        }
        rest
    }
}
