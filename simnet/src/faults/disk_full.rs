//! Disks with little room, or none, for a while.

use super::{Fault, Field, What};
use crate::disk::Room;
use crate::draws::Draws;

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
