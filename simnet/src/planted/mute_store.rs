//! A store that now and then forgets to say that a batch is durable: whoever waits for it waits for ever.

use super::Tamper;
use crate::draws::Draws;

/// The bug: one batch in twenty.
pub struct MuteStore(pub Draws);

impl Tamper for MuteStore {
    fn is_told(&mut self) -> bool {
        self.0.between(0, 19) != 0
    }
}
