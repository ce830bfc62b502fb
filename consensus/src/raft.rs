//! Agreement on the log among several members: openraft behind values in and values out.
//!
//! A replica is given proposals, other members' messages and word of what is durable; it gives out events: what to
//! write, to send, to apply. It must never touch a socket, a file or a thread, nor apply anything itself. It reads old
//! entries from the storage and keeps its time by the runtime's clock, which stands still in the simulator. openraft's
//! tasks run beside the node's loop and end when the replica is dropped.

mod apply;
mod change;
mod closed;
mod config;
mod confirm;
mod elect;
mod event;
mod keep;
mod log;
mod logged;
pub mod message;
mod network;
mod recent;
mod runtime;
mod sealed;
mod serve;
mod snapshot;
#[cfg(test)]
mod suite;

use std::collections::{BTreeSet, VecDeque};
use std::future::{self, Future};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};

use forgemesh_protocol::canon;
use forgemesh_protocol::id::NodeId;
use forgemesh_protocol::limits;
use forgemesh_storage::{ReadError, Storage};
use openraft::error::Fatal;
use openraft::raft::ClientWriteResult;
use openraft::{AsyncRuntime, RaftMetrics, ServerState};
use rand::RngCore;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

pub use closed::agreed;
pub use config::{Member, Timing, Types};
pub use event::{ChangeError, Committed, Event, Failure};
pub use logged::{Ballot, Logged, LoggedError, Members, Payload, Place, Proposal};
pub use runtime::{Runtime, seed};
pub use sealed::Sealed;
pub use snapshot::Head;

use crate::command::Command;
use apply::StateMachine;
use config::Raft;
use keep::Keep;
use log::LogStore;
use message::{Body, Message};
use network::{Asked, Network};
use serve::Serve;

/// What a replica starts with.
pub struct Start {
    /// This member.
    pub node: NodeId,
    /// The voters of a mesh whose log is empty, the same on all of them. Who is not among them waits to be made a
    /// member.
    pub voters: Vec<NodeId>,
    /// Where the log is read from. Only events write to it.
    pub storage: Arc<Storage>,
    pub timing: Timing,
}

/// Why a replica did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the replicated log cannot be read: {0}")]
    Read(#[from] ReadError),
    #[error(
        "{what} in the data folder: {error}; restore a backup, or start with an empty folder as a new member"
    )]
    Damaged { what: &'static str, error: LoggedError },
    #[error("a hub has 1 to {} voters; the genesis names other than that", limits::HUB_MEMBERS)]
    Voters,
    #[error(
        "no leader can be elected with these times: the heartbeat must be shorter than the election's wait, and that a range"
    )]
    Timing,
    #[error("the replicated log does not start: {0}")]
    Raft(String),
}

/// What became of a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proposed {
    /// It is on its way.
    Taken,
    /// This member does not lead, or too many are on their way.
    NotNow,
    /// No entry is so long: it never will be.
    TooLong,
}

/// One member of the log's quorum. Its methods are called within a tokio runtime, and `next` again and again: it is what
/// the rest waits for.
pub struct Replica {
    node: NodeId,
    raft: Raft,
    keep: Arc<Keep>,
    asked: Arc<Asked>,
    serve: Serve,
    events: mpsc::Receiver<Event>,
    giving: mpsc::Sender<Event>,
    metrics: watch::Receiver<RaftMetrics<Member, openraft::EmptyNode>>,
    /// Proposals on their way into the log.
    proposed: VecDeque<oneshot::Receiver<ClientWriteResult<Types>>>,
    /// Answers to others, reads and changes under way.
    tasks: JoinSet<()>,
    /// Index of the last entry that was given out to be applied, or that a restored state includes.
    applied: Option<u64>,
    /// The term in which this member leads, and the last entry of its log when that was noticed.
    leads: Option<(u64, Option<u64>)>,
    /// What was last said of term and leader.
    led: (u64, Option<NodeId>),
    failed: bool,
}

