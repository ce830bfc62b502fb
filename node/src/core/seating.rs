//! What this node knows of who sits in the hub. Every node follows it: who sits by the log, all others by what a member
//! tells them and a chain of charters shows.

use std::collections::BTreeSet;
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
    /// This node's key and beacon chain, if it may sit.
    own: Option<HubMember>,
    /// When the leader was last heard, and when others were last asked who sits.
    heard_ms: u64,
    asked_ms: u64,
}

impl SeatingRole {
    /// `own`: this node's key and beacon chain, if it may sit.
    pub fn new(charters: Charters, seating: Seating, own: Option<HubMember>) -> SeatingRole {
        let members = seating.seated.as_slice().into();
        SeatingRole { members, charters, seating, own, heard_ms: 0, asked_ms: 0 }
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
        self.own.as_ref().filter(|own| !self.members.contains(&own.key.id()))
    }

    /// May this node take part in the hub's log? Whoever was admitted once, and whom a quorum wants to be.
    pub fn may_replicate(&self, node: &NodeId, hub: Option<&Hub>) -> bool {
        let wanted = hub.and_then(Hub::agreed).is_some_and(|charter| charter.node(node).is_some());
        wanted || self.members.contains(node) || self.charters.ever().any(|member| member.key.id() == *node)
    }

    /// A node says who sits now. True if that is news; only whom the charter in force here admits is heard.
    pub fn told(&mut self, cx: &mut Context<'_>, from: &NodeId, told: Seating) -> bool {
        let known = self.members.contains(from) || self.charters.current().node(from).is_some();
        if told.number <= self.seating.number || !known {
            return false;
        }
        let Ok(charters) = told.charters(self.charters.genesis().clone()) else { return false };
        if charters.current().version < self.charters.current().version {
            return false;
        }
        self.adopt(cx, charters, told);
        true
    }

    /// This member's own log may say more. True if that is news.
    pub fn follow(&mut self, cx: &mut Context<'_>, hub: &Hub) -> bool {
        let found = &hub.state().seating;
        let news = found.number > self.seating.number;
        if news {
            self.adopt(cx, hub.charters().clone(), found.clone());
        }
        news
    }

    fn adopt(&mut self, cx: &mut Context<'_>, charters: Charters, seating: Seating) {
        let mut batch = Batch::new();
        batch.put_meta(MetaKey::Seating, canon::to_bytes(&seating));
        cx.store(batch, AfterStore::Nothing);
        cx.out.push(Output::Seated(Arc::new(charters.clone()), seating.clone()));
        let (heard_ms, asked_ms) = (self.heard_ms, self.asked_ms);
        *self = SeatingRole { heard_ms, asked_ms, ..SeatingRole::new(charters, seating, self.own.take()) };
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
