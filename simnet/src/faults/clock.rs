//! Clocks that are set, forward and back, while their node runs.

use super::{Fault, Field, What};
use crate::draws::Draws;

/// Draws them: up to ten minutes either way.
pub fn draw(field: &Field, draws: &mut Draws) -> Vec<Fault> {
    let count = field.count(draws, 2);
    let one = |_| {
        let (at_ms, machine) = (field.time(draws), field.machine(draws));
        let size_ms = draws.between(1, 600_000) as i64;
        let by_ms = if draws.between(0, 1) == 0 { size_ms } else { -size_ms };
        Fault { at_ms, for_ms: 0, what: What::Clock { machine, by_ms } }
    };
    (0..count).map(one).collect()
}
