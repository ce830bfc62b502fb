//! The node's logic, without a socket, a thread, a file or a clock: `handle` takes an input and says what is to be
//! done. Everything a node does is one of the outputs, so it can be logged, compared and replayed.
//!
//! One node plays up to four roles here: gateway, hub, agent, checker. They speak to each other only in messages;
//! a message of the node to itself takes the same way but for the wire.

pub mod agent;
pub mod availability;
pub mod beacon;
pub(crate) mod books;
pub mod checker;
pub mod gateway;
pub mod hub;
mod intake;
mod keeper;
mod leases;
pub mod placement;
mod relay;
mod roster;
mod scheduler;
pub mod status;

use std::collections::{BTreeMap, VecDeque};

use forgemesh_consensus::adjudicate::ChainHead;
use forgemesh_consensus::command::Command;
use forgemesh_consensus::enrolment::Enrolment;
use forgemesh_consensus::job::JobRecord;
use forgemesh_consensus::machine::Hub;
pub use forgemesh_consensus::machine::Rejected;
use forgemesh_protocol::cancellation::Cancellation;
use forgemesh_protocol::canon::Bytes;
use forgemesh_protocol::enrolment::{Expulsion, Invitation, Withdrawal};
use forgemesh_protocol::id::{JobId, MeshId, NodeId};
use forgemesh_protocol::keys::{SecretKey, Signed};
use forgemesh_protocol::state::State;
use forgemesh_protocol::submission::Submission;
use forgemesh_protocol::wire::{Answer, Attested, Message};
use forgemesh_storage::Batch;

use crate::ports::{Done, Work};
use availability::Availability;

/// The two clocks of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds since 1970, as the machine's clock says: it may jump either way.
    pub wall_ms: u64,
    /// Milliseconds since the node's start: only ever forward.
    pub up_ms: u64,
}

/// What happens to a node.
#[derive(Clone, Debug)]
pub enum Input {
    /// A client of this node asks for something.
    Request { token: u64, request: Request },
    /// A message arrived from another node.
    Message { from: NodeId, message: Message },
    /// A batch is durable.
    Stored { token: u64 },
    /// A piece of work ended.
    Worked { ticket: u64, done: Done },
    /// The disk has too little room for new work, or has room again.
    DiskLow(bool),
    /// A deadline passed, or the node has just started.
    Tick,
}

/// What a client may ask.
#[derive(Clone, Debug)]
pub enum Request {
    /// Take this job on.
    Submit(Box<Signed<Submission>>),
    /// Give this job up.
    Cancel(Box<Signed<Cancellation>>),
    /// Say what waits in this node.
    Queues,
    /// Change who belongs to the mesh.
    Enrolment(Box<EnrolmentCommand>),
    /// Say who belongs to the mesh.
    Members,
    /// Lend the mesh so much of this node from now on.
    Available(Box<Availability>),
    /// Say how this node stands.
    Status,
    /// Show an open job.
    Open(JobId),
    /// Say what an open job waits for.
    Pending(JobId),
    /// Ask the hub's leader this for me.
    Ask(Bytes),
    /// The answer to what another node asked here.
    Answer { to: NodeId, number: u64, answer: Box<Answer> },
}

/// What only a hub member may say, and has signed.
#[derive(Clone, Debug)]
pub enum EnrolmentCommand {
    Invite(Signed<Invitation>),
    Withdraw(Signed<Withdrawal>),
    Expel(Signed<Expulsion>),
}

impl From<EnrolmentCommand> for Command {
    fn from(command: EnrolmentCommand) -> Command {
        match command {
            EnrolmentCommand::Invite(invitation) => Command::Invite { invitation },
            EnrolmentCommand::Withdraw(withdrawal) => Command::Withdraw { withdrawal },
            EnrolmentCommand::Expel(expulsion) => Command::Expel { expulsion },
        }
    }
}

/// What a node does.
#[derive(Debug)]
pub enum Output {
    /// Answer a client.
    Reply { token: u64, reply: Reply },
    /// Send a message to another node.
    Send { to: NodeId, message: Message },
    /// Make a batch durable.
    Store { token: u64, batch: Batch },
    /// Compute something.
    Work { ticket: u64, work: Work },
    /// Tell observers how a job stands.
    Progress(Progress),
    /// Another node asks something of this hub member, for a client of its own.
    Asked(Asked),
}

/// A question of another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub from: NodeId,
    pub number: u64,
    pub body: Bytes,
}

