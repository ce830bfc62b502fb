//! Cuts around whoever leads the hub at that moment: it goes on taking itself for the leader while the others elect
//! another, and has to give way when it hears of it.

use super::{Fault, Field, What, partition};
use crate::draws::Draws;
use crate::machine::Machine;
use crate::switchboard::{Side, Switchboard};
use crate::witness::Witness;

/// Draws them: from less than an election to many.
pub fn draw(field: &Field, draws: &mut Draws) -> Vec<Fault> {
    let count = field.count(draws, 3);
    let one = |_| {
        let (at_ms, for_ms) = (field.time(draws), draws.between(100, 20_000));
        let (deaf, mute) = [(true, true), (true, false), (false, true)][draws.between(0, 2) as usize];
        Fault { at_ms, for_ms, what: What::Isolate { deaf, mute } }
    };
    (0..count).map(one).collect()
}

/// The machine that leads now, as far as the disks and the links tell.
pub fn leader(machines: &[Machine], witness: &Witness) -> Option<usize> {
    let leader = witness.leader()?;
    machines.iter().position(|machine| machine.node() == leader)
}

/// It is cut off.
pub fn begin(board: &Switchboard, leader: usize, deaf: bool, mute: bool, for_ms: u64) {
    if deaf {
        partition::begin(board, Side::All, Side::One(leader), for_ms);
    }
    if mute {
        partition::begin(board, Side::One(leader), Side::All, for_ms);
    }
}
