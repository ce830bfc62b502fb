//! Attestations on their way into the log: in the order of their agent's chain, each once all that it claims is here.

use std::collections::{BTreeMap, BTreeSet};

use forgemesh_consensus::adjudicate::ChainHead;
use forgemesh_protocol::attestation::{Claim, decode_claims};
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::NodeId;
use forgemesh_protocol::limits;
use forgemesh_protocol::wire::Attested;

/// Blobs asked for in one message.
const FETCH_BLOBS: usize = 16;
/// Attestations of one agent whose blobs are fetched at the same time.
const FETCH_BATCHES: usize = 4;

/// One attestation that is not logged yet.
struct Pending {
    attested: Attested,
    missing: BTreeSet<Hash>,
    asked_ms: Option<u64>,
    proposed: bool,
}

/// By agent and number.
#[derive(Default)]
pub(crate) struct Intake {
    pending: BTreeMap<NodeId, BTreeMap<u64, Pending>>,
}

impl Intake {
    /// Takes an attestation up; its claims if it was new and fits together. `own`: its blobs are on this node's disk.
    pub fn arrived(&mut self, attested: Attested, head: ChainHead, own: bool) -> Option<Vec<Claim>> {
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
        if !claims.iter().map(|claim| claim.shard).eq(body.shards.iter().copied()) {
            return None;
        }
        let missing = match own {
            true => BTreeSet::new(),
            false => claims.iter().map(|claim| claim.blob).collect(),
        };
        of_agent.insert(seq, Pending { attested, missing, asked_ms: None, proposed: false });
        Some(claims)
    }

    /// A blob is on its way to the disk, or can't be had; true if anything waited for it.
    pub fn arrived_blob(&mut self, blob: &Hash) -> bool {
        let pending = self.pending.values_mut().flat_map(BTreeMap::values_mut);
        pending.fold(false, |any, pending| pending.missing.remove(blob) | any)
    }

    /// What can be proposed now, given each agent's last logged link. Proposed once.
    pub fn ready(&mut self, head: impl Fn(&NodeId) -> ChainHead) -> Vec<Attested> {
        let mut out = Vec::new();
        for (agent, pending) in &mut self.pending {
            let mut next = head(agent).seq + 1;
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
                if pending.asked_ms.is_none_or(|asked_ms| up_ms >= asked_ms + limits::RETRY_MS) {
                    pending.asked_ms = Some(up_ms);
                    out.push((*agent, pending.missing.iter().take(FETCH_BLOBS).copied().collect()));
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

    /// The agents of which something waits.
    pub fn agents(&self) -> Vec<NodeId> {
        self.pending.keys().copied().collect()
    }

    /// How many attestations wait.
    pub fn len(&self) -> usize {
        self.pending.values().map(BTreeMap::len).sum()
    }

    /// In how many milliseconds a question is to be repeated.
    pub fn next_deadline(&self, up_ms: u64) -> u64 {
        let of_agent = |pending: &BTreeMap<u64, Pending>| {
            let waiting = pending.values().filter(|pending| !pending.missing.is_empty()).take(FETCH_BATCHES);
            waiting.map(|pending| pending.asked_ms.map_or(0, |asked_ms| asked_ms + limits::RETRY_MS)).min()
        };
        let next = self.pending.values().filter_map(of_agent).min();
        next.map_or(u64::MAX, |at_ms| at_ms.saturating_sub(up_ms))
    }
}
