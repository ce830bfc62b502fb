//! Connected nodes that do not belong to the mesh, where not everybody may.
//!
//! A node that has a ticket needs a moment to show it; one that has none is disconnected after that.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use forgemesh_protocol::id::NodeId;
use forgemesh_protocol::limits;

/// How long a node that does not belong may stay, to be admitted.
const STAY: Duration = Duration::from_millis(limits::STRANGER_MS);

/// Each with the moment at which it has to go.
#[derive(Debug, Default)]
pub(super) struct Strangers(BTreeMap<NodeId, Instant>);

impl Strangers {
    /// Somebody who knows says whether a connected node belongs.
    pub fn vouch(&mut self, node: NodeId, belongs: bool, now: Instant) {
        if belongs {
            self.0.remove(&node);
        } else {
            self.0.entry(node).or_insert(now + STAY);
        }
    }

    /// A node is connected no longer.
    pub fn parted(&mut self, node: &NodeId) {
        self.0.remove(node);
    }

    /// Those who have to go now.
    pub fn tick(&mut self, now: Instant) -> Vec<NodeId> {
        let over = |_: &NodeId, end: &mut Instant| now >= *end;
        self.0.extract_if(.., over).map(|(node, _)| node).collect()
    }
}

#[cfg(test)]
mod tests {
    use forgemesh_protocol::hash::Hash;

    use super::*;

    #[test]
    fn who_does_not_belong_has_a_moment_to_be_admitted() {
        let node = |number: u8| NodeId(Hash([number; 32]));
        let (mut strangers, now) = (Strangers::default(), Instant::now());
        strangers.vouch(node(1), false, now);
        strangers.vouch(node(1), false, now + STAY / 2);
        strangers.vouch(node(2), false, now);
        strangers.vouch(node(3), false, now);
        strangers.vouch(node(2), true, now);
        strangers.parted(&node(3));
        assert!(strangers.tick(now + STAY / 2).is_empty());
        assert_eq!(strangers.tick(now + STAY), [node(1)]);
        assert!(strangers.tick(now + STAY).is_empty());
    }
}
