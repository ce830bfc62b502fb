//! Accumulators that are gone after they were stored: an operator who cleans up, a file system that was checked.

use super::{Fault, Field, What};
use crate::draws::Draws;

/// Draws them, for agents and for the hub: each can be made again.
pub fn draw(field: &Field, draws: &mut Draws) -> Vec<Fault> {
    let count = field.count(draws, 3);
    let one = |_| {
        let (at_ms, machine) = (field.time(draws), field.machine(draws));
        let (after, blobs) = (draws.between(0, 4), draws.between(1, 4));
        Fault { at_ms, for_ms: 0, what: What::BlobLoss { machine, after, blobs } }
    };
    (0..count).map(one).collect()
}