impl Replica {
    /// Goes on with the log in the storage. Of the snapshot there, if there is one, see [`Head::split`]; what comes to be
    /// applied begins after it.
    ///
    /// # Errors
    /// What cannot be read, or was not written by a replica; and settings with which nobody could ever lead.
    pub async fn start(start: Start) -> Result<Replica, StartError> {
        let Start { node, voters, storage, timing } = start;
        let voters: BTreeSet<Member> = voters.into_iter().map(Member).collect();
        if voters.is_empty() || voters.len() > limits::HUB_MEMBERS {
            return Err(StartError::Voters);
        }
        let config = timing.config().ok_or(StartError::Timing)?;
        let (giving, events) = mpsc::channel(limits::RAFT_EVENTS);
        let keep = Arc::new(Keep::open(node, storage, giving.clone())?);
        let asked = Arc::new(Asked::new(Runtime::thread_rng().next_u64(), giving.clone()));
        let (is_new, applied) = {
            let kept = keep.lock();
            (kept.last.is_none() && kept.vote.is_none(), kept.applied.map(|last| last.index))
        };
        let (log, machine) = (LogStore(keep.clone()), StateMachine(keep.clone()));
        let raft = Raft::new(
            Member(node),
            config,
            Network { asked: asked.clone(), keep: keep.clone() },
            log,
            machine,
        )
        .await;
        let raft = raft.map_err(|error| StartError::Raft(error.to_string()))?;
        let mut tasks = JoinSet::new();
        if is_new && voters.contains(&Member(node)) {
            let raft = raft.clone();
            tasks.spawn(async move {
                // Refused only if another member was quicker, and that one has the same voters.
                drop(raft.initialize(voters).await);
            });
        }
        tasks.spawn(elect::stand(raft.clone(), Member(node), asked.clone(), timing.election_ms));
        let serve = Serve::new(raft.clone(), keep.clone(), giving.clone());
        let metrics = raft.metrics();
        Ok(Replica {
            node,
            raft,
            keep,
            asked,
            serve,
            events,
            giving,
            metrics,
            proposed: VecDeque::new(),
            tasks,
            applied,
            leads: None,
            led: (0, None),
            failed: false,
        })
    }

    /// Proposes a command at this member's clock. It may be lost on its way, so who waits for it to be applied proposes it
    /// again.
    pub fn propose(&mut self, command: Command, at_ms: u64) -> Proposed {
        while self.proposed.front_mut().is_some_and(is_settled) {
            self.proposed.pop_front();
        }
        let leads = self.metrics.borrow().state == ServerState::Leader;
        if !leads || self.proposed.len() >= limits::RAFT_PROPOSALS {
            return Proposed::NotNow;
        }
        let proposal = Proposal { at_ms, command: Sealed::from(command) };
        if proposal.command.length() > limits::COMMAND_BYTES {
            return Proposed::TooLong;
        }
        match at_once(self.raft.client_write_ff(proposal)) {
            Some(Ok(settled)) => {
                self.proposed.push_back(settled);
                Proposed::Taken
            }
            // It has stopped; an event says why.
            Some(Err(_)) | None => Proposed::NotNow,
        }
    }

    /// Another member's message. What does not decode is dropped.
    pub fn receive(&mut self, from: NodeId, bytes: &canon::Bytes) {
        while self.tasks.try_join_next().is_some() {}
        match Message::decode(&bytes.0) {
            Ok(Message { life, number, body: Body::Answer(answer) }) => {
                self.asked.answered(from, life, number, answer);
            }
            Ok(Message { life, number, body: Body::Ask(ask) }) => {
                if let message::Ask::Elect { term, .. } = &ask
                    && self.members().voters.iter().any(|voters| voters.contains(&from))
                {
                    self.asked.stands(*term);
                }
                self.serve.asked(&mut self.tasks, from, life, number, ask);
            }
            Err(_) => {}
        }
    }

    /// The write of this token is durable.
    pub fn stored(&mut self, token: u64) {
        self.keep.stored(token);
    }

    /// The hub's state after the entry at `index`: it becomes the newest snapshot, and most of the log before it goes.
    /// Nothing happens if that entry was not given out to be applied, or if there is a newer snapshot.
    pub fn snapshot(&mut self, index: u64, state: Vec<u8>) {
        if self.applied.is_some_and(|applied| index <= applied) {
            self.keep.lock().offered = Some((index, state));
            // If one is being built, the next one offered takes this one's place.
            at_once(self.raft.trigger().snapshot());
        }
    }

    /// Makes sure that this member still leads. The answer is an event: whose hub has applied all entries that it names
    /// reads nothing older than this call.
    pub fn confirm(&mut self, token: u64) {
        let (term, leader) = self.led;
        let (leads, busy) = (leader == Some(self.node), self.tasks.len() >= limits::RAFT_TASKS);
        // Asking would keep the others from electing one whose disk works.
        let leads = leads && !self.keep.is_stuck();
        // Others may have applied more than this member, but nothing that it has not told them to be agreed on.
        let next = self.applied.map_or(0, |last| last + 1).max(self.asked.told());
        let ways = (self.asked.clone(), self.keep.clone());
        let (node, voters) = (self.node, self.members().voters);
        let giving = self.giving.clone();
        self.tasks.spawn(async move {
            let led = leads && !busy && confirm::is_followed(ways, node, term, voters).await;
            answer(giving, Event::Confirmed { token, next: led.then_some(next) }).await;
        });
    }

