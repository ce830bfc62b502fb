//! Which of the nodes at the other ends of this one's connections belong to the mesh, where not everybody may: who finds a
//! node in the hub's list knows, and for all others the leader is asked, who alone misses nothing.
//!
//! Who does not belong is served nothing here, and the network tells it nothing either. Must never hold a node that was
//! not asked about for one that does not belong.

use std::collections::BTreeMap;

use forgemesh_consensus::command::Command;
use forgemesh_consensus::raft::Committed;
use forgemesh_protocol::charter::Charters;
use forgemesh_protocol::id::NodeId;
use forgemesh_protocol::limits;
use forgemesh_protocol::wire::Message;

use super::hub::HubRole;
use super::{Context, Now, Output, Queue};

/// What the owner of a node is told whom the hub's leader does not find in its list.
pub const EXPELLED: &str = "this node does not belong to the mesh: it was expelled, or never admitted; ask the mesh's operators for a new ticket, and join with it in an empty data folder (FORGEMESH_HOME)";

/// A connected node.
#[derive(Default)]
struct Vouched {
    belongs: Option<bool>,
    /// The network has been told so, since the newest connection.
    is_told: bool,
    /// The leader has been asked, and has not answered.
    is_asked: bool,
    /// When to look or to ask again.
    due_ms: u64,
}

/// All of them.
pub(crate) struct VouchingRole {
    /// Everybody belongs: nothing is to be found out.
    is_open: bool,
    nodes: BTreeMap<NodeId, Vouched>,
    next_ms: u64,
    /// When the hub said last that this node itself does not belong; none if it has said who leads since.
    out_ms: Option<u64>,
}

impl VouchingRole {
    pub fn new(charters: &Charters) -> VouchingRole {
        let is_open = charters.genesis().parameters.open;
        VouchingRole { is_open, nodes: BTreeMap::new(), next_ms: u64::MAX, out_ms: None }
    }

    /// There is a connection to a node.
    pub fn met(&mut self, node: NodeId) {
        let has_room = self.nodes.len() < limits::PEERS || self.nodes.contains_key(&node);
        if !self.is_open && has_room {
            let vouched = self.nodes.entry(node).or_default();
            (vouched.is_told, vouched.due_ms) = (false, 0);
            self.next_ms = 0;
        }
    }

    /// There is none any more.
    pub fn parted(&mut self, node: &NodeId) {
        self.nodes.remove(node);
    }

    /// The list may be another.
    pub fn changed(&mut self) {
        self.nodes.values_mut().for_each(|vouched| vouched.due_ms = 0);
        self.next_ms = 0;
    }

    /// Entries of the hub's log may change the list.
    pub fn committed(&mut self, entries: &[Committed]) {
        let changes = |committed: &Committed| match committed {
            Committed::Entry(entry) => {
                matches!(entry.command, Command::Enrol { .. } | Command::Expel { .. } | Command::Seat { .. })
            }
            Committed::Other { .. } => false,
        };
        if entries.iter().any(changes) {
            self.changed();
        }
    }

    /// May it be served? Who is not known yet is asked about, and asks again.
    pub fn serves(&mut self, node: &NodeId) -> bool {
        if !self.is_open && !self.nodes.contains_key(node) {
            self.met(*node);
        }
        self.is_open || self.nodes.get(node).is_some_and(|vouched| vouched.belongs == Some(true))
    }

    /// Does the hub say, now, that this node does not belong?
    pub fn is_out(&self, now: Now) -> bool {
        self.out_ms.is_some_and(|out_ms| now.up_ms < out_ms + 2 * limits::VOUCH_AGAIN_MS)
    }

    /// Was that its last word? Who is out is kept out for most of the time, and hears nothing then.
    pub fn is_expelled(&self) -> bool {
        self.out_ms.is_some()
    }

    /// A member of the hub says who leads, which it says to those who belong.
    pub fn heard_leader(&mut self) {
        self.out_ms = None;
    }

    /// A member of the hub is asked about a node: the leader answers.
    pub fn asked(&self, cx: &mut Context<'_>, hub: &HubRole, from: NodeId, node: NodeId) {
        if hub.leads() {
            let belongs = hub.machine().admits(&node);
            cx.send(from, Message::Belonging { node, belongs });
        }
    }

    /// A member of the hub has answered.
    pub fn answered(&mut self, cx: &mut Context<'_>, from: NodeId, node: NodeId, belongs: bool) {
        if node == cx.identity.node && !belongs && !cx.sits() {
            self.out_ms = Some(cx.now.up_ms);
        } else if cx.leader == Some(from) && self.nodes.get(&node).is_some_and(|vouched| vouched.is_asked) {
            self.vouch(cx, node, belongs);
        }
    }

