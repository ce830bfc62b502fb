//! A hub that fails at every reduction and gives up jobs to which nothing has happened.

use forgemesh_node::ports::{Done, Work};

use super::Tamper;

/// The bug.
pub struct FailingReduction;

impl Tamper for FailingReduction {
    fn done(&mut self, work: &Work) -> Option<Done> {
        matches!(work, Work::Reduce { .. }).then(|| Done::Failed { detail: "a planted bug".to_owned() })
    }
}
