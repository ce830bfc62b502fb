//! What the roles of a node work with, all of them in the same way: outputs, messages to each other, batches on their way to
//! the disk and work under way.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use forgemesh_consensus::settle::FinishedJob;
use forgemesh_protocol::genesis::HubMember;
use forgemesh_protocol::id::{JobId, NodeId};
use forgemesh_protocol::wire::Message;
use forgemesh_storage::Batch;

use super::reach::Reach;
use super::{AfterStore, AfterWork, Identity, Now, Output, Progress, gateway};
use crate::job_file::JobFile;
use crate::ports::Work;

/// What a role works with: who it is, what time it is, and where its outputs go.
pub(crate) struct Context<'a> {
    pub identity: &'a Identity,
    /// The hub's members, and how often they have changed.
    pub members: Arc<[NodeId]>,
    pub seating: u64,
    /// Was this node ever admitted to the hub? Then it keeps what receipts stand on, whether it sits or not.
    pub keeps: bool,
    /// This node's key and beacon chain, if it could be a member and is not.
    pub candidacy: Option<HubMember>,
    /// Who leads them, as far as is known.
    pub leader: Option<NodeId>,
    /// Who is gone.
    pub reach: &'a Reach,
    pub now: Now,
    pub tokens: &'a mut Tokens,
    pub out: &'a mut Vec<Output>,
    /// Messages to this node itself.
    pub inbox: &'a mut VecDeque<Message>,
    /// Final jobs of this node's own log, for the archive.
    pub finished: &'a mut Vec<Entered>,
    /// Entries that were applied, for the roles that wait for one.
    pub replies: &'a mut VecDeque<gateway::Settled>,
}

/// On its way into the books.
#[derive(Debug)]
pub(crate) enum Entered {
    /// A final job.
    Final { finished: Box<FinishedJob>, batch: Batch, after: AfterStore },
    /// A record whose receipt has the signatures that it needs.
    Signed { file: Box<JobFile>, progress: Box<Progress> },
}

/// Numbers batches and pieces of work, and remembers what waits for each.
#[derive(Default)]
pub(crate) struct Tokens {
    pub next: u64,
    pub stores: BTreeMap<u64, AfterStore>,
    pub works: BTreeMap<u64, AfterWork>,
}

/// A reduction under way, and what it is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Reduction {
    pub job: JobId,
    pub stage: u64,
    pub set_aside: u64,
    pub seating: u64,
}

impl Tokens {
    /// Is everything durable up to this batch? They become so in their order.
    pub fn is_stored(&self, batch: u64) -> bool {
        self.stores.first_key_value().is_none_or(|(first, _)| *first > batch)
    }
}

impl Context<'_> {
    /// Does this node sit in the hub?
    pub fn sits(&self) -> bool {
        self.members.contains(&self.identity.node)
    }

    /// Sends a message to the hub's leader; lost, if nobody is known to lead.
    pub fn send_leader(&mut self, message: Message) {
        if let Some(leader) = self.leader {
            self.send(leader, message);
        }
    }

    /// Sends a message, to another node or to this one.
    pub fn send(&mut self, to: NodeId, message: Message) {
        if to == self.identity.node {
            self.inbox.push_back(message);
        } else {
            self.out.push(Output::Send { to, message });
        }
    }

    /// Submits a batch; `after` goes on when it is durable, or when nothing that follows leaves the node before it is.
    pub fn store(&mut self, batch: Batch, after: AfterStore) {
        let urgent = after.is_urgent();
        self.submit(batch, after, urgent);
    }

    /// Submits a batch that nobody waits for, but for who asks whether it is stored.
    pub fn store_later(&mut self, batch: Batch) -> u64 {
        self.submit(batch, AfterStore::Nothing, false)
    }

    fn submit(&mut self, batch: Batch, after: AfterStore, urgent: bool) -> u64 {
        self.tokens.next += 1;
        let token = self.tokens.next;
        self.tokens.stores.insert(token, after);
        self.out.push(Output::Store { token, batch, urgent });
        token
    }

    /// Starts a piece of work; `after` goes on when it ended.
    pub fn work(&mut self, work: Work, after: AfterWork) {
        self.tokens.next += 1;
        let ticket = self.tokens.next;
        self.tokens.works.insert(ticket, after);
        self.out.push(Output::Work { ticket, work });
    }
}
