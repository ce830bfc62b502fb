//! A store that now and then forgets to say that a batch is durable: whoever waits for it waits for ever.

use super::Tamper;
use crate::draws::Draws;

/// The bug: one batch in five, so that hardly a job ends. Of fewer one might be the last of a job, whose record then is missing
/// in the books, which another invariant sees first.
pub struct MuteStore(pub Draws);

impl Tamper for MuteStore {
    fn is_told(&mut self) -> bool {
        self.0.between(0, 4) != 0
    }
}