    fn vouch(&mut self, cx: &mut Context<'_>, node: NodeId, belongs: bool) {
        let Some(vouched) = self.nodes.get_mut(&node) else { return };
        let again_ms = if belongs { limits::VOUCH_MS } else { limits::VOUCH_AGAIN_MS };
        (vouched.due_ms, vouched.is_asked) = (cx.now.up_ms + again_ms, false);
        self.next_ms = self.next_ms.min(vouched.due_ms);
        let is_news = vouched.belongs.replace(belongs) != Some(belongs) || !vouched.is_told;
        if is_news {
            vouched.is_told = true;
            cx.out.push(Output::Vouch { node, belongs });
        }
    }

    /// Looks at the list, or asks who has it.
    pub fn advance(&mut self, cx: &mut Context<'_>, hub: Option<&HubRole>) {
        let up_ms = cx.now.up_ms;
        if up_ms < self.next_ms {
            return;
        }
        let due = self.nodes.iter().filter(|(_, vouched)| up_ms >= vouched.due_ms);
        for node in due.map(|(node, _)| *node).collect::<Vec<_>>() {
            let hub = hub.filter(|_| cx.sits());
            let is_listed = hub.is_some_and(|hub| hub.machine().admits(&node));
            if is_listed || cx.members.contains(&node) {
                self.vouch(cx, node, true);
            } else if hub.is_some_and(HubRole::leads) {
                self.vouch(cx, node, false);
                cx.send(node, Message::Belonging { node, belongs: false });
            } else {
                // Who follows may have missed that the node was admitted.
                cx.send_leader(Message::Belongs { node });
                let due_ms = up_ms + limits::RETRY_MS;
                let asked = |vouched: &mut Vouched| (vouched.due_ms, vouched.is_asked) = (due_ms, true);
                self.nodes.entry(node).and_modify(asked);
            }
        }
        self.next_ms = self.nodes.values().map(|vouched| vouched.due_ms).min().unwrap_or(u64::MAX);
    }

    /// In how many milliseconds something is due.
    pub fn next_deadline(&self, now: Now) -> u64 {
        if self.next_ms == u64::MAX { u64::MAX } else { self.next_ms.saturating_sub(now.up_ms) }
    }

    /// What is remembered, and how much may be.
    pub fn queues(&self) -> Vec<Queue> {
        vec![Queue::new("vouching: connected nodes", self.nodes.len() as u64, limits::PEERS as u64)]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use forgemesh_protocol::hash::Hash;
    use forgemesh_protocol::id::MeshId;
    use forgemesh_protocol::keys::SecretKey;

    use super::*;
    use crate::core::{Identity, Reach, Tokens};

    const HUB: NodeId = NodeId(Hash([7; 32]));

    /// A member of the hub tells a node about itself.
    fn tell(role: &mut VouchingRole, up_ms: u64, belongs: bool) {
        let secret = SecretKey::from_bytes(&[1; 32]);
        let node = secret.public().id();
        let mut cx = Context {
            identity: &Identity { secret, node, mesh: MeshId(Hash::ZERO) },
            members: [HUB].into(),
            seating: 0,
            keeps: false,
            candidacy: None,
            leader: Some(HUB),
            reach: &Reach::default(),
            now: Now { up_ms, wall_ms: 0 },
            tokens: &mut Tokens::default(),
            out: &mut Vec::new(),
            inbox: &mut VecDeque::new(),
            finished: &mut Vec::new(),
            replies: &mut VecDeque::new(),
        };
        role.answered(&mut cx, HUB, node, belongs);
    }

    #[test]
    fn who_was_told_that_it_is_out_stays_told_until_it_hears_who_leads() {
        let mut role =
            VouchingRole { is_open: false, nodes: BTreeMap::new(), next_ms: u64::MAX, out_ms: None };
        let at = |up_ms| Now { up_ms, wall_ms: 0 };
        tell(&mut role, 0, true);
        assert!(!role.is_out(at(0)) && !role.is_expelled());
        tell(&mut role, 1_000, false);
        let over_ms = 1_000 + 2 * limits::VOUCH_AGAIN_MS;
        assert!(role.is_out(at(over_ms - 1)) && role.is_expelled());
        // It is kept out most of the time, and hears nothing then.
        assert!(!role.is_out(at(over_ms)) && role.is_expelled());
        tell(&mut role, 3 * over_ms, false);
        assert!(role.is_out(at(3 * over_ms)));
        role.heard_leader();
        assert!(!role.is_out(at(3 * over_ms)) && !role.is_expelled());
    }
}
