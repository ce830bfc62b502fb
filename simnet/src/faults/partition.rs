//! Cuts: one machine from all others, or from one other, in one direction or both.

use tokio::time::{Duration, Instant};

use super::{Fault, Field, What};
use crate::draws::Draws;
use crate::switchboard::{Cut, Side, Switchboard};

/// Draws them.
pub fn draw(field: &Field, draws: &mut Draws) -> Vec<Fault> {
    let (count, mut faults) = (field.count(draws, 3), Vec::new());
    for _ in 0..count {
        let one = Side::One(field.machine(draws));
        let other = if draws.between(0, 1) == 0 { Side::All } else { Side::One(field.machine(draws)) };
        let (at_ms, for_ms) = (field.time(draws), draws.between(100, 60_000));
        let ways = draws.between(0, 2);
        if ways != 1 {
            faults.push(Fault { at_ms, for_ms, what: What::Cut { from: one, to: other } });
        }
        if ways != 0 {
            faults.push(Fault { at_ms, for_ms, what: What::Cut { from: other, to: one } });
        }
    }
    faults
}

/// Nothing passes any more.
pub fn begin(board: &Switchboard, from: Side, to: Side, for_ms: u64) {
    board.cut(Cut { from, to, until: Instant::now() + Duration::from_millis(for_ms) });
}
