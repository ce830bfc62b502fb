//! Bits that turn on a disk at rest, at agents and at a minority of the hub's members: what a member's disk holds is
//! elsewhere only as long as a majority has it, and a hub whose majority is gone may be gone. A member whose disk is beyond
//! repair does not come back in this world: with a blank disk it would have forgotten its vote.

use super::{Fault, Field, What};
use crate::draws::Draws;

/// Draws them.
pub fn draw(field: &Field, draws: &mut Draws) -> Vec<Fault> {
    let count = field.count(draws, 1);
    let first = draws.between(0, field.hubs as u64 - 1) as usize;
    let minority: Vec<usize> = (0..(field.hubs - 1) / 2).map(|n| (first + n) % field.hubs).collect();
    let one = |_| {
        let (at_ms, agent, machine) = (field.time(draws), field.agent(draws), field.machine(draws));
        let machine = if minority.contains(&machine) { Some(machine) } else { agent };
        let what = What::Rot { machine: machine?, bits: draws.between(1, 16) as usize };
        Some(Fault { at_ms, for_ms: 0, what })
    };
    (0..count).filter_map(one).collect()
}
