//! Executors that fail every shard for a while: a driver that hangs, memory that is not there.

use super::{Fault, Field, What};
use crate::draws::Draws;

/// Draws them.
pub fn draw(field: &Field, draws: &mut Draws) -> Vec<Fault> {
    let count = field.count(draws, 3);
    let one = |_| {
        let (at_ms, machine) = (field.time(draws), field.machine(draws));
        Fault { at_ms, for_ms: draws.between(500, 20_000), what: What::Execution { machine } }
    };
    (0..count).map(one).collect()
}
