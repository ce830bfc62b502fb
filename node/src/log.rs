//! The hub's log as the driver sees it: a member's replica, or nothing in a node that is no member.
//!
//! Owns the commands that the replica has had no room for. Must never reorder them.

use std::collections::{BTreeSet, VecDeque};
use std::future::pending;

use forgemesh_consensus::command::Command;
use forgemesh_consensus::raft::{Event, Members, Proposed, Replica, Start, StartError};
use forgemesh_protocol::canon::Bytes;
use forgemesh_protocol::id::NodeId;

/// A replica, or none.
pub(crate) struct Log {
    replica: Option<Replica>,
    waiting: VecDeque<Command>,
    /// Numbers the changes of members.
    changes: u64,
}

impl Log {
    /// Starts the replica of a member.
    pub async fn start(start: Option<Start>) -> Result<Log, StartError> {
        let replica = match start {
            Some(start) => Some(Replica::start(start).await?),
            None => None,
        };
        Ok(Log { replica, waiting: VecDeque::new(), changes: 0 })
    }

    /// The next event; none ever comes in a node that is no member.
    pub async fn next(&mut self) -> Event {
        match &mut self.replica {
            Some(replica) => replica.next().await,
            None => pending().await,
        }
    }

    /// A command of this node, which leads.
    pub fn propose(&mut self, command: Command) {
        self.waiting.push_back(command);
    }

    /// Hands over what there is room for.
    pub fn flush(&mut self, wall_ms: u64) {
        let Some(replica) = &mut self.replica else { return self.waiting.clear() };
        while let Some(command) = self.waiting.pop_front() {
            if replica.propose(command.clone(), wall_ms) == Proposed::NotNow {
                return self.waiting.push_front(command);
            }
        }
    }

    /// Another leads: what waits here would be refused.
    pub fn forget(&mut self) {
        self.waiting.clear();
    }

    /// A message of another member's log.
    pub fn receive(&mut self, from: NodeId, bytes: &Bytes) {
        self.replica.iter_mut().for_each(|replica| replica.receive(from, bytes));
    }

    /// Makes sure that this member still leads; the answer is an event.
    pub fn confirm(&mut self, token: u64) {
        self.replica.iter_mut().for_each(|replica| replica.confirm(token));
    }

    /// Is this one of the log's members, as far as this node's replica knows? Who is dismissed is one until the log says
    /// that it no longer is, and may have to lead until then.
    pub fn has(&self, node: &NodeId) -> bool {
        self.replica.as_ref().is_some_and(|replica| replica.members().all().contains(node))
    }

    /// The log's members that are agreed on, as far as this node has applied it.
    pub fn agreed_members(&self) -> Option<Members> {
        self.replica.as_ref().and_then(Replica::agreed_members)
    }

    /// Is this node the log's only member, so that nobody else has any of it?
    pub fn is_sole(&self) -> bool {
        self.replica.as_ref().is_some_and(Replica::is_sole)
    }

    /// Are entries applied that are not durable?
    pub fn is_ahead(&self) -> bool {
        self.replica.as_ref().is_some_and(Replica::is_ahead)
    }

    /// Is this node the only voter, as far as it knows?
    pub fn is_alone(&self, node: NodeId) -> bool {
        let members = self.replica.as_ref().map(Replica::members);
        // Who waits to be made a member knows of no voters.
        members.is_some_and(|members| {
            !members.voters.is_empty() && members.voters.iter().all(|set| set.iter().eq([&node]))
        })
    }

    /// Makes these nodes the log's members; without voters those who vote go on. True if they are already; else an event
    /// says what came of it.
    pub fn change(&mut self, voters: Option<BTreeSet<NodeId>>, learners: BTreeSet<NodeId>) -> bool {
        let Some(replica) = &mut self.replica else { return false };
        let now = replica.members();
        let voters = voters.or_else(|| now.voters.last().cloned()).unwrap_or_default();
        let same = now.voters.iter().eq([&voters]) && now.all() == voters.union(&learners).copied().collect();
        if !same {
            self.changes += 1;
            replica.change(self.changes, voters, learners);
        }
        same
    }

    /// Is this the answer to the change that was asked for last?
    pub fn is_last_change(&self, token: u64) -> bool {
        token == self.changes
    }

    /// A write of the log is durable.
    pub fn stored(&mut self, token: u64) {
        self.replica.iter_mut().for_each(|replica| replica.stored(token));
    }

    /// The state after an entry stands for all before it.
    pub fn snapshot(&mut self, index: u64, state: Vec<u8>) {
        self.replica.iter_mut().for_each(|replica| replica.snapshot(index, state.clone()));
    }
}
