//! Cuts: one machine from all others, or from one other, in one direction or both.

use tokio::time::{Duration, Instant};

use super::{Fault, Field, What};
use crate::draws::Draws;
use crate::switchboard::{Cut, Side, Switchboard};

/// Draws them.
pub fn draw(field: &Field, draws: &mut Draws) -> Vec<Fault> {
    let (count, mut faults) = (field.count(draws, 3), Vec::new());
    for _ in 0..count {
        let machine = field.machine(draws);
        let other = if draws.between(0, 1) == 0 { Side::All } else { another(machine, field, draws) };
        let one = Side::One(machine);
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

/// Another machine, if there is one: no link leads from a machine to itself.
fn another(machine: usize, field: &Field, draws: &mut Draws) -> Side {
    let drawn = field.machine(draws);
    let other = if drawn == machine { (machine + 1) % field.machines } else { drawn };
    if other == machine { Side::All } else { Side::One(other) }
}

/// Nothing passes any more.
pub fn begin(board: &Switchboard, from: Side, to: Side, for_ms: u64) {
    board.cut(Cut { from, to, until: Instant::now() + Duration::from_millis(for_ms) });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_machine_is_cut_from_itself() {
        let field =
            |machines| Field { machines, span_ms: 120_000, hubs: 1, standbys: 0, arrivals: Vec::new() };
        let faults = |seed| draw(&field(1 + seed as usize % 4), &mut Draws::new(seed, "partition"));
        let faults: Vec<Fault> = (0..200).flat_map(faults).collect();
        let one_from_one =
            |fault: &&Fault| matches!(fault.what, What::Cut { from: Side::One(_), to: Side::One(_) });
        assert!(faults.iter().filter(one_from_one).count() > 100, "{faults:?}");
        let to_itself = |fault: &&Fault| matches!(fault.what, What::Cut { from, to } if from == to);
        assert_eq!(faults.iter().find(to_itself), None);
    }
}
