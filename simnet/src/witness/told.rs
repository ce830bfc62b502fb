//! What clients, faults and ports tell the observer beside the disks.

use forgemesh_consensus::job::JobRecord;
use forgemesh_node::ports::Done;
use forgemesh_protocol::attestation::decode_claims;
use forgemesh_protocol::canon;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::{JobId, NodeId};
use forgemesh_protocol::keys::Signable;
use forgemesh_protocol::limits;
use forgemesh_protocol::wire::{Attested, Message};

use super::{Seen, Witness};
use crate::faults::Class;
use crate::invariants::Moment;

impl Witness {
    /// A client was told that its job is accepted.
    pub fn acknowledged(&self, job: JobId) {
        self.look(Moment::Acknowledged { job });
        self.seen.borrow_mut().known.acknowledged.insert(job);
    }

    /// A client was told that its job is refused for good.
    pub fn refused(&self, job: JobId, reason: &str) {
        self.look(Moment::Refused { job, reason });
    }

    /// A client was told that there is no room for its job.
    pub fn refused_for_room(&self) {
        self.seen.borrow_mut().count("refused_for_room");
    }

    /// A machine has written several batches together.
    pub fn wrote_together(&self) {
        self.seen.borrow_mut().count("written_together");
    }

    /// Is there work of a liar in this job's result?
    pub fn knows_a_liar_in(&self, record: &JobRecord) -> bool {
        self.seen.borrow().known.has_lied(record)
    }

    /// A submitter asks to cancel its job.
    pub fn cancelled(&self, job: JobId) {
        self.seen.borrow_mut().known.cancelled.insert(job);
    }

    /// A machine's disk has lost bits.
    pub fn rotten(&self, machine: usize) {
        let mut seen = self.seen.borrow_mut();
        let Seen { nodes, known, .. } = &mut *seen;
        known.rotten.extend(nodes.get(machine));
        seen.disk(machine).is_rotten = true;
    }

    /// A fault has struck.
    pub fn struck(&self, class: Class) {
        *self.seen.borrow_mut().struck.entry(class).or_default() += 1;
    }

    /// A healthy shard of this contract's stage failed on a broken executor.
    pub fn failed_shard(&self, contract: Hash, stage: u64, shard: u64) {
        *self.seen.borrow_mut().known.failed_shards.entry((contract, stage, shard)).or_default() += 1;
    }

    /// A node's disk has lost this accumulator.
    pub fn lost(&self, node: NodeId, blob: Hash) {
        let mut seen = self.seen.borrow_mut();
        let machine = seen.nodes.iter().position(|other| *other == node);
        let entries = machine.map_or(0, |machine| seen.disk(machine).durable.books.len() as u64);
        seen.known.lost.insert((node, blob), entries);
        seen.count("blobs_lost");
    }

    /// A piece of work has ended on some machine.
    pub fn ended(&self, done: &Done) {
        let mut seen = self.seen.borrow_mut();
        match done {
            Done::Ran { claim, .. } => {
                seen.accumulators.insert(claim.blob);
            }
            Done::Lacking { .. } => seen.count("reductions_lacking"),
            Done::Unfit { .. } => seen.count("reductions_unfit"),
            _ => {}
        }
    }

    /// Whether a shard came to this.
    pub fn is_accumulator(&self, blob: &Hash) -> bool {
        self.seen.borrow().accumulators.contains(blob)
    }

    /// An agent has committed to a batch: what it claims.
    pub(super) fn attested(&self, bytes: &[u8]) {
        if let Ok(attested) = canon::from_bytes::<Attested>(bytes, limits::COMMAND_BYTES) {
            self.claimed(&attested);
        }
    }

    fn claimed(&self, attested: &Attested) {
        if let Ok(claims) = decode_claims(&attested.members.0) {
            let blobs = claims.iter().map(|claim| claim.blob).collect();
            self.seen.borrow_mut().known.claims.insert(attested.attestation.body.digest(), blobs);
        }
    }

    fn told_of(&self, attested: &Attested) {
        self.claimed(attested);
        let body = &attested.attestation.body;
        self.look(Moment::Attested { agent: body.agent, seq: body.seq, digest: body.digest() });
    }

    /// A machine sends a message.
    pub fn sent(&self, machine: usize, from: NodeId, to: NodeId, message: &Message) {
        match message {
            Message::Led { term, .. } => self.led(machine, *term, from),
            Message::Lease(offer) => self.led(machine, offer.lease.body.term, offer.lease.key.id()),
            Message::Hello(_) => self.seen.borrow_mut().count("hellos"),
            Message::Attest(attested) => self.told_of(attested),
            Message::Deliver(delivery) => {
                let claims = delivery.attested.attestation.body.members;
                self.seen.borrow_mut().deliveries.sent(to, claims);
                self.told_of(&delivery.attested);
            }
            Message::Fetch { blobs } => {
                let mut seen = self.seen.borrow_mut();
                let missed = blobs.iter().filter(|blob| seen.deliveries.is_missed(from, **blob)).count();
                (0..missed).for_each(|_| seen.count("deliveries_missed"));
            }
            _ => {}
        }
    }

    /// A blob is durable on a machine.
    pub(super) fn stored(&self, machine: usize, blob: Hash) {
        let mut seen = self.seen.borrow_mut();
        let Some(&node) = seen.nodes.get(machine) else { return };
        if seen.deliveries.is_used(node, blob) {
            seen.count("deliveries_used");
        }
    }

    /// A message that counts has come to a node.
    pub fn said(&self, to: NodeId, message: &Message) {
        match message {
            Message::Deliver(delivery) => {
                let claims = delivery.attested.attestation.body.members;
                self.seen.borrow_mut().deliveries.arrived(to, claims);
            }
            Message::ShardFailed { .. } => self.seen.borrow_mut().count("shard_failed"),
            Message::NoBlob { .. } => self.seen.borrow_mut().count("no_blob"),
            _ => {}
        }
    }
}
