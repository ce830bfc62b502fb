//! The agents that a hub knows: what they said last, and when.

use std::collections::BTreeMap;

use forgemesh_consensus::machine::Hub;
use forgemesh_protocol::envelope::{BillingMode, Target};
use forgemesh_protocol::genesis::HubMember;
use forgemesh_protocol::id::NodeId;
use forgemesh_protocol::keys::PublicKey;
use forgemesh_protocol::limits;
use forgemesh_protocol::op::Op;
use forgemesh_protocol::organization::Organization;
use forgemesh_protocol::region::Region;
use forgemesh_protocol::wire::Hello;

/// Parts per million: the unit of an agent's pace.
const MILLION: u64 = 1_000_000;

/// An agent as its last hello described it.
#[derive(Clone, Debug)]
pub(crate) struct Agent {
    pub heard_ms: u64,
    /// No connection to it is left.
    pub is_gone: bool,
    /// How often that was so, and when it was back last.
    pub absences: u64,
    pub back_ms: u64,
    pub capacity: u64,
    pub backend: String,
    pub accepts: u64,
    /// Time that its shards took over the time that was estimated, in parts per million.
    pub pace_ppm: u64,
    /// The operations it executes; all, if there are none.
    pub ops: Vec<Op>,
    /// Its key and beacon chain, if it could sit in the hub.
    pub candidacy: Option<HubMember>,
    /// How far its books go.
    pub books: u64,
    /// Where it stands, by its operator's word.
    pub region: Option<Region>,
    /// The billing modes that it takes; all, if there are none.
    pub billing: Vec<BillingMode>,
    /// Whose jobs it takes; none: everybody's.
    pub clients: Option<Vec<NodeId>>,
    /// Of which organizations' nodes it takes jobs beside those.
    pub organizations: Vec<Organization>,
}

impl Agent {
    /// Has it been heard lately, and not gone since?
    pub fn is_live(&self, up_ms: u64) -> bool {
        !self.is_gone && up_ms.saturating_sub(self.heard_ms) < limits::SILENCE_MS
    }

    /// The absence that explains what it did not do lately, if there is one.
    pub fn absence(&self, up_ms: u64) -> Option<u64> {
        let was_away = self.is_gone || up_ms < self.back_ms + limits::PARTED_MS;
        (self.absences > 0 && was_away).then_some(self.absences)
    }

    /// Does it have the hardware asked for?
    pub fn serves(&self, target: Target) -> bool {
        match target {
            Target::Any => true,
            Target::Cpu => self.backend.starts_with("cpu"),
            Target::Gpu => !self.backend.starts_with("cpu"),
        }
    }

    /// Does it execute this operation?
    pub fn executes(&self, op: &Op) -> bool {
        self.ops.is_empty() || self.ops.contains(op)
    }

    /// Does it take jobs that this key has signed, of a node that belongs where `hub` says?
    pub fn works_for(&self, client: &PublicKey, hub: &Hub) -> bool {
        let Some(clients) = &self.clients else { return true };
        let client = client.id();
        clients.contains(&client) || self.word_for(&client, hub).is_some()
    }

    /// The organization of this client, if it is by that that the agent takes its jobs.
    pub fn word_for<'a>(&self, client: &NodeId, hub: &'a Hub) -> Option<&'a Organization> {
        if self.organizations.is_empty() || self.clients.as_ref()?.contains(client) {
            return None;
        }
        hub.organization(client).filter(|organization| self.organizations.contains(organization))
    }

    /// Does it take jobs that are billed so?
    pub fn takes(&self, mode: BillingMode) -> bool {
        self.billing.is_empty() || self.billing.contains(&mode)
    }

    /// Does it want to see what the client has signed, before it takes a lease?
    pub fn is_choosy(&self) -> bool {
        self.clients.is_some() || !self.billing.is_empty()
    }

    /// Nanoseconds that one of its threads is expected to need for a shard of this estimate.
    pub fn cost_ns(&self, estimate_ns: u64) -> u64 {
        let cost = u128::from(estimate_ns) * u128::from(self.pace_ppm) / u128::from(MILLION);
        u64::try_from(cost).unwrap_or(u64::MAX).max(1)
    }
}

