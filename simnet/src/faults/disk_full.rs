//! Disks without room, for a while.

use super::{Fault, Field, What};
use crate::draws::Draws;

/// Draws them.
pub fn draw(field: &Field, draws: &mut Draws) -> Vec<Fault> {
    let count = field.count(draws, 1);
    let one = |_| {
        let (at_ms, machine) = (field.time(draws), field.machine(draws));
        Fault { at_ms, for_ms: draws.between(100, 30_000), what: What::DiskFull { machine } }
    };
    (0..count).map(one).collect()
}
