//! A term has at most one leader: by the votes on the members' disks, by what leaders say of themselves, and by the leases
//! they sign. Source: Ongaro and Ousterhout 2014, section 5.2, "Election Safety".

use std::collections::BTreeMap;

use forgemesh_protocol::id::NodeId;

use super::{Invariant, Moment, View};

/// The invariant.
#[derive(Default)]
pub struct OneLeader {
    by_term: BTreeMap<u64, NodeId>,
}

impl Invariant for OneLeader {
    fn name(&self) -> &'static str {
        "one_leader"
    }

    fn check(&mut self, view: &View<'_>) -> Result<bool, String> {
        let Moment::Led { machine, term, leader } = &view.moment else { return Ok(false) };
        let known = self.by_term.entry(*term).or_insert(*leader);
        match known == leader {
            true => Ok(true),
            false => {
                Err(format!("term {term} has two leaders, {known} and, says machine {machine}, {leader}"))
            }
        }
    }
}
