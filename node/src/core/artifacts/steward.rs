//! Whoever leads the hub sees to it that each artifact is kept on as many nodes as the mesh's parameters say.
//!
//! All that it knows is soft. It asks all nodes what they keep, a range of addresses at a time; once everybody has answered
//! who still lives, it has others keep what is kept too seldom. Whether there is a reason to keep it each node sees for
//! itself: a final job that its books name, or a wish that somebody has signed. Must never wait for a node that is gone, nor
//! for long for one that is there and does not say what it keeps, or says it a bit at a time.

use std::collections::{BTreeMap, BTreeSet};

use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::NodeId;
use forgemesh_protocol::limits;
use forgemesh_protocol::wire::{KeptPage, Message};

use crate::core::Context;
use crate::core::hub::HubRole;

/// How long whoever was told to keep an artifact is left alone with it, in milliseconds; then others are told.
const ALONE_MS: u64 = 600_000;

/// The answers for one range of addresses.
struct Round {
    begun_ms: u64,
    asked_ms: u64,
    pages: BTreeMap<NodeId, KeptPage>,
}

/// What the leader knows.
#[derive(Default)]
pub(super) struct Steward {
    leads: bool,
    /// The range after this address is asked about; none: from the first.
    after: Option<Hash>,
    round: Option<Round>,
    due_ms: u64,
    /// When each node was heard last.
    heard: BTreeMap<NodeId, u64>,
    /// Who lives and did not answer in time; nobody waits for them until they do.
    silent: BTreeSet<NodeId>,
    /// How many artifacts each node has named since the first range.
    named: BTreeMap<NodeId, usize>,
    /// Who has which artifact, by the last answers.
    holders: BTreeMap<Hash, Vec<NodeId>>,
}

impl Steward {
    /// A node looks for an artifact.
    pub fn asked(&self, cx: &mut Context<'_>, from: NodeId, artifact: Hash) {
        if self.leads {
            let nodes = self.holders.get(&artifact).cloned().unwrap_or_default();
            cx.send(from, Message::At { artifact, nodes });
        }
    }

    /// A node says what it keeps.
    pub fn told(&mut self, cx: &mut Context<'_>, from: NodeId, page: KeptPage) {
        let Some(round) = self.round.as_mut().filter(|_| page.after == self.after) else { return };
        if let (Some(heard_ms), true) = (self.heard.get_mut(&from), page.is_sound()) {
            *heard_ms = cx.now.up_ms;
            self.silent.remove(&from);
            for row in &page.artifacts {
                // Known at once; who has it no longer is found out at the end of the round.
                let room = self.holders.len() < limits::HOLDERS_KNOWN;
                match self.holders.get_mut(&row.artifact) {
                    Some(nodes) if nodes.len() < limits::FETCH_SOURCES && !nodes.contains(&from) => {
                        nodes.push(from);
                    }
                    None if room => drop(self.holders.insert(row.artifact, vec![from])),
                    _ => {}
                }
            }
            let named = self.named.entry(from).or_default();
            *named += page.artifacts.len();
            let page = if *named > limits::HOLDERS_KNOWN {
                // More than could be seen to; the others' turn comes.
                KeptPage { after: page.after, through: None, artifacts: Vec::new() }
            } else {
                page
            };
            round.pages.insert(from, page);
        }
    }

    /// Asks, and has more nodes keep what too few do.
    pub fn advance(&mut self, cx: &mut Context<'_>, hub: Option<&HubRole>) {
        let own = cx.identity.node;
        let Some(hub) = hub.filter(|_| cx.leader == Some(own)) else {
            *self = Steward::default();
            return;
        };
        let up_ms = cx.now.up_ms;
        if !self.leads {
            *self = Steward { leads: true, due_ms: up_ms + limits::STEWARD_MS, ..Steward::default() };
        }
        if up_ms < self.due_ms {
            return;
        }
        self.meet(cx, hub);
        let Some(round) = &mut self.round else {
            self.round = Some(Round { begun_ms: up_ms, asked_ms: up_ms, pages: BTreeMap::new() });
            self.heard.keys().for_each(|node| cx.send(*node, Message::Keeping { after: self.after }));
            self.due_ms = up_ms + limits::RETRY_MS;
            return;
        };
        let lives = |heard_ms: u64| up_ms < heard_ms + limits::HOLDER_LOST_MS;
        let waiting =
            self.heard.iter().filter(|(node, heard_ms)| lives(**heard_ms) && !round.pages.contains_key(node));
        let waiting = waiting.filter(|(node, _)| !self.silent.contains(node));
        let waiting: Vec<NodeId> = waiting.map(|(node, _)| *node).collect();
        let is_late = up_ms >= round.begun_ms + limits::HOLDER_LOST_MS;
        if waiting.is_empty() || is_late {
            // What they keep counts as lost, until they answer.
            self.silent.extend(waiting);
            return self.settle(cx, hub);
        }
        if up_ms >= round.asked_ms + limits::RETRY_MS {
            round.asked_ms = up_ms;
            waiting.into_iter().for_each(|node| cx.send(node, Message::Keeping { after: self.after }));
        }
        self.due_ms = up_ms + limits::RETRY_MS;
    }

