//! A member of the hub is off for so long that the leader has another one sit in its place.

use forgemesh_protocol::limits;

use super::{Fault, Field, What, way};
use crate::draws::Draws;

/// Draws one or two, where somebody stands by.
pub fn draw(field: &Field, draws: &mut Draws) -> Vec<Fault> {
    let count = if field.standbys > 0 && field.hubs > 1 { draws.between(1, 2) } else { 0 };
    let one = |_| {
        let machine = draws.between(0, (field.hubs + field.standbys) as u64 - 1) as usize;
        let (at_ms, for_ms) =
            (draws.between(0, field.span_ms), limits::SEAT_LOST_MS + draws.between(0, 60_000));
        Fault { at_ms, for_ms, what: What::SeatLoss { machine, way: way(draws) } }
    };
    (0..count).map(one).collect()
}
