//! What this node knows of who sits in the hub. Every node follows it: who sits by the log, all others by what a member
//! tells them and a chain of charters shows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use forgemesh_consensus::machine::Hub;
use forgemesh_protocol::canon;
use forgemesh_protocol::charter::{Charters, Seating};
use forgemesh_protocol::genesis::HubMember;
use forgemesh_protocol::id::NodeId;
use forgemesh_protocol::limits;
use forgemesh_protocol::wire::Message;
use forgemesh_storage::{Batch, MetaKey};

use super::{AfterStore, Context, Output};

/// The newest seating that this node has heard of.
pub(crate) struct SeatingRole {
    charters: Charters,
    seating: Seating,
    members: Arc<[NodeId]>,
    /// This node's key and beacon chain, if it may sit, whether it does, and whether it was ever admitted.
    own: Option<HubMember>,
    sits: bool,
    keeps: bool,
    /// When the leader was last heard, and when others were last asked who sits.
    heard_ms: u64,
    asked_ms: u64,
    /// When each node was last told who sits.
    answered: BTreeMap<NodeId, u64>,
}

impl SeatingRole {
    /// `own`: this node's key and beacon chain, if it may sit.
    pub fn new(charters: Charters, seating: Seating, own: Option<HubMember>) -> SeatingRole {
        let members = seating.seated.as_slice().into();
        let sits = own.as_ref().is_some_and(|own| seating.seated.contains(&own.key.id()));
        let keeps = own.as_ref().is_some_and(|own| charters.member(&own.key).is_some());
        let answered = BTreeMap::new();
        SeatingRole { members, charters, seating, own, sits, keeps, heard_ms: 0, asked_ms: 0, answered }
    }

    /// Who sits.
    pub fn members(&self) -> Arc<[NodeId]> {
        Arc::clone(&self.members)
    }

    /// The charters they sit by.
    pub fn charters(&self) -> &Charters {
        &self.charters
    }

    /// The newest seating.
    pub fn seating(&self) -> &Seating {
        &self.seating
    }

    /// What a hello says of a node that would sit and does not.
    pub fn candidacy(&self) -> Option<&HubMember> {
        self.own.as_ref().filter(|_| !self.sits)
    }

    /// Was this node ever admitted, so that it keeps what receipts stand on?
    pub fn keeps(&self) -> bool {
        self.keeps
    }

    /// May this node take part in the hub's log? Who sits, whoever is admitted now, and whom a quorum wants to be. Not who was
    /// dismissed: whatever it says of a later term would count.
    pub fn may_replicate(&self, node: &NodeId, hub: Option<&Hub>) -> bool {
        let wanted = || hub.and_then(Hub::agreed).is_some_and(|charter| charter.node(node).is_some());
        self.members.contains(node) || self.charters.current().node(node).is_some() || wanted()
    }

    /// A node says who sits now. True if that is news. What is signed, a chain of charters that goes on from the one known
    /// here, shows itself. Who sits under a charter is heard from whom it admits, but not by who sits and follows a leader:
    /// its own log says better.
    pub fn told(&mut self, cx: &mut Context<'_>, from: &NodeId, told: Seating) -> bool {
        if told.number <= self.seating.number || told.number - self.seating.number > limits::SEATINGS {
            return false;
        }
        let Ok(charters) = told.charters(self.charters.genesis().clone()) else { return false };
        let extends = charters.amendments().starts_with(self.charters.amendments());
        let newer = charters.current().version > self.charters.current().version;
        let led = cx.sits() && cx.leader.is_some() && cx.now.up_ms < self.heard_ms + limits::SEAT_SILENCE_MS;
        if !extends || (led && !newer) || charters.current().node(from).is_none() {
            return false;
        }
        self.adopt(cx, charters, told, true);
        true
    }

    /// This member's own log may say more. True if that is news.
    pub fn follow(&mut self, cx: &mut Context<'_>, hub: &Hub) -> bool {
        let found = &hub.state().seating;
        let news = found.number > self.seating.number;
        if news {
            self.adopt(cx, hub.charters().clone(), found.clone(), false);
        }
        news
    }

    fn adopt(&mut self, cx: &mut Context<'_>, charters: Charters, seating: Seating, told: bool) {
        let mut batch = Batch::new();
        batch.put_meta(MetaKey::Seating, canon::to_bytes(&seating));
        cx.store(batch, AfterStore::Nothing);
        cx.out.push(Output::Seated { charters: Arc::new(charters.clone()), seating: seating.clone(), told });
        let (heard_ms, asked_ms) = (self.heard_ms, self.asked_ms);
        let answered = std::mem::take(&mut self.answered);
        let new = SeatingRole::new(charters, seating, self.own.take());
        *self = SeatingRole { heard_ms, asked_ms, answered, ..new };
    }

    /// A node knows of so many changes: it is told of later ones, now and then, or asked.
    pub fn compare(&mut self, cx: &mut Context<'_>, node: NodeId, known: u64) {
        let due = |at_ms: &u64| cx.now.up_ms >= at_ms + limits::RETRY_MS;
        if known == self.seating.number
            || node == cx.identity.node
            || !self.answered.get(&node).is_none_or(due)
        {
            return;
        }
        if self.answered.len() >= limits::AGENTS {
            self.answered.clear();
        }
        self.answered.insert(node, cx.now.up_ms);
        let message = match known < self.seating.number {
            true => Message::Seating(Box::new(self.seating.clone())),
            false => Message::WhoSits { known: self.seating.number },
        };
        cx.send(node, message);
    }

    /// The leader gave a sign of life.
    pub fn heard_leader(&mut self, up_ms: u64) {
        self.heard_ms = up_ms;
    }

    /// Asks who sits, if nothing is heard of a leader: perhaps nobody whom this node knows sits any more.
    pub fn advance(&mut self, cx: &mut Context<'_>) {
        let own = cx.identity.node;
        if cx.leader == Some(own) {
            self.heard_ms = cx.now.up_ms;
        }
        if cx.now.up_ms < self.due_ms() {
            return;
        }
        self.asked_ms = cx.now.up_ms;
        let ever = self.charters.ever().map(|member| member.key.id());
        let asked: BTreeSet<NodeId> = ever.filter(|node| *node != own).collect();
        asked.into_iter().for_each(|node| cx.send(node, Message::WhoSits { known: cx.seating }));
    }

    fn due_ms(&self) -> u64 {
        (self.heard_ms + limits::SEAT_SILENCE_MS).max(self.asked_ms + limits::SEAT_RETRY_MS)
    }

    /// In how many milliseconds somebody is to be asked.
    pub fn next_deadline(&self, up_ms: u64) -> u64 {
        self.due_ms().saturating_sub(up_ms)
    }
}
