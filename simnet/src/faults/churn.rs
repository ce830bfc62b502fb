//! Machines that leave and come back, and machines that join late.

use super::{Fault, Field, What};
use crate::disk::Unsynced;
use crate::draws::Draws;
use crate::machine::Machine;

/// Draws them. An absence from the very start is a late joiner.
pub fn draw(field: &Field, draws: &mut Draws) -> Vec<Fault> {
    let count = field.count(draws, 3);
    let one = |_| {
        // A mesh with one hub member is nothing without it for as long.
        let machine = if field.hubs > 1 { field.machine(draws) } else { field.agent(draws)? };
        let at_ms = if draws.between(0, 2) == 0 { 0 } else { field.time(draws) };
        let for_ms = draws.between(1_000, field.span_ms.clamp(2_000, 600_000));
        Some(Fault { at_ms, for_ms, what: What::Away { machine } })
    };
    (0..count).filter_map(one).collect()
}

/// It goes, or has not come yet.
pub fn leave(machine: &Machine, at_ms: u64) {
    if at_ms == 0 { machine.begin_held() } else { machine.hold(Unsynced::Kept) }
}
