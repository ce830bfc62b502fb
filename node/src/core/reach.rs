//! Which nodes are gone, by this node's own connections: what waits for one need not wait as long as for one that is only
//! silent.
//!
//! A hint and no more: a node that is taken for gone and is not has its work done twice, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use forgemesh_protocol::id::NodeId;
use forgemesh_protocol::limits;

/// Nodes to which the last connection has ended, and of which nothing was heard since.
#[derive(Default)]
pub(crate) struct Reach {
    /// Lately, and when: they may be back at once.
    leaving: BTreeMap<NodeId, u64>,
    gone: BTreeSet<NodeId>,
}

impl Reach {
    /// No connection to a node is left, or none could be made.
    pub fn parted(&mut self, node: NodeId, up_ms: u64) {
        if !self.gone.contains(&node) && self.leaving.len() + self.gone.len() < limits::PEERS {
            self.leaving.entry(node).or_insert(up_ms);
        }
    }

    /// There is a connection, or something came from the node; true if it was gone.
    pub fn met(&mut self, node: &NodeId) -> bool {
        self.leaving.remove(node);
        self.gone.remove(node)
    }

    /// Time passes; who is gone from now on.
    pub fn tick(&mut self, up_ms: u64) -> Vec<NodeId> {
        let over = |_: &NodeId, since_ms: &mut u64| up_ms >= *since_ms + limits::PARTED_MS;
        let gone: Vec<NodeId> = self.leaving.extract_if(.., over).map(|(node, _)| node).collect();
        self.gone.extend(&gone);
        gone
    }

    /// Has a node been away for so long that nothing more is expected of it?
    pub fn is_gone(&self, node: &NodeId) -> bool {
        self.gone.contains(node)
    }

    /// In how many milliseconds the next one will be gone.
    pub fn next_deadline(&self, up_ms: u64) -> u64 {
        let ends = self.leaving.values().map(|since_ms| since_ms + limits::PARTED_MS);
        ends.min().map_or(u64::MAX, |end_ms| end_ms.saturating_sub(up_ms))
    }
}

#[cfg(test)]
mod tests {
    use forgemesh_protocol::hash::Hash;

    use super::*;

    #[test]
    fn a_node_is_gone_a_while_after_its_connection_and_back_with_any_sign() {
        let (mut reach, node) = (Reach::default(), NodeId(Hash([1; 32])));
        assert_eq!(reach.next_deadline(0), u64::MAX);
        reach.parted(node, 100);
        reach.parted(node, 900);
        let gone_ms = 100 + limits::PARTED_MS;
        assert_eq!(reach.next_deadline(900), gone_ms - 900);
        assert!(reach.tick(gone_ms - 1).is_empty() && !reach.is_gone(&node));
        assert_eq!(reach.tick(gone_ms), [node]);
        assert!(reach.is_gone(&node));
        reach.parted(node, gone_ms + 1);
        assert_eq!(reach.next_deadline(gone_ms), u64::MAX, "nothing more will happen by itself");
        assert!(reach.met(&node) && !reach.is_gone(&node));
        assert!(!reach.met(&node));
        reach.parted(node, 5_000);
        assert!(!reach.met(&node), "it was back before anybody missed it");
        assert!(reach.tick(u64::MAX / 2).is_empty());
    }

    #[test]
    fn more_nodes_than_can_be_remembered_are_not() {
        let mut reach = Reach::default();
        for number in 0..limits::PEERS as u64 + 10 {
            reach.parted(NodeId(Hash::blob(&number.to_le_bytes())), number);
            reach.tick(number);
        }
        assert_eq!(reach.leaving.len() + reach.gone.len(), limits::PEERS);
    }
}
