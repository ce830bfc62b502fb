//! Disks that fail to be read, while a node runs or when it is started again: most of what a running node reads is in memory,
//! so the fault stays with the machine until it strikes.

use super::{Class, Fault, Field, What};
use crate::draws::Draws;
use crate::machine::Machine;

/// Draws them.
pub fn draw(field: &Field, draws: &mut Draws) -> Vec<Fault> {
    let count = field.count(draws, 2);
    let one = |_| {
        let (at_ms, machine) = (field.time(draws), field.machine(draws));
        let what = What::ReadError { machine, after: draws.between(0, 30), once: draws.between(0, 1) == 0 };
        Fault { at_ms, for_ms: 0, what }
    };
    (0..count).map(one).collect()
}

/// It will fail.
pub fn begin(machine: &Machine, after: u64, once: bool) {
    machine.ills().expect(Class::ReadError);
    machine.fail_reads(after, once);
}
