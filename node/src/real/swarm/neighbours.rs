//! How many words of the local network about neighbours are believed.
//!
//! Whoever is in that network can say who is there, with no key at all. Must never try more of it than a busy network has.

use std::time::{Duration, Instant};

use super::window::Window;

/// Addresses of neighbours that are tried in one span of time.
const ADDRESSES: u32 = 64;
const SPAN: Duration = Duration::from_secs(60);

/// What the span of time that runs has brought.
#[derive(Debug, Default)]
pub(super) struct Neighbours {
    tried: Option<Window>,
}

impl Neighbours {
    /// Whether one more is tried.
    pub fn admits(&mut self, now: Instant) -> bool {
        self.tried.get_or_insert_with(|| Window::new(now)).count(SPAN, now) <= ADDRESSES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_names_thousands_of_neighbours_has_a_few_tried_each_minute() {
        let (mut neighbours, begun) = (Neighbours::default(), Instant::now());
        let tried = |neighbours: &mut Neighbours, at: Duration| {
            (0..10_000).filter(|_| neighbours.admits(begun + at)).count()
        };
        assert_eq!(tried(&mut neighbours, Duration::ZERO), ADDRESSES as usize);
        assert_eq!(tried(&mut neighbours, SPAN - Duration::from_millis(1)), 0);
        assert_eq!(tried(&mut neighbours, SPAN), ADDRESSES as usize);
    }
}