/// What a client is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// What was asked for this job is durable.
    Accepted(JobId),
    /// It was refused; nothing of it remains.
    Refused(forgemesh_consensus::machine::Rejected),
    /// This node is no hub member; ask that one.
    Elsewhere { hub: NodeId },
    /// The disk is nearly full: no new job is taken until there is room.
    DiskLow,
    /// What waits in this node.
    Queues(Vec<Queue>),
    /// It is done, and durable if it is to be.
    Done,
    /// Who belongs to the mesh.
    Members(Box<Enrolment>),
    /// How this node stands.
    Status(Box<status::Status>),
    /// An open job; none if it is not open here.
    Open(Option<Box<JobRecord>>),
    /// What an open job waits for; none if it is not open here.
    Pending(Option<Vec<status::Reason>>),
    /// What the hub answered.
    Answered(Box<Answer>),
    /// The hub did not answer in time.
    Unanswered { hub: NodeId },
}

/// A queue, how long it is, how long it may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    pub name: &'static str,
    pub length: u64,
    pub bound: u64,
}

impl Queue {
    pub(crate) fn new(name: &'static str, length: u64, bound: u64) -> Queue {
        Queue { name, length, bound }
    }
}

/// How a job stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    pub job: JobId,
    pub state: State,
    /// The stage's number, and how many of its leaves are attested out of how many in the whole job.
    pub stage: u64,
    pub done_leaves: u64,
    pub leaves: u64,
    /// Batches that still wait for their verdict.
    pub unverified: u64,
    /// Receipt, ledger entry and evidence are durable too.
    pub recorded: bool,
}

/// Who this node is and what it may do.
pub struct Identity {
    pub secret: SecretKey,
    pub node: NodeId,
    pub mesh: MeshId,
}

/// What a restarted node finds on its disk.
pub struct Recovered {
    /// Who leads the hub.
    pub leader: NodeId,
    /// A hub member's machine with the whole log applied, and what it finds beside it.
    pub hub: Option<(Hub, hub::Found)>,
    /// The agent's own attestations that are kept, oldest first.
    pub outbox: Vec<Attested>,
}

/// Batches that may be on their way to the disk at once; a bound that only a fault of this program can reach.
const STORES: u64 = 65_536;

/// The node.
pub struct Core {
    identity: Identity,
    leader: NodeId,
    /// None in a node that only executes.
    hub: Option<hub::HubRole>,
    agent: agent::AgentRole,
    checker: checker::CheckerRole,
    gateway: gateway::GatewayRole,
    keeper: keeper::KeeperRole,
    relay: relay::RelayRole,
    tokens: Tokens,
}

/// What a role works with: who it is, what time it is, and where its outputs go.
pub(crate) struct Context<'a> {
    pub identity: &'a Identity,
    /// Who leads the hub.
    pub leader: NodeId,
    pub now: Now,
    pub tokens: &'a mut Tokens,
    pub out: &'a mut Vec<Output>,
    /// Messages to this node itself.
    pub inbox: &'a mut VecDeque<Message>,
    /// Entries that were applied, for the roles that wait for one.
    pub replies: &'a mut VecDeque<gateway::Settled>,
}

/// Numbers batches and pieces of work, and remembers what waits for each.
#[derive(Default)]
pub(crate) struct Tokens {
    next: u64,
    stores: BTreeMap<u64, AfterStore>,
    works: BTreeMap<u64, AfterWork>,
}

/// What goes on once a batch is durable.
#[derive(Debug)]
pub(crate) enum AfterStore {
    /// Log entries up to this index.
    Log(u64),
    /// The agent's attestation with its claims and accumulators.
    Outbox(Box<Attested>),
    /// The artifacts of a reduction: now it may be voted for.
    Artifacts(Box<forgemesh_protocol::vote::ReductionVote>),
    /// A final job is in the books.
    Recorded(Box<Progress>),
    /// Nothing waits.
    Nothing,
}

/// What goes on once a piece of work ended.
#[derive(Debug)]
pub(crate) enum AfterWork {
    Shard(agent::Assignment),
    Opening { to: NodeId, job: JobId, attestation: forgemesh_protocol::hash::Hash },
    Check(forgemesh_protocol::hash::Hash),
    Reduction(Reduction),
    Load(Vec<forgemesh_protocol::hash::Hash>),
    Scrub,
}

/// A reduction under way, and what it is made from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reduction {
    pub job: JobId,
    pub stage: u64,
    pub set_aside: u64,
}

