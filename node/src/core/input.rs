//! What the driver tells the core.

use forgemesh_consensus::raft::Committed;
use forgemesh_protocol::id::NodeId;
use forgemesh_protocol::wire::Message;

use super::Request;
use crate::ports::Done;

/// What happens to a node.
#[derive(Clone, Debug)]
pub enum Input {
    /// A client of this node asks for something.
    Request {
        token: u64,
        request: Request,
    },
    /// A message arrived from another node.
    Message {
        from: NodeId,
        message: Message,
    },
    /// A batch is durable.
    Stored {
        token: u64,
    },
    /// A piece of work ended.
    Worked {
        ticket: u64,
        done: Done,
    },
    /// Entries of the hub's log are committed, in their order.
    Committed(Vec<Committed>),
    /// Who leads the hub's log is known, or no longer. A member hears of its own election once all that was committed
    /// before it has been handed out.
    Led {
        term: u64,
        leader: Option<NodeId>,
    },
    /// The log before here is too old to be had: this is the state after it.
    Restored {
        state: Vec<u8>,
    },
    /// Another member of the hub gave a sign of life.
    Heard {
        from: NodeId,
    },
    /// There is a connection with this node; and there is none any more, or none could be made.
    Met {
        node: NodeId,
    },
    Parted {
        node: NodeId,
    },
    /// The log's members are as this node wanted, or could not be made so.
    Reseated {
        done: bool,
    },
    /// The answer to `Output::Confirm`: this node led after that, and all that had been agreed on are the entries below
    /// `next`. None if that is not sure.
    Confirmed {
        token: u64,
        next: Option<u64>,
    },
    /// The disk has too little room for new work, or has room again.
    DiskLow(bool),
    /// A deadline passed, or the node has just started.
    Tick,
}
