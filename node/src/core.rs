//! The node's logic, without a socket, a thread, a file or a clock: `handle` takes an input and says what is to be
//! done. Everything a node does is one of the outputs, so it can be logged, compared and replayed.
//!
//! One node plays up to four roles here: gateway, hub, agent, checker. They speak to each other only in messages;
//! a message of the node to itself takes the same way but for the wire.

mod after;
pub mod agent;
pub mod archive;
pub mod artifacts;
pub mod availability;
pub mod beacon;
pub(crate) mod books;
pub mod checker;
mod client;
mod context;
mod deliver;
mod fetcher;
pub mod gateway;
pub mod hub;
pub mod idleness;
mod input;
mod intake;
mod keeper;
mod leader;
mod leases;
mod patience;
pub mod placement;
mod reach;
mod reads;
mod relay;
mod roster;
mod scheduler;
mod seating;
pub mod status;
mod vouching;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use forgemesh_consensus::command::Command;
use forgemesh_consensus::machine::Hub;
pub use forgemesh_consensus::machine::Rejected;
use forgemesh_protocol::charter::{Charters, Seating};
use forgemesh_protocol::genesis::HubMember;
use forgemesh_protocol::id::{MeshId, NodeId};
use forgemesh_protocol::keys::SecretKey;
use forgemesh_protocol::wire::{Attested, Message};
use forgemesh_storage::Batch;

use crate::ports::Work;
use after::{AfterStore, AfterWork};
use availability::Availability;
pub(crate) use context::{Context, Entered, Reduction, Tokens};
use deliver::{deliver, stored, worked};
use leader::Leader;
use reach::Reach;

pub use client::{Asked, EnrolmentCommand, Progress, Queue, Reply, Request};
pub use input::Input;
pub use vouching::EXPELLED;

/// The two clocks of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds since 1970, as the machine's clock says: it may jump either way.
    pub wall_ms: u64,
    /// Milliseconds since the node's start: only ever forward.
    pub up_ms: u64,
}

/// What a node does.
#[derive(Debug)]
pub enum Output {
    /// Answer a client.
    Reply { token: u64, reply: Reply },
    /// Send a message to another node.
    Send { to: NodeId, message: Message },
    /// Tell all nodes of the mesh.
    Announce(Message),
    /// Have the hub's log take a command, if this node leads it.
    Propose(Command),
    /// Make sure that this node still leads.
    Confirm { token: u64 },
    /// The state after this entry of the log stands for all of it so far.
    Snapshot { index: u64, state: Vec<u8> },
    /// Make a batch durable; one that is not urgent may wait a few milliseconds for others.
    Store { token: u64, batch: Batch, urgent: bool },
    /// Compute something.
    Work { ticket: u64, work: Work },
    /// Tell observers how a job stands.
    Progress(Progress),
    /// Another node asks something of this hub member, for a client of its own.
    Asked(Asked),
    /// Make these nodes the members of the hub's log, with and without a vote; this node leads it.
    /// Without voters those who vote go on.
    Reseat { voters: Option<BTreeSet<NodeId>>, learners: BTreeSet<NodeId> },
    /// Say that this node has these artifacts, where others look for them.
    Provide(Vec<forgemesh_protocol::hash::Hash>),
    /// Look there for an artifact.
    Seek(forgemesh_protocol::hash::Hash),
    /// Tell the network that a connected node belongs to the mesh, or does not.
    Vouch { node: NodeId, belongs: bool },
    /// Tell observers that others sit in the hub; `told`: another node said so, not this one's own log.
    Seated { charters: Arc<Charters>, seating: Seating, told: bool },
    /// End: this node cannot follow the hub's log any further.
    Halt(hub::Halted),
}

/// Who this node is and what it may do.
pub struct Identity {
    pub secret: SecretKey,
    pub node: NodeId,
    pub mesh: MeshId,
}