impl Context<'_> {
    /// Sends a message, to another node or to this one.
    pub fn send(&mut self, to: NodeId, message: Message) {
        if to == self.identity.node {
            self.inbox.push_back(message);
        } else {
            self.out.push(Output::Send { to, message });
        }
    }

    /// Submits a batch; `after` goes on when it is durable.
    pub fn store(&mut self, batch: Batch, after: AfterStore) {
        self.tokens.next += 1;
        let token = self.tokens.next;
        self.tokens.stores.insert(token, after);
        self.out.push(Output::Store { token, batch });
    }

    /// Starts a piece of work; `after` goes on when it ended.
    pub fn work(&mut self, work: Work, after: AfterWork) {
        self.tokens.next += 1;
        let ticket = self.tokens.next;
        self.tokens.works.insert(ticket, after);
        self.out.push(Output::Work { ticket, work });
    }
}

impl Core {
    /// A node with what it found on its disk; `capacity` and `backend` are the executor's.
    pub fn new(identity: Identity, recovered: Recovered, capacity: u64, backend: String) -> Core {
        let node = identity.node;
        let head = recovered.hub.as_ref().map(|(hub, _)| hub.chain(&identity.node));
        Core {
            agent: agent::AgentRole::new(head, recovered.outbox, capacity, backend),
            hub: recovered.hub.map(|(hub, found)| hub::HubRole::new(hub, found, node)),
            leader: recovered.leader,
            checker: checker::CheckerRole::default(),
            gateway: gateway::GatewayRole::default(),
            keeper: keeper::KeeperRole::new(),
            relay: relay::RelayRole::default(),
            tokens: Tokens::default(),
            identity,
        }
    }

    /// The one entrance: what follows from `input` at `now_ms` is appended to `out`.
    pub fn handle(&mut self, now: Now, input: Input, out: &mut Vec<Output>) {
        let (mut inbox, mut replies) = (VecDeque::new(), VecDeque::new());
        let Core { identity, leader, hub, agent, checker, gateway, keeper, relay, tokens } = self;
        let (node, leader) = (identity.node, *leader);
        let mut cx = Context { identity, leader, now, tokens, out, inbox: &mut inbox, replies: &mut replies };
        match input {
            Input::Request { token, request: Request::Queues } => {
                let mut queues = agent.queues();
                queues.extend(checker.queues());
                queues.extend(hub.iter().flat_map(hub::HubRole::queues));
                queues.extend(relay.queues());
                queues.push(Queue::new("node: batches being stored", cx.tokens.stores.len() as u64, STORES));
                cx.out.push(Output::Reply { token, reply: Reply::Queues(queues) });
            }
            Input::Request { token, request: Request::Available(available) } => {
                agent.make_available(*available);
                cx.out.push(Output::Reply { token, reply: Reply::Done });
            }
            Input::Request { token, request: Request::Status } => {
                let reply = Reply::Status(Box::new(status::Status {
                    node,
                    mesh: cx.identity.mesh,
                    leader,
                    up_ms: now.up_ms,
                    own: agent.standing(now),
                    hub: hub.as_ref().map(|hub| hub.standing(now)),
                }));
                cx.out.push(Output::Reply { token, reply });
            }
            Input::Request { token, request: Request::Ask(body) } => relay.ask(&mut cx, token, body),
            Input::Request { token, request: Request::Answer { to, number, answer } } => {
                cx.send(to, Message::Answer { number, answer });
                cx.out.push(Output::Reply { token, reply: Reply::Done });
            }
            Input::Message { from, message: Message::Answer { number, answer } } if from == leader => {
                relay.answered(&mut cx, number, *answer);
            }
            Input::Request { token, request } => gateway.asked(&mut cx, hub.as_mut(), token, request),
            Input::Message { from, message } => {
                deliver(&mut cx, hub.as_mut(), agent, checker, from, message);
            }
            Input::Stored { token } => {
                if let Some(after) = cx.tokens.stores.remove(&token) {
                    stored(&mut cx, hub.as_mut(), agent, after);
                }
            }
            Input::Worked { ticket, done } => match cx.tokens.works.remove(&ticket) {
                Some(AfterWork::Scrub) => keeper.scrubbed(&mut cx, done),
                Some(after) => worked(&mut cx, hub.as_mut(), agent, checker, after, done),
                None => {}
            },
            Input::DiskLow(low) => {
                // What the hub has accepted it finishes in what is left; shards can be executed elsewhere.
                agent.disk_low(low && node != leader);
                hub.iter_mut().for_each(|hub| hub.disk_low(low));
            }
            Input::Tick => {}
        }
        loop {
            while let Some(message) = cx.inbox.pop_front() {
                deliver(&mut cx, hub.as_mut(), agent, checker, node, message);
            }
            while let Some(settled) = cx.replies.pop_front() {
                gateway.settled(&mut cx, settled);
            }
            agent.advance(&mut cx);
            checker.advance(&mut cx);
            keeper.advance(&mut cx);
            relay.advance(&mut cx);
            if let Some(hub) = hub {
                hub.advance(&mut cx);
            }
            if cx.inbox.is_empty() && cx.replies.is_empty() {
                break;
            }
        }
    }

