//! Disks that fail in the middle of whatever is being written; the node stops, what was not synced is torn.

use super::{Class, Fault, Field, What};
use crate::disk::Unsynced;
use crate::draws::Draws;
use crate::machine::Machine;

/// Draws them.
pub fn draw(field: &Field, draws: &mut Draws) -> Vec<Fault> {
    let count = field.count(draws, 2);
    let one = |_| {
        let (at_ms, machine) = (field.time(draws), field.machine(draws));
        let what = What::DiskError {
            machine,
            after: draws.between(0, 60),
            once: draws.between(0, 1) == 0,
            seed: draws.word(),
        };
        Fault { at_ms, for_ms: 0, what }
    };
    (0..count).map(one).collect()
}

/// It will fail.
pub fn begin(machine: &Machine, after: u64, once: bool, seed: u64) {
    machine.ills().expect(Class::DiskError);
    machine.set_way(Unsynced::Torn(seed));
    machine.disk().fail_after(after, once);
}
