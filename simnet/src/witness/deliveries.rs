//! Batches that an agent sends to every member of the hub with all that they claim: who has one keeps it until it is logged
//! and stores it then, who has missed it asks for the claims.

use std::collections::BTreeMap;

use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::NodeId;

/// By the member and the address of the claims; whether it has come. Gone once it is known what became of it.
#[derive(Default)]
pub(super) struct Deliveries(BTreeMap<(NodeId, Hash), bool>);

impl Deliveries {
    /// It goes to this member.
    pub fn sent(&mut self, to: NodeId, claims: Hash) {
        self.0.entry((to, claims)).or_default();
    }

    /// It is there.
    pub fn arrived(&mut self, at: NodeId, claims: Hash) {
        self.0.entry((at, claims)).and_modify(|has_come| *has_come = true);
    }

    /// A node has stored a blob: the claims of one that has come to it?
    pub fn is_used(&mut self, at: NodeId, blob: Hash) -> bool {
        let has_come = self.0.get(&(at, blob)).is_some_and(|has_come| *has_come);
        has_come && self.0.remove(&(at, blob)).is_some()
    }

    /// A node asks for a blob: the claims of one that was sent to it?
    pub fn is_missed(&mut self, by: NodeId, blob: Hash) -> bool {
        self.0.remove(&(by, blob)).is_some()
    }
}
