//! A leader that was deposed and goes on saying that it leads, in whatever term it hears of.

use forgemesh_consensus::raft::Ballot;
use forgemesh_protocol::id::NodeId;
use forgemesh_protocol::wire::Message;
use forgemesh_storage::{Batch, MetaKey, Write};

use super::Tamper;

/// The bug.
pub struct StaleLeader {
    node: NodeId,
    has_led: bool,
    /// The term in which another leads now.
    deposed_in: Option<u64>,
}

impl StaleLeader {
    /// Of a member that has not led yet.
    pub fn new(node: NodeId) -> StaleLeader {
        StaleLeader { node, has_led: false, deposed_in: None }
    }
}

impl Tamper for StaleLeader {
    fn batch(&mut self, batch: Batch) -> Batch {
        for write in batch.writes() {
            let Write::PutMeta { key: MetaKey::RaftVote, value } = write else { continue };
            let ballot = Ballot::decode(value).ok().filter(|ballot| ballot.elected);
            let Some(Ballot { term, member: Some(leader), .. }) = ballot else { continue };
            self.has_led |= leader == self.node;
            self.deposed_in = (leader != self.node && self.has_led).then_some(term);
        }
        batch
    }

    fn besides(&mut self, message: &Message) -> Option<Message> {
        let term = self.deposed_in.filter(|_| !matches!(message, Message::Raft { .. }))?;
        Some(Message::Led { term, books: 0 })
    }
}
