//! A member that finds it has all evidence without looking: what was voted on while it was away it never gets.

use forgemesh_node::lacks::{Lacks, Place};
use forgemesh_node::ports::{Done, Work};

use super::Tamper;

/// The bug.
pub struct IncuriousMember;

impl Tamper for IncuriousMember {
    fn done(&mut self, work: &Work) -> Option<Done> {
        let Work::Lacks { from } = work else { return None };
        let next = Place { entry: from.entry + 1, batch: 0 };
        Some(Done::Lacks { lacks: Box::new(Lacks { next, ..Lacks::default() }) })
    }
}
