//! Batches that agents have sent with all that they claim, and that are not in this member's log yet: kept in memory until
//! they are, so that nothing is on the disk for which nobody answers. Who keeps one has checked its signature and form.
//!
//! Only ever a saving: what is not kept, or does not fit its claims, is fetched.

use std::collections::{BTreeMap, VecDeque};

use forgemesh_protocol::attestation::decode_claims;
use forgemesh_protocol::canon::Bytes;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::NodeId;
use forgemesh_protocol::keys::Signable;
use forgemesh_protocol::limits;
use forgemesh_protocol::wire::Delivery;

/// By agent, oldest first.
#[derive(Default)]
pub(super) struct Deliveries {
    by_agent: BTreeMap<NodeId, VecDeque<Kept>>,
    count: usize,
}

struct Kept {
    /// The attestation's digest.
    batch: Hash,
    since_ms: u64,
    delivery: Delivery,
}

/// What a batch claims.
pub(super) struct Claimed {
    pub members: Bytes,
    pub blobs: Vec<Bytes>,
}

impl Deliveries {
    /// Keeps one, unless it is large or there are many.
    pub fn keep(&mut self, agent: NodeId, delivery: Delivery, up_ms: u64) {
        let shards = delivery.attested.attestation.body.shards.len();
        let is_large = delivery.bytes() > limits::DELIVERY_BYTES || delivery.blobs.len() != shards;
        if is_large || self.count >= limits::DELIVERIES {
            return;
        }
        let of_agent = self.by_agent.entry(agent).or_default();
        let batch = delivery.attested.attestation.body.digest();
        let known = of_agent.iter().any(|kept| kept.batch == batch);
        if !known && of_agent.len() < limits::DELIVERIES_PER_AGENT {
            of_agent.push_back(Kept { batch, since_ms: up_ms, delivery });
            self.count += 1;
        }
    }

    /// What a batch that is logged now claims, if all of it is here and fits; nothing is kept of it any longer.
    pub fn take(&mut self, agent: &NodeId, batch: &Hash) -> Option<Claimed> {
        let of_agent = self.by_agent.get_mut(agent)?;
        let at = of_agent.iter().position(|kept| kept.batch == *batch)?;
        let Kept { delivery, .. } = of_agent.remove(at)?;
        if of_agent.is_empty() {
            self.by_agent.remove(agent);
        }
        self.count -= 1;
        let Delivery { attested, blobs } = delivery;
        if Hash::blob(&attested.members.0) != attested.attestation.body.members {
            return None;
        }
        let claims = decode_claims(&attested.members.0).ok()?;
        let fit = claims.iter().map(|claim| claim.blob).eq(blobs.iter().map(|blob| Hash::blob(&blob.0)));
        fit.then_some(Claimed { members: attested.members, blobs })
    }

    /// Drops what has waited long.
    pub fn expire(&mut self, up_ms: u64) {
        let count = &mut self.count;
        self.by_agent.retain(|_, of_agent| {
            while of_agent.pop_front_if(|kept| up_ms >= kept.since_ms + limits::SILENCE_MS).is_some() {
                *count -= 1;
            }
            !of_agent.is_empty()
        });
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }
}
