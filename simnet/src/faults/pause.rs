//! Processes that stand still: stopped virtual machines, long collections of garbage, a laptop's lid.

use tokio::time::{Duration, Instant};

use super::{Fault, Field, What};
use crate::draws::Draws;
use crate::machine::Machine;

/// Draws them: mostly seconds, sometimes minutes.
pub fn draw(field: &Field, draws: &mut Draws) -> Vec<Fault> {
    let count = field.count(draws, 4);
    let one = |_| {
        let longest_ms = if draws.between(0, 3) == 0 { 180_000 } else { 5_000 };
        let (at_ms, machine) = (field.time(draws), field.machine(draws));
        Fault { at_ms, for_ms: draws.between(10, longest_ms), what: What::Pause { machine } }
    };
    (0..count).map(one).collect()
}

/// It stops.
pub fn begin(machine: &Machine, for_ms: u64) {
    machine.gate().close(Instant::now() + Duration::from_millis(for_ms));
}