/// What a restarted node finds on its disk.
pub struct Recovered {
    /// Who may sit in the hub, and who does, as far as this node has heard.
    pub charters: Charters,
    pub seating: Seating,
    /// This node's key and beacon chain, if it may sit there.
    pub candidacy: Option<HubMember>,
    /// Where the books on the disk end.
    pub ledger: archive::LedgerEnd,
    /// The machine of who may sit in the hub, with the log that is here applied, and what is found beside it.
    pub hub: Option<(Hub, hub::Found)>,
    /// The agent's own attestations that are kept, oldest first.
    pub outbox: Vec<Attested>,
}

/// Batches that may be on their way to the disk at once; a bound that only a fault of this program can reach.
const STORES: u64 = 65_536;

/// What a node may do within one step: messages to itself, and rounds, of which each counts as many; likewise.
const STEP: u32 = 1 << 20;
const ROUND: u32 = 1 << 10;

/// The node.
pub struct Core {
    identity: Identity,
    seating: seating::SeatingRole,
    leader: Leader,
    reach: Reach,
    /// None in a node that may not sit in the hub. It rests in one that could and does not.
    hub: Option<hub::HubRole>,
    agent: agent::AgentRole,
    checker: checker::CheckerRole,
    gateway: gateway::GatewayRole,
    keeper: keeper::KeeperRole,
    archive: archive::ArchiveRole,
    relay: relay::RelayRole,
    reads: reads::ReadsRole,
    vouching: vouching::VouchingRole,
    artifacts: artifacts::ArtifactsRole,
    tokens: Tokens,
}

impl Core {
    /// A node with what it found on its disk; `capacity` and `backend` are the executor's.
    pub fn new(identity: Identity, recovered: Recovered, capacity: u64, backend: String) -> Core {
        let node = identity.node;
        let known = recovered.hub.as_ref().map_or(0, |(hub, _)| hub.state().ledger_len);
        let sits = recovered.seating.seated.contains(&node);
        let head = recovered.hub.as_ref().filter(|_| sits).map(|(hub, _)| hub.chain(&identity.node));
        Core {
            agent: agent::AgentRole::new(head, recovered.outbox, capacity, backend),
            hub: recovered
                .hub
                .map(|(hub, found)| hub::HubRole::new(hub, found, node, recovered.charters.clone())),
            archive: archive::ArchiveRole::new(recovered.charters.clone(), recovered.ledger, known),
            vouching: vouching::VouchingRole::new(&recovered.charters),
            seating: seating::SeatingRole::new(recovered.charters, recovered.seating, recovered.candidacy),
            leader: Leader::default(),
            reach: Reach::default(),
            checker: checker::CheckerRole::default(),
            gateway: gateway::GatewayRole::default(),
            keeper: keeper::KeeperRole::new(),
            relay: relay::RelayRole::default(),
            reads: reads::ReadsRole::default(),
            artifacts: artifacts::ArtifactsRole::default(),
            tokens: Tokens::default(),
            identity,
        }
    }

