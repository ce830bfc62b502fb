//! A store that says "durable" while the batch is still in memory: what it acknowledged dies with the machine.

use super::Tamper;
use crate::draws::Draws;

/// The bug: one batch in eight.
pub struct EarlyStore(pub Draws);

impl Tamper for EarlyStore {
    fn is_early(&mut self) -> bool {
        self.0.between(0, 7) == 0
    }
}
