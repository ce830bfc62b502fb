//! Power losses at a time, and deaths at any step of the ports.

use super::{Fault, Field, What, way};
use crate::disk::Unsynced;
use crate::draws::Draws;
use crate::machine::Machine;

/// Draws them.
pub fn draw(field: &Field, draws: &mut Draws) -> Vec<Fault> {
    let count = field.count(draws, 4);
    let one = |_| {
        let (at_ms, machine, way) = (field.time(draws), field.machine(draws), way(draws));
        if draws.between(0, 1) == 0 {
            let for_ms = draws.between(1, 30_000);
            Fault { at_ms, for_ms, what: What::Off { machine, way } }
        } else {
            Fault { at_ms, for_ms: 0, what: What::Fuse { machine, steps: draws.between(0, 60), way } }
        }
    };
    (0..count).map(one).collect()
}

/// The power goes.
pub fn off(machine: &Machine, way: Unsynced) {
    machine.hold(way);
}