    /// The one entrance: what follows from `input` at `now_ms` is appended to `out`.
    pub fn handle(&mut self, now: Now, input: Input, out: &mut Vec<Output>) {
        let (mut inbox, mut replies) = (VecDeque::new(), VecDeque::new());
        let Core { identity, seating, leader, reach, hub, agent, checker, gateway, .. } = self;
        let Core { keeper, archive, relay, reads, vouching, artifacts, tokens, .. } = self;
        let (node, now_led) = (identity.node, leader.node);
        let (inbox, replies, finished) = (&mut inbox, &mut replies, &mut Vec::new());
        let mut back = None;
        match &input {
            // These come by way of others.
            Input::Message { message: Message::Announced { .. } | Message::At { .. }, .. } => {}
            Input::Message { from: node, .. } | Input::Heard { from: node } | Input::Met { node } => {
                back = reach.met(node).then_some(*node);
            }
            Input::Parted { node: other } if *other != node => reach.parted(*other, now.up_ms),
            _ => {}
        }
        let gone = reach.tick(now.up_ms);
        let mut cx = Context {
            identity,
            members: seating.members(),
            seating: seating.seating().number,
            keeps: seating.keeps(),
            candidacy: seating.candidacy().cloned(),
            leader: now_led,
            reach,
            now,
            tokens,
            out,
            inbox,
            finished,
            replies,
        };
        hub.iter_mut().for_each(|hub| hub.reach(&gone, back.as_ref(), now.up_ms));
        let (mut reseated, mut followed) = (false, Ok(()));
        match input {
            Input::Request { token, request: Request::Queues } => {
                let mut queues = agent.queues();
                queues.extend(checker.queues());
                queues.extend(gateway.queues());
                queues.extend(archive.queues());
                queues.extend(hub.iter().flat_map(hub::HubRole::queues));
                queues.extend(relay.queues());
                queues.extend(reads.queues());
                queues.extend(artifacts.queues());
                queues.extend(vouching.queues());
                queues.push(Queue::new("node: batches being stored", cx.tokens.stores.len() as u64, STORES));
                cx.out.push(Output::Reply { token, reply: Reply::Queues(queues) });
            }
            Input::Message { from, message: Message::Answered { request, refused } } => {
                // Whoever led when it was asked says what has become of it.
                if cx.members.contains(&from) {
                    gateway.answered(&mut cx, request, refused);
                }
            }
            Input::Message { from, message: Message::Bring { job } } => {
                if cx.members.contains(&from) {
                    gateway.bring(&mut cx, from, job);
                }
            }
            Input::Request { token, request: Request::Available(available) } => {
                agent.make_available(*available);
                cx.out.push(Output::Reply { token, reply: Reply::Done });
            }
            Input::Request { token, request: Request::Status } => {
                let reply = Reply::Status(Box::new(status::Status {
                    node,
                    mesh: cx.identity.mesh,
                    leader: cx.leader,
                    up_ms: now.up_ms,
                    expelled: vouching.is_expelled(),
                    books: archive.entries(),
                    own: agent.standing(now),
                    hub: hub.as_ref().filter(|_| cx.sits()).map(|hub| hub.standing(now)),
                }));
                cx.out.push(Output::Reply { token, reply });
            }
            Input::Request { token, request: Request::Current } => reads.ask(&mut cx, token),
            Input::Request { token, request: Request::PutArtifact(outlined) } => {
                artifacts.put(&mut cx, token, outlined);
            }
            Input::Request { token, request: Request::PutPiece { artifact, index, bytes } } => {
                artifacts.put_piece(&mut cx, token, artifact, index, bytes);
            }
            Input::Request { token, request: Request::Artifact { artifact, bytes } } => {
                artifacts.want(&mut cx, token, artifact, bytes);
            }
            Input::Request { token, request: Request::Collect { dry } } => {
                artifacts.collect(&mut cx, token, dry);
            }
            Input::Request { token, request: Request::Ask(body) } => {
                relay.ask(&mut cx, token, body, vouching.is_expelled());
            }
            Input::Request { token, request: Request::Answer { to, number, answer } } => {
                cx.send(to, Message::Answer { number, answer });
                cx.out.push(Output::Reply { token, reply: Reply::Done });
            }
            Input::Message { from, message: Message::Answer { number, answer } }
                if cx.leader == Some(from) =>
            {
                relay.answered(&mut cx, number, *answer);
            }
            Input::Request { token, request } => {
                let hub = hub.as_mut().filter(|_| cx.sits());
                gateway.asked(&mut cx, hub, token, request);
            }
            Input::Message { from, message: Message::Seating(told) } => {
                reseated = seating.told(&mut cx, &from, *told);
            }
            Input::Message { from, message: Message::Belongs { node } } => {
                let hub = hub.as_ref().filter(|hub| cx.sits() && hub.machine().admits(&from));
                hub.into_iter().for_each(|hub| vouching.asked(&mut cx, hub, from, node));
            }
            Input::Message { from, message: Message::Belonging { node, belongs } } => {
                if cx.members.contains(&from) {
                    vouching.answered(&mut cx, from, node, belongs);
                }
            }
            Input::Message { from, message: Message::Led { term, books } } if cx.members.contains(&from) => {
                vouching.heard_leader();
                archive.told(books);
                seating.heard_leader(now.up_ms);
                if leader.follow(term, Some(from)) {
                    cx.leader = Some(from);
                    gateway.led();
                    reads.led();
                }
                if cx.leader == Some(from) {
                    agent.led_by(term);
                }
            }
            Input::Message { from, message: Message::Books { from: entry } } => {
                // Who sits may have them of anybody.
                let theirs = || hub.as_ref().is_some_and(|hub| cx.sits() && hub.machine().admits(&from));
                if cx.members.contains(&from) || theirs() {
                    archive.lend(&mut cx, from, entry);
                }
            }
            Input::Message { from, message: Message::Book { file } } => {
                archive.arrived(&mut cx, from, &file);
            }
            Input::Message {
                from,
                message: Message::Outline { .. } | Message::Piece { .. } | Message::Where { .. },
            } if !vouching.serves(&from) => {}
            Input::Message { from, message } => {
                let known = match &message {
                    Message::Hello(hello) => Some(hello.seating),
                    Message::WhoSits { known } => Some(*known),
                    _ => None,
                };
                known.into_iter().for_each(|known| seating.compare(&mut cx, from, known));
                if let Some(message) = artifacts.message(&mut cx, from, message) {
                    deliver(&mut cx, hub.as_mut(), agent, checker, reads, from, message);
                }
            }
            Input::Heard { from } => {
                if cx.leader == Some(from) {
                    seating.heard_leader(now.up_ms);
                }
                hub.iter_mut().for_each(|hub| hub.heard_member(from, now.up_ms));
            }
            Input::Reseated { done } => hub.iter_mut().for_each(|hub| hub.reseated(&mut cx, done)),
            Input::Committed(entries) => {
                vouching.committed(&entries);
                let mut hub = hub.iter_mut();
                followed = hub.try_for_each(|hub| hub.committed(&mut cx, &entries));
            }
            Input::Led { term, leader: node } => {
                seating.heard_leader(now.up_ms);
                if leader.follow(term, node) {
                    cx.leader = node;
                    agent.led();
                    gateway.led();
                    reads.led();
                }
                hub.iter_mut().for_each(|hub| hub.led(&mut cx, term, node));
            }
            Input::Confirmed { token, next } => reads.confirmed(&mut cx, token, next),
            Input::Restored { state } => {
                vouching.changed();
                followed = hub.iter_mut().try_for_each(|hub| hub.restored(&mut cx, &state));
                hub.iter().for_each(|hub| archive.told(hub.machine().state().ledger_len));
            }
            Input::Stored { token } => {
                if let Some(AfterStore::Artifact(written)) = cx.tokens.stores.get(&token) {
                    let written = *written;
                    cx.tokens.stores.remove(&token);
                    artifacts.stored(&mut cx, written);
                } else if let Some(after) = cx.tokens.stores.remove(&token) {
                    if let AfterStore::Collected { .. } = &after {
                        artifacts.removed();
                    }
                    stored(&mut cx, hub.as_mut(), agent, after);
                }
            }
            Input::Worked { ticket, done } => match cx.tokens.works.remove(&ticket) {
                Some(AfterWork::Books { to }) => archive.read(&mut cx, to, done),
                Some(AfterWork::Artifact(step)) => artifacts.worked(&mut cx, step, done),
                Some(AfterWork::Scrub) => keeper.scrubbed(&mut cx, done),
                Some(after) => worked(&mut cx, hub.as_mut(), agent, checker, after, done),
                None => {}
            },
            Input::DiskLow(low) => {
                // What the hub has accepted it finishes in what is left; shards can be executed elsewhere.
                artifacts.disk_low(low);
                agent.disk_low(low && cx.leader != Some(node));
                hub.iter_mut().for_each(|hub| hub.disk_low(low));
            }
            Input::Met { node } => vouching.met(node),
            Input::Parted { node } => vouching.parted(&node),
            Input::Tick => {}
        }
        if let Err(halted) = followed {
            return cx.out.push(Output::Halt(halted));
        }
        reseated |= hub.as_ref().is_some_and(|hub| seating.follow(&mut cx, hub.machine()));
        if reseated {
            archive.follow(seating.charters());
            hub.iter_mut().for_each(|hub| hub.know(seating.charters()));
            (cx.members, cx.seating) = (seating.members(), seating.seating().number);
            cx.keeps = seating.keeps();
            cx.candidacy = seating.candidacy().cloned();
        }
        let mut left = STEP;
        loop {
            while left > 0
                && let Some(message) = cx.inbox.pop_front()
            {
                left -= 1;
                if let Some(message) = artifacts.message(&mut cx, node, message) {
                    deliver(&mut cx, hub.as_mut(), agent, checker, reads, node, message);
                }
            }
            for entered in std::mem::take(cx.finished) {
                let ready = match entered {
                    Entered::Final { finished, batch, after } => archive.enter(&finished, batch, after),
                    Entered::Signed { file, progress } => {
                        archive.signed(&file, progress).into_iter().collect()
                    }
                };
                ready.into_iter().for_each(|(batch, after)| cx.store(batch, after));
            }
            let own = hub.as_ref().map(|hub| archive::LedgerEnd::of(hub.machine().state()));
            if let Some(entries) = archive.contradicted(own) {
                return cx.out.push(Output::Halt(hub::Halted::Books(entries)));
            }
            while let Some(settled) = cx.replies.pop_front() {
                gateway.settled(&mut cx, settled);
            }
            let signed = || hub.as_ref().map_or(u64::MAX, hub::HubRole::first_unsigned);
            agent.advance(&mut cx, || archive.entries().min(signed()));
            checker.advance(&mut cx);
            if vouching.is_out(now) {
                gateway.turned_away(&mut cx);
                relay.turned_away(&mut cx);
            }
            gateway.advance(&mut cx);
            keeper.advance(&mut cx);
            archive.advance(&mut cx, hub.as_ref());
            relay.advance(&mut cx);
            seating.advance(&mut cx);
            artifacts.advance(&mut cx, hub.as_ref());
            if let Some(hub) = hub {
                hub.advance(&mut cx);
            }
            reads.advance(&mut cx, hub.as_ref(), archive);
            vouching.advance(&mut cx, hub.as_ref());
            if cx.inbox.is_empty() && cx.replies.is_empty() && cx.finished.is_empty() {
                break;
            }
            left = left.saturating_sub(ROUND);
            if left == 0 {
                debug_assert!(false, "a node goes on talking to itself");
                return cx.out.push(Output::Halt(hub::Halted::Endless));
            }
        }
    }