    /// Notes who there is: the hub's members, and the agents that say hello.
    fn meet(&mut self, cx: &Context<'_>, hub: &HubRole) {
        let up_ms = cx.now.up_ms;
        for member in cx.members.iter() {
            self.heard.entry(*member).or_insert(up_ms);
        }
        for (node, heard_ms) in hub.agents().filter(|(node, _)| hub.machine().admits(node)) {
            let last_ms = self.heard.entry(node).or_insert(heard_ms);
            *last_ms = heard_ms.max(*last_ms);
        }
        self.heard.retain(|node, heard_ms| {
            cx.members.contains(node) || hub.machine().admits(node) && up_ms < *heard_ms + limits::FORGET_MS
        });
    }

    /// Everybody has answered, or had the time to.
    fn settle(&mut self, cx: &mut Context<'_>, hub: &HubRole) {
        let Some(Round { pages, .. }) = self.round.take() else { return };
        let through = pages.values().filter_map(|page| page.through).min();
        let mut found: BTreeMap<Hash, (Vec<NodeId>, bool)> = BTreeMap::new();
        for (node, page) in &pages {
            for row in page.artifacts.iter().filter(|row| through.is_none_or(|last| row.artifact <= last)) {
                // A stranger's wish binds nobody.
                let wanted = row.pinned_by.is_none_or(|pinned_by| hub.machine().admits(&pinned_by));
                let (nodes, any) = found.entry(row.artifact).or_default();
                nodes.push(*node);
                *any |= wanted;
            }
        }
        let copies = hub.machine().genesis().parameters.replication;
        let wanted = usize::try_from(copies).unwrap_or(usize::MAX).min(pages.len());
        for (artifact, (nodes, _)) in found.iter().filter(|(_, (nodes, any))| *any && nodes.len() < wanted) {
            let mut others: Vec<NodeId> =
                pages.keys().filter(|node| !nodes.contains(node)).copied().collect();
            let turn = cx.now.up_ms / ALONE_MS;
            others.sort_by_key(|node| rank(artifact, node, turn));
            for other in others.into_iter().take(wanted - nodes.len()) {
                let sources = nodes.iter().take(limits::FETCH_SOURCES).copied().collect();
                cx.send(other, Message::Keep { artifact: *artifact, sources });
            }
        }
        let after = self.after;
        self.holders.retain(|artifact, _| {
            Some(*artifact) <= after || through.is_some_and(|through| *artifact > through)
        });
        for (artifact, (nodes, _)) in found {
            if self.holders.len() < limits::HOLDERS_KNOWN {
                self.holders.insert(artifact, nodes.into_iter().take(limits::FETCH_SOURCES).collect());
            }
        }
        self.after = through;
        if through.is_none() {
            self.named.clear();
        }
        // The next range at once, the first one again after a while.
        let pause_ms = if through.is_some() { 0 } else { limits::STEWARD_MS };
        self.due_ms = cx.now.up_ms + pause_ms;
    }

    /// When something is due.
    pub fn due_ms(&self) -> u64 {
        if self.leads { self.due_ms } else { u64::MAX }
    }
}

/// Which of the nodes keeps an artifact: whose rank is low. So each node has its share, and a node that comes or goes moves
/// little.
fn rank(artifact: &Hash, node: &NodeId, turn: u64) -> Hash {
    Hash::blob(&[&artifact.0[..], &node.0.0, &turn.to_le_bytes()].concat())
}
