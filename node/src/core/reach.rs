//! Which nodes are gone, by this node's own connections: what waits for one need not wait as long as for one that is only
//! silent.
//!
//! A hint and no more: a node that is taken for gone and is not has work done twice. A node to which nobody is connected is
//! itself the one that is away, and takes nobody for gone.

use std::collections::{BTreeMap, BTreeSet};

use forgemesh_protocol::id::NodeId;
use forgemesh_protocol::limits;

/// Nodes that are there, and those to which the last connection has ended and of which nothing was heard since.
#[derive(Default)]
pub(crate) struct Reach {
    there: BTreeSet<NodeId>,
    /// Away lately, and since when: they may be back at once.
    leaving: BTreeMap<NodeId, u64>,
    /// Away for longer, and since when.
    gone: BTreeMap<NodeId, u64>,
}

impl Reach {
    /// No connection to a node is left, or none could be made.
    pub fn parted(&mut self, node: NodeId, up_ms: u64) {
        self.there.remove(&node);
        if !self.gone.contains_key(&node) && self.leaving.len() < limits::PEERS {
            self.leaving.entry(node).or_insert(up_ms);
        }
    }

    /// There is a connection, or something came from the node; true if it was gone.
    pub fn met(&mut self, node: &NodeId) -> bool {
        if self.there.len() < limits::PEERS {
            self.there.insert(*node);
        }
        self.leaving.remove(node);
        self.gone.remove(node).is_some()
    }

    /// Time passes; who is gone from now on. Of too many those are forgotten that are gone for longest.
    pub fn tick(&mut self, up_ms: u64) -> Vec<NodeId> {
        if self.there.is_empty() {
            return Vec::new();
        }
        let over = |_: &NodeId, since_ms: &mut u64| up_ms >= *since_ms + limits::PARTED_MS;
        let gone: Vec<(NodeId, u64)> = self.leaving.extract_if(.., over).collect();
        self.gone.extend(gone.iter().copied());
        while self.gone.len() > limits::PEERS
            && let Some(oldest) =
                self.gone.iter().min_by_key(|(_, since_ms)| **since_ms).map(|(node, _)| *node)
        {
            self.gone.remove(&oldest);
        }
        gone.into_iter().map(|(node, _)| node).collect()
    }

    /// Has a node been away for so long that nothing more is expected of it?
    pub fn is_gone(&self, node: &NodeId) -> bool {
        self.gone.contains_key(node) && !self.there.is_empty()
    }

    /// In how many milliseconds the next one will be gone.
    pub fn next_deadline(&self, up_ms: u64) -> u64 {
        if self.there.is_empty() {
            return u64::MAX;
        }
        let ends = self.leaving.values().map(|since_ms| since_ms + limits::PARTED_MS);
        ends.min().map_or(u64::MAX, |end_ms| end_ms.saturating_sub(up_ms))
    }
}

#[cfg(test)]
mod tests {
    use forgemesh_protocol::hash::Hash;

    use super::*;

    fn node(number: u64) -> NodeId {
        NodeId(Hash::blob(&number.to_le_bytes()))
    }

    #[test]
    fn a_node_is_gone_a_while_after_its_connection_and_back_with_any_sign() {
        let (mut reach, other) = (Reach::default(), node(1));
        reach.met(&node(2));
        assert_eq!(reach.next_deadline(0), u64::MAX);
        reach.parted(other, 100);
        reach.parted(other, 900);
        let gone_ms = 100 + limits::PARTED_MS;
        assert_eq!(reach.next_deadline(900), gone_ms - 900);
        assert!(reach.tick(gone_ms - 1).is_empty() && !reach.is_gone(&other));
        assert_eq!(reach.tick(gone_ms), [other]);
        assert!(reach.is_gone(&other));
        reach.parted(other, gone_ms + 1);
        assert_eq!(reach.next_deadline(gone_ms), u64::MAX, "nothing more will happen by itself");
        assert!(reach.met(&other) && !reach.is_gone(&other));
        assert!(!reach.met(&other));
        reach.parted(other, 5_000);
        assert!(!reach.met(&other), "it was back before anybody missed it");
        assert!(reach.tick(u64::MAX / 2).is_empty());
    }

    #[test]
    fn who_is_away_itself_takes_nobody_for_gone() {
        let mut reach = Reach::default();
        assert!([1, 2].iter().all(|number| !reach.met(&node(*number))));
        [1, 2].iter().for_each(|number| reach.parted(node(*number), 0));
        assert!(reach.tick(limits::PARTED_MS).is_empty() && !reach.is_gone(&node(1)));
        assert_eq!(reach.next_deadline(limits::PARTED_MS), u64::MAX);
        reach.met(&node(2));
        assert_eq!(reach.tick(limits::PARTED_MS), [node(1)], "now it is told");
        assert!(reach.is_gone(&node(1)) && !reach.is_gone(&node(2)));
    }

    #[test]
    fn of_more_nodes_than_can_be_remembered_the_last_ones_are() {
        let mut reach = Reach::default();
        reach.met(&node(u64::MAX));
        let all = limits::PEERS as u64 + 10;
        for number in 0..all {
            reach.parted(node(number), number);
            reach.tick(number);
        }
        reach.tick(all + limits::PARTED_MS);
        assert_eq!((reach.gone.len(), reach.leaving.len()), (limits::PEERS, 0));
        assert!(reach.is_gone(&node(all - 1)) && !reach.is_gone(&node(0)));
    }
}