    /// In how many milliseconds `handle` wants a tick even if nothing happens.
    pub fn next_deadline(&self, now: Now) -> u64 {
        let hub = self.hub.as_ref().map_or(u64::MAX, |hub| hub.next_deadline(now));
        hub.min(self.agent.next_deadline(now))
            .min(self.reach.next_deadline(now.up_ms))
            .min(self.checker.next_deadline(now))
            .min(self.gateway.next_deadline(now))
            .min(self.keeper.next_deadline(now))
            .min(self.archive.next_deadline(now))
            .min(self.relay.next_deadline(now))
            .min(self.reads.next_deadline(now))
            .min(self.artifacts.next_deadline(now))
            .min(self.vouching.next_deadline(now))
            .min(self.seating.next_deadline(now.up_ms))
    }

    /// The replicated state, for readers; none in a node that is no hub member.
    pub fn hub(&self) -> Option<&Hub> {
        self.hub.as_ref().map(hub::HubRole::machine)
    }

    /// Lends the mesh so much of this node from now on.
    pub fn make_available(&mut self, available: Availability) {
        self.agent.make_available(available);
    }

    /// May this node send messages of the hub's log?
    pub fn may_replicate(&self, node: &NodeId) -> bool {
        self.seating.may_replicate(node, self.hub())
    }

    /// Who sits in the hub, as far as this node has heard, and by which charters.
    pub fn seating(&self) -> (&Charters, &Seating) {
        (self.seating.charters(), self.seating.seating())
    }

    /// The node's id.
    pub fn node(&self) -> NodeId {
        self.identity.node
    }

    /// The mesh the node belongs to.
    pub fn mesh(&self) -> MeshId {
        self.identity.mesh
    }
}