    /// In how many milliseconds `handle` wants a tick even if nothing happens.
    pub fn next_deadline(&self, now: Now) -> u64 {
        let hub = self.hub.as_ref().map_or(u64::MAX, |hub| hub.next_deadline(now));
        hub.min(self.agent.next_deadline(now))
            .min(self.checker.next_deadline(now))
            .min(self.keeper.next_deadline(now))
            .min(self.relay.next_deadline(now))
    }

    /// The replicated state, for readers; none in a node that is no hub member.
    pub fn hub(&self) -> Option<&Hub> {
        self.hub.as_ref().map(hub::HubRole::machine)
    }

    /// Lends the mesh so much of this node from now on.
    pub fn make_available(&mut self, available: Availability) {
        self.agent.make_available(available);
    }

    /// The mesh the node belongs to.
    pub fn mesh(&self) -> MeshId {
        self.identity.mesh
    }
}

fn stored(
    cx: &mut Context<'_>,
    hub: Option<&mut hub::HubRole>,
    agent: &mut agent::AgentRole,
    after: AfterStore,
) {
    match (after, hub) {
        (AfterStore::Outbox(attested), _) => agent.stored(cx, *attested),
        (AfterStore::Log(index), Some(hub)) => hub.durable(cx, index),
        (AfterStore::Artifacts(vote), Some(hub)) => hub.vote(cx, *vote),
        (AfterStore::Recorded(progress), Some(hub)) => hub.recorded(cx, *progress),
        (AfterStore::Nothing, _) | (_, None) => {}
    }
}

fn worked(
    cx: &mut Context<'_>,
    hub: Option<&mut hub::HubRole>,
    agent: &mut agent::AgentRole,
    checker: &mut checker::CheckerRole,
    after: AfterWork,
    done: Done,
) {
    match (after, hub) {
        (AfterWork::Shard(assignment), _) => agent.ran(cx, assignment, done),
        (AfterWork::Opening { to, job, attestation }, _) => agent.opened(cx, to, job, attestation, done),
        (AfterWork::Check(attestation), _) => checker.checked(cx, attestation, done),
        (AfterWork::Reduction(reduction), Some(hub)) => hub.reduced(cx, reduction, done),
        (AfterWork::Load(blobs), _) => agent.loaded(cx, blobs, done),
        (AfterWork::Scrub | AfterWork::Reduction(_), _) => {}
    }
}

fn deliver(
    cx: &mut Context<'_>,
    hub: Option<&mut hub::HubRole>,
    agent: &mut agent::AgentRole,
    checker: &mut checker::CheckerRole,
    from: NodeId,
    message: Message,
) {
    match (message, hub) {
        (Message::Lease(offer), _) if from == cx.leader => agent.leased(cx, *offer),
        (Message::Recall(holding), _) if from == cx.leader => agent.recalled(&holding),
        (Message::Over { job }, _) if from == cx.leader => {
            agent.over(&job);
            checker.over(&job);
        }
        (Message::Logged { seq, digest }, _) if from == cx.leader => {
            agent.logged(cx, ChainHead { seq, digest });
        }
        (Message::Fetch { blobs }, _) if from == cx.leader => agent.fetch(cx, blobs),
        (Message::Check(challenge), _) if from == cx.leader => checker.challenged(cx, from, *challenge),
        // The leader is the only checker.
        (Message::Open(challenge), _) if from == cx.leader => agent.open(cx, from, *challenge),
        (Message::Opened { job, attestation, openings }, _) => {
            checker.opened(cx, from, job, attestation, openings);
        }
        (Message::Hello(hello), Some(hub)) => hub.heard(cx, from, &hello),
        (Message::ShardFailed { job, stage, shard, attempt: _, detail }, Some(hub)) => {
            hub.shard_failed(cx, from, job, stage, shard, detail);
        }
        (Message::Attest(attested), Some(hub)) => hub.attested(cx, from, *attested),
        (Message::Blob { bytes }, Some(hub)) => hub.blob(cx, bytes),
        (Message::NoBlob { blob }, Some(hub)) => hub.no_blob(&from, &blob),
        (Message::Judge(verdict), Some(hub)) => hub.judged(cx, *verdict),
        (Message::Join(join), Some(hub)) => hub.join(cx, from, *join),
        (Message::Ask { number, body }, Some(hub)) if hub.machine().admits(&from) => {
            cx.out.push(Output::Asked(Asked { from, number, body }));
        }
        // For another role than this node has, or from somebody who may not say so.
        _ => {}
    }
}
