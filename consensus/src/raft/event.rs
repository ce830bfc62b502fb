//! What a replica gives out.

use forgemesh_protocol::canon::Bytes;
use forgemesh_protocol::id::NodeId;
use forgemesh_protocol::limits;
use forgemesh_storage::Batch;

use crate::command::Entry;

/// Something for the node to do or to know.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// To be made durable, in the order in which these come; then `Replica::stored` is told the token. One that is not
    /// urgent may wait for what comes soon.
    Write { token: u64, batch: Batch, urgent: bool },
    /// To be sent to another member; it may be lost.
    Send { to: NodeId, bytes: Bytes },
    /// Agreed on: to be applied, in order. Each entry comes once in a replica's life, from the one after the snapshot
    /// that the storage held at its start.
    Apply(Vec<Committed>),
    /// This state, after the entry at `index`, takes the place of all that was applied: the leader has dropped what this
    /// member lacks. It is durable.
    Restore { index: u64, term: u64, state: Vec<u8> },
    /// Who leads, and in which term. This member itself is named only once everything that was in its log when it was
    /// elected was given out to be applied.
    Led { term: u64, leader: Option<NodeId> },
    /// The answer to `Replica::confirm`: this member led after the call, and nothing was agreed on before it but the entries
    /// below `next`. None if it could not be made sure of.
    Confirmed { token: u64, next: Option<u64> },
    /// The answer to `Replica::change`.
    Changed { token: u64, result: Result<(), ChangeError> },
    /// The replica has stopped; nothing more will come.
    Failed(Failure),
}

/// An entry that is agreed on.
#[derive(Clone, Debug, PartialEq)]
pub enum Committed {
    /// For the hub.
    Entry(Box<Entry>),
    /// A leader's first entry, or a change of members: it takes up an index and says nothing to the hub.
    Other { index: u64, term: u64 },
}

impl Committed {
    /// Its place in the log.
    pub fn index(&self) -> u64 {
        match self {
            Committed::Entry(entry) => entry.index,
            Committed::Other { index, .. } => *index,
        }
    }

    /// The term of the leader that put it there.
    pub fn term(&self) -> u64 {
        match self {
            Committed::Entry(entry) => entry.term,
            Committed::Other { term, .. } => *term,
        }
    }
}

/// Why a replica has stopped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    #[error("the replicated log could not be read or written: {0}; start the node again")]
    Storage(String),
    #[error("the replicated log has met a fault of its own; start the node again and report it")]
    Panicked,
    #[error("the replicated log has stopped; start the node again")]
    Stopped,
}

/// Why the members were not, or not wholly, changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    #[error("this member does not lead; ask the one that does")]
    NotLeading,
    #[error("an earlier change of members is under way; wait until it is done")]
    InProgress,
    #[error(
        "a hub has 1 to {0} voters and at most as many learners, and at most {1} members while they change; name fewer",
        limits::HUB_MEMBERS,
        limits::RAFT_MEMBERS
    )]
    Bounds,
    #[error("a newcomer did not catch up in time; see that it runs and can be reached, then change again")]
    TooSlow,
    #[error("too much else is under way; change again later")]
    Busy,
    #[error("the replicated log has stopped; start the node again")]
    Stopped,
}
