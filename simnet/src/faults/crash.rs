//! Power losses at a time, deaths when work or a batch has ended and is told or not, deaths in the middle of a write.

use super::{Class, Fault, Field, What, way};
use crate::disk::Unsynced;
use crate::draws::Draws;
use crate::machine::Machine;

/// Draws them.
pub fn draw(field: &Field, draws: &mut Draws) -> Vec<Fault> {
    let count = field.count(draws, 4);
    let one = |_| {
        let (at_ms, machine, way) = (field.time(draws), field.machine(draws), way(draws));
        let (for_ms, after) = (draws.between(1, 30_000), draws.between(0, 60));
        let (for_ms, what) = match draws.between(0, 3) {
            0 | 1 => (for_ms, What::Off { machine, way }),
            2 => (0, What::Fuse { machine, steps: after, way }),
            _ => (0, What::MidWrite { machine, changes: after, way }),
        };
        Fault { at_ms, for_ms, what }
    };
    (0..count).map(one).collect()
}

/// The power goes.
pub fn off(machine: &Machine, way: Unsynced) {
    machine.hold(way);
}

/// It will die at a change of its disk.
pub fn mid_write(machine: &Machine, changes: u64, way: Unsynced) {
    machine.ills().expect(Class::Crash);
    machine.set_way(way);
    machine.disk().light_fuse(changes);
}
