//! Deaths in the middle of sending: one node was told and the next was not.

use super::{Class, Fault, Field, What, way};
use crate::disk::Unsynced;
use crate::draws::Draws;
use crate::machine::Machine;

/// Draws them.
pub fn draw(field: &Field, draws: &mut Draws) -> Vec<Fault> {
    let count = field.count(draws, 4);
    let one = |_| {
        let (at_ms, machine, way) = (field.time(draws), field.machine(draws), way(draws));
        Fault { at_ms, for_ms: 0, what: What::MidSend { machine, letters: draws.between(0, 60), way } }
    };
    (0..count).map(one).collect()
}

/// It will die before it sends one letter more than these.
pub fn begin(machine: &Machine, letters: u64, way: Unsynced) {
    machine.arm(Class::MidSend, letters, way);
}
