//! How long whoever has asked for something large waits before it asks again: ever longer, for each answer that is asked
//! for twice makes a slow line slower, up to where nothing else comes through.

use forgemesh_protocol::limits;

/// After the n-th question, in milliseconds: once, twice, four times as long, up to a bound.
pub(crate) fn wait_ms(asks: usize) -> u64 {
    let doublings = asks.saturating_sub(1).min(u32::BITS as usize - 1) as u32;
    (limits::RETRY_MS << doublings).min(limits::RETRY_MOST_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_bound() {
        let waits: Vec<u64> = (0..=6).map(wait_ms).collect();
        assert_eq!(waits, [1_000, 1_000, 2_000, 4_000, 8_000, 8_000, 8_000]);
        assert_eq!(wait_ms(usize::MAX), limits::RETRY_MOST_MS);
    }
}
