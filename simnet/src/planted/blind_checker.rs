//! A checker that finds everything in order without looking: the forger beside it wins.

use forgemesh_node::ports::{Done, Work};

use super::Tamper;

/// The bug; its scenario has a forger.
pub struct BlindChecker;

impl Tamper for BlindChecker {
    fn done(&mut self, work: &Work) -> Option<Done> {
        matches!(work, Work::Check { .. }).then(|| Done::Checked { mismatches: Vec::new() })
    }
}
