//! Bits that turn on a disk at rest. Only where a copy of what matters is elsewhere: not at the only hub member.

use super::{Fault, Field, What};
use crate::draws::Draws;

/// Draws them.
pub fn draw(field: &Field, draws: &mut Draws) -> Vec<Fault> {
    let count = field.count(draws, 1);
    let one = |_| {
        let (at_ms, machine) = (field.time(draws), field.agent(draws)?);
        let what = What::Rot { machine, bits: draws.between(1, 16) as usize };
        Some(Fault { at_ms, for_ms: 0, what })
    };
    (0..count).filter_map(one).collect()
}
