//! A store that now and then writes the first vote it was given in place of the newest: the member may follow a leader that
//! was deposed, and take back what is agreed on.

use forgemesh_storage::{Batch, MetaKey, Write};

use super::Tamper;

/// The bug.
#[derive(Default)]
pub struct RetractedVote {
    first: Option<Vec<u8>>,
    votes: u64,
}

impl Tamper for RetractedVote {
    fn batch(&mut self, batch: Batch) -> Batch {
        let mut other = Batch::new();
        for write in batch.writes() {
            let Write::PutMeta { key: MetaKey::RaftVote, value } = write else {
                other.push(write.clone());
                continue;
            };
            let first = self.first.get_or_insert_with(|| value.clone());
            self.votes += 1;
            let value = if self.votes.is_multiple_of(3) { first.clone() } else { value.clone() };
            other.push(Write::PutMeta { key: MetaKey::RaftVote, value });
        }
        other
    }
}
