//! Bad links: loss, repetition, overtaking, narrow and long lines, and such as break.

use super::{Fault, Field, What};
use crate::draws::Draws;
use crate::switchboard::Weather;

/// Draws spells of bad weather, each of one kind or of all.
pub fn draw(field: &Field, draws: &mut Draws) -> Vec<Fault> {
    let count = field.count(draws, 2);
    let one = |_| {
        let (at_ms, for_ms) = (field.time(draws), draws.between(1_000, 120_000));
        let kinds = [1, 2, 4, 8, 16, 32, 63][draws.between(0, 6) as usize];
        let mut if_in = |kind: u64, bad: u64, fair: u64| {
            let bad = draws.between(0, bad);
            if kinds & kind == 0 { fair } else { bad }
        };
        let fair = Weather::FAIR;
        let weather = Weather {
            loss_ppm: if_in(1, 300_000, fair.loss_ppm),
            repeat_ppm: if_in(2, 300_000, fair.repeat_ppm),
            overtake_ppm: if_in(4, 300_000, fair.overtake_ppm),
            break_ppm: if_in(32, 20_000, fair.break_ppm),
            bytes_per_s: if_in(8, 200_000, fair.bytes_per_s).max(10_000),
            latency_ms: if_in(16, 800, fair.latency_ms),
        };
        Fault { at_ms, for_ms, what: What::Weather(weather) }
    };
    (0..count).map(one).collect()
}