    /// Makes these nodes the members: newcomers catch up first, then the voters change, then who is not named is let go.
    /// Only the leader can. The answer is an event; after an error the change may be done in part, and may be repeated.
    pub fn change(&mut self, token: u64, voters: BTreeSet<NodeId>, learners: BTreeSet<NodeId>) {
        let (raft, giving) = (self.raft.clone(), self.giving.clone());
        let busy = self.tasks.len() >= limits::RAFT_TASKS;
        self.tasks.spawn(async move {
            let result =
                if busy { Err(ChangeError::Busy) } else { change::change(&raft, voters, learners).await };
            answer(giving, Event::Changed { token, result }).await;
        });
    }

    /// The members as this replica knows them, agreed on or about to be.
    pub fn members(&self) -> Members {
        self.metrics.borrow().membership_config.membership().into()
    }

    /// The members that are agreed on, as far as the log is applied here; none before any are.
    pub fn agreed_members(&self) -> Option<Members> {
        self.keep.lock().memberships.last().map(|members| members.membership().into())
    }

    /// Is this the only member, by what is applied? Then what is agreed on is applied before it is durable.
    pub fn is_sole(&self) -> bool {
        self.keep.lock().is_sole()
    }

    /// Were entries given out to be applied that are not durable yet? Nobody may hear of what follows from them.
    pub fn is_ahead(&self) -> bool {
        self.keep.lock().is_ahead()
    }

    /// The next event; nothing is lost when the future is dropped. After `Failed` it waits for ever.
    pub async fn next(&mut self) -> Event {
        loop {
            if self.failed {
                return future::pending().await;
            }
            if let Some(event) = self.noticed() {
                return event;
            }
            tokio::select! {
                biased;
                Some(event) = self.events.recv() => {
                    self.given(&event);
                    return event;
                }
                // Looked at above; its end means that the core has ended.
                ended = self.metrics.changed() => if ended.is_err() {
                    self.failed = true;
                    return Event::Failed(self.failure());
                },
                Some(_) = self.tasks.join_next(), if !self.tasks.is_empty() => {}
            }
        }
    }

    /// An event goes out.
    fn given(&mut self, event: &Event) {
        match event {
            Event::Apply(entries) => self.applied = entries.last().map(Committed::index).or(self.applied),
            Event::Restore { index, .. } => self.applied = Some(*index),
            _ => {}
        }
    }

    /// What the core's state says that was not said yet.
    fn noticed(&mut self) -> Option<Event> {
        let (term, leader, last, leading, stopped) = {
            let now = self.metrics.borrow_and_update();
            let leader = now.current_leader.map(|member| member.0);
            let leading = now.state == ServerState::Leader;
            (now.current_term, leader, now.last_log_index, leading, now.running_state.is_err())
        };
        if stopped {
            self.failed = true;
            return Some(Event::Failed(self.failure()));
        }
        let mut leader = leader;
        if leader == Some(self.node) {
            if leading && self.leads.is_none_or(|(known, _)| known != term) {
                self.leads = Some((term, last));
            }
            let ready = self.leads.is_some_and(|(known, last)| known == term && self.applied >= last);
            leader = leader.filter(|_| leading && ready);
        }
        if self.led == (term, leader) {
            return None;
        }
        self.led = (term, leader);
        Some(Event::Led { term, leader })
    }

    fn failure(&self) -> Failure {
        match &self.metrics.borrow().running_state {
            Err(Fatal::StorageError(error)) => Failure::Storage(error.to_string()),
            Err(Fatal::Stopped) => Failure::Stopped,
            // The core's task ended without a word.
            Err(Fatal::Panicked) | Ok(()) => Failure::Panicked,
        }
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        // The core ends with the last handle on it; the tasks have one each.
        self.tasks.abort_all();
        self.keep.close();
    }
}

async fn answer(giving: mpsc::Sender<Event>, event: Event) {
    // Fails only when the replica is dropped: then nobody asks.
    drop(giving.send(event).await);
}

fn is_settled(settled: &mut oneshot::Receiver<ClientWriteResult<Types>>) -> bool {
    !matches!(settled.try_recv(), Err(oneshot::error::TryRecvError::Empty))
}

/// The value of a future that needs not wait; none if it would.
fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        std::task::Poll::Ready(value) => Some(value),
        std::task::Poll::Pending => None,
    }
}
