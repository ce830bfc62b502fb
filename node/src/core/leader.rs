//! Who was last heard to lead the hub, and in which term.

use forgemesh_protocol::id::NodeId;

/// The hub's leader, as far as is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Leader {
    term: u64,
    pub node: Option<NodeId>,
}

impl Leader {
    /// Notes who leads in `term`; true if that is news.
    pub fn follow(&mut self, term: u64, node: Option<NodeId>) -> bool {
        let news = term > self.term || (term == self.term && self.node.is_none());
        let lost = node.is_none() && self.node.is_some() && term >= self.term;
        if news || lost {
            *self = Leader { term, node };
        }
        news || lost
    }
}
