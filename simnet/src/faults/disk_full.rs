//! Disks with little room, or none, for a while.

use super::{Class, Fault, Field, What};
use crate::disk::Room;
use crate::draws::Draws;
use crate::machine::Machine;

/// Draws them.
pub fn draw(field: &Field, draws: &mut Draws) -> Vec<Fault> {
    let count = field.count(draws, 2);
    let one = |_| {
        let (at_ms, machine) = (field.time(draws), field.machine(draws));
        let room = if draws.between(0, 1) == 0 { Room::Low } else { Room::None };
        Fault { at_ms, for_ms: draws.between(100, 30_000), what: What::DiskFull { machine, room } }
    };
    (0..count).map(one).collect()
}

/// It fills up.
pub fn begin(machine: &Machine, room: Room) {
    machine.ills().expect(Class::DiskFull);
    machine.disk().set_room(room);
}

/// It has room again.
pub fn end(machine: &Machine) {
    machine.ills().forget(Class::DiskFull);
    machine.disk().set_room(Room::Enough);
}
