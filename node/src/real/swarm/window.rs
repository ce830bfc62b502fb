//! How often something happened in a span of time, which begins anew once it is over.

use std::time::{Duration, Instant};

/// Since when it is counted, and how often it was.
#[derive(Debug)]
pub(super) struct Window {
    since: Instant,
    count: u32,
}

impl Window {
    /// Nothing has happened yet.
    pub fn new(now: Instant) -> Window {
        Window { since: now, count: 0 }
    }

    /// Is the span over?
    pub fn is_over(&self, span: Duration, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= span
    }

    /// It happens once more; how often it was then.
    pub fn count(&mut self, span: Duration, now: Instant) -> u32 {
        if self.is_over(span, now) {
            *self = Window::new(now);
        }
        self.count += 1;
        self.count
    }
}
