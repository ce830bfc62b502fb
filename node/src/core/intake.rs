//! Attestations on their way into the log: in the order of their agent's chain, each once all that it claims is here.

use std::collections::{BTreeMap, BTreeSet};

use forgemesh_consensus::adjudicate::ChainHead;
use forgemesh_protocol::attestation::{Claim, decode_claims};
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::NodeId;
use forgemesh_protocol::limits;
use forgemesh_protocol::wire::Attested;

use super::patience;

/// Blobs asked for in one message.
const FETCH_BLOBS: usize = 64;
/// Attestations of one agent whose blobs are fetched at the same time.
const FETCH_BATCHES: usize = 4;

/// One attestation that is not logged yet.
struct Pending {
    attested: Attested,
    missing: BTreeSet<Hash>,
    /// What was asked for last, and when.
    asked: Vec<Hash>,
    asked_ms: Option<u64>,
    /// How often, since anything came of it.
    asks: usize,
    arrived_ms: u64,
    proposed: bool,
}

impl Pending {
    /// A blob is here, or will never be; true if it was waited for.
    fn settle(&mut self, blob: &Hash) -> bool {
        let waited = self.missing.remove(blob);
        if self.asked.iter().all(|asked| !self.missing.contains(asked)) {
            // All that was asked for has been answered: on with the next.
            (self.asked_ms, self.asks) = (None, 0);
        }
        waited
    }

    /// Its agent is sending what it was asked for: the rest is on its way too.
    fn go_on_waiting(&mut self, up_ms: u64) {
        (self.asked_ms, self.asks) = (self.asked_ms.map(|_| up_ms), self.asks.min(1));
    }

    /// When to ask.
    fn due_ms(&self) -> u64 {
        self.asked_ms.map_or(0, |asked_ms| asked_ms + patience::wait_ms(self.asks))
    }
}

/// By agent and number.
#[derive(Default)]
pub(crate) struct Intake {
    pending: BTreeMap<NodeId, BTreeMap<u64, Pending>>,
}

impl Intake {
    /// Takes an attestation up; its claims if it was new and fits together. `own`: its blobs are on this node's disk.
    pub fn arrived(
        &mut self,
        attested: Attested,
        head: ChainHead,
        own: bool,
        up_ms: u64,
    ) -> Option<Vec<Claim>> {
        let body = &attested.attestation.body;
        let (agent, seq) = (body.agent, body.seq);
        let of_agent = self.pending.entry(agent).or_default();
        let room = of_agent.len() < limits::PENDING_BATCHES;
        if seq <= head.seq || seq - head.seq > limits::PENDING_BATCHES as u64 || !room {
            return None;
        }
        // Without its claims a batch could be neither checked nor reduced: it is as if it had not come.
        if of_agent.contains_key(&seq) || Hash::blob(&attested.members.0) != body.members {
            return None;
        }
        let claims = decode_claims(&attested.members.0).ok()?;
        if !claims.iter().map(|claim| claim.shard).eq(body.shards.iter()) {
            return None;
        }
        let missing = match own {
            true => BTreeSet::new(),
            false => claims.iter().map(|claim| claim.blob).collect(),
        };
        let (asked, asked_ms, arrived_ms) = (Vec::new(), None, up_ms);
        let pending = Pending { attested, missing, asked, asked_ms, asks: 0, arrived_ms, proposed: false };
        of_agent.insert(seq, pending);
        Some(claims)
    }

    /// A blob is on its way to the disk, whoever sent it; true if anything waited for it.
    pub fn arrived_blob(&mut self, blob: &Hash, up_ms: u64) -> bool {
        let mut any = false;
        for of_agent in self.pending.values_mut() {
            let waited = of_agent.values_mut().fold(false, |any, pending| pending.settle(blob) | any);
            if waited {
                of_agent.values_mut().for_each(|pending| pending.go_on_waiting(up_ms));
            }
            any |= waited;
        }
        any
    }

    /// An agent says that it does not have a blob of its own claims any more.
    pub fn gone(&mut self, agent: &NodeId, blob: &Hash) {
        let pending = self.pending.get_mut(agent).into_iter().flat_map(BTreeMap::values_mut);
        pending.for_each(|pending| {
            pending.settle(blob);
        });
    }

    /// What can be proposed now, given each agent's last logged link. Proposed once; what does not follow that link is
    /// dropped.
    pub fn ready(&mut self, head: impl Fn(&NodeId) -> ChainHead) -> Vec<Attested> {
        let mut out = Vec::new();
        for (agent, pending) in &mut self.pending {
            let head = head(agent);
            let mut next = head.seq + 1;
            let forks = |found: &Pending| found.attested.attestation.body.prev != head.digest;
            if pending.get(&next).is_some_and(forks) {
                pending.remove(&next);
            }
            while let Some(found) = pending.get_mut(&next).filter(|found| found.missing.is_empty()) {
                if !found.proposed {
                    found.proposed = true;
                    out.push(found.attested.clone());
                }
                next += 1;
            }
        }
        out
    }

    /// What to ask each agent for.
    pub fn fetch(&mut self, up_ms: u64) -> Vec<(NodeId, Vec<Hash>)> {
        let mut out = Vec::new();
        for (agent, pending) in &mut self.pending {
            let waiting = pending.values_mut().filter(|pending| !pending.missing.is_empty());
            for pending in waiting.take(FETCH_BATCHES) {
                if up_ms >= pending.due_ms() {
                    (pending.asked_ms, pending.asks) = (Some(up_ms), pending.asks.saturating_add(1));
                    pending.asked = pending.missing.iter().take(FETCH_BLOBS).copied().collect();
                    out.push((*agent, pending.asked.clone()));
                }
            }
        }
        out
    }

    /// An attestation's entry was applied: up to here the chain is logged.
    pub fn logged(&mut self, agent: &NodeId, seq: u64) {
        if let Some(pending) = self.pending.get_mut(agent) {
            *pending = pending.split_off(&(seq + 1));
            if pending.is_empty() {
                self.pending.remove(agent);
            }
        }
    }

    /// Drops what an agent has sent: it is gone, or its chain is broken. It sends again what matters.
    pub fn forget(&mut self, agent: &NodeId) {
        self.pending.remove(agent);
    }

    /// Drops what has waited long for an agent that is gone. It sends again what matters, once it is back.
    pub fn expire(&mut self, up_ms: u64, is_live: impl Fn(&NodeId) -> bool) {
        for (agent, pending) in &mut self.pending {
            let live = is_live(agent);
            pending.retain(|_, pending| {
                pending.proposed || live || up_ms < pending.arrived_ms + limits::SILENCE_MS
            });
        }
        self.pending.retain(|_, pending| !pending.is_empty());
    }

    /// How many attestations wait.
    pub fn len(&self) -> usize {
        self.pending.values().map(BTreeMap::len).sum()
    }

    /// In how many milliseconds a question is to be repeated.
    pub fn next_deadline(&self, up_ms: u64) -> u64 {
        let of_agent = |pending: &BTreeMap<u64, Pending>| {
            let waiting = pending.values().filter(|pending| !pending.missing.is_empty()).take(FETCH_BATCHES);
            waiting.map(|pending| pending.due_ms()).min()
        };
        let next = self.pending.values().filter_map(of_agent).min();
        next.map_or(u64::MAX, |at_ms| at_ms.saturating_sub(up_ms))
    }
}