/// All agents that said hello and were not forgotten.
#[derive(Default)]
pub(crate) struct Roster {
    agents: BTreeMap<NodeId, Agent>,
}

impl Roster {
    /// Notes a hello; true if it changes what can be lent to the agent.
    pub fn heard(&mut self, node: NodeId, hello: &Hello, up_ms: u64) -> bool {
        if !self.agents.contains_key(&node) && self.agents.len() >= limits::AGENTS {
            return false;
        }
        let old = self.agents.get(&node);
        let agent = Agent {
            heard_ms: up_ms,
            is_gone: false,
            absences: old.map_or(0, |agent| agent.absences),
            back_ms: old.map_or(0, |agent| if agent.is_gone { up_ms } else { agent.back_ms }),
            capacity: hello.capacity.clamp(1, limits::AGENTS as u64),
            backend: hello.backend.clone(),
            accepts: hello.accepts,
            pace_ppm: old.map_or(MILLION, |agent| agent.pace_ppm),
            ops: hello.ops.iter().take(limits::HELLO_OPS).cloned().collect(),
            candidacy: hello.candidacy.clone().filter(|member| member.key.id() == node),
            books: hello.books,
            region: hello.region.clone(),
            billing: hello.billing.iter().take(limits::HELLO_BILLING).copied().collect(),
            clients: hello
                .clients
                .as_ref()
                .map(|clients| clients.iter().take(limits::HELLO_CLIENTS).copied().collect()),
            organizations: hello.organizations.iter().take(limits::HELLO_ORGANIZATIONS).cloned().collect(),
        };
        let same = |old: &Agent| {
            old.is_live(up_ms)
                && (old.capacity, old.accepts) == (agent.capacity, agent.accepts)
                && (&old.ops, &old.region) == (&agent.ops, &agent.region)
                && (&old.billing, &old.clients) == (&agent.billing, &agent.clients)
                && old.organizations == agent.organizations
        };
        let changed = !old.is_some_and(same);
        self.agents.insert(node, agent);
        changed
    }

    /// The agent gave a sign of life.
    pub fn seen(&mut self, node: &NodeId, up_ms: u64) {
        if let Some(agent) = self.agents.get_mut(node) {
            agent.heard_ms = up_ms;
        }
    }

    /// The agent is gone, or is back; true if that is news.
    pub fn reached(&mut self, node: &NodeId, is_there: bool, up_ms: u64) -> bool {
        let Some(agent) = self.agents.get_mut(node).filter(|agent| agent.is_gone == is_there) else {
            return false;
        };
        agent.is_gone = !is_there;
        if is_there {
            agent.back_ms = up_ms;
        } else {
            agent.absences += 1;
        }
        true
    }

    /// The agent's shards took `wall_us` where `estimate_ns` was estimated.
    pub fn paced(&mut self, node: &NodeId, wall_us: u64, estimate_ns: u64) {
        let Some(agent) = self.agents.get_mut(node) else { return };
        let found = u128::from(wall_us) * 1_000 * u128::from(MILLION) / u128::from(estimate_ns.max(1));
        // What an agent says of itself may move its own schedule, within bounds.
        let found = u64::try_from(found).unwrap_or(u64::MAX).clamp(MILLION / 1_000, MILLION * 1_000);
        agent.pace_ppm = (3 * agent.pace_ppm + found) / 4;
    }

    /// One agent.
    pub fn get(&self, node: &NodeId) -> Option<&Agent> {
        self.agents.get(node)
    }

    /// All of them, in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = (&NodeId, &Agent)> {
        self.agents.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.agents.len()
    }

    /// Forgets who was not heard for long; true if there was anybody.
    pub fn forget(&mut self, up_ms: u64) -> bool {
        let before = self.agents.len();
        self.agents.retain(|_, agent| up_ms.saturating_sub(agent.heard_ms) < limits::FORGET_MS);
        self.agents.len() < before
    }
}
