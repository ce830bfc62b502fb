//! How fast one peer may send: a token bucket of bytes and one of messages.
//!
//! The same bucket, with smaller numbers, paces what this node sends, so that no honest sender runs into another's.

use std::time::{Duration, Instant};

use forgemesh_protocol::limits;

use super::config::Limits;

/// What may still be sent.
#[derive(Debug)]
pub(super) struct Budget {
    bytes: Bucket,
    messages: Bucket,
    refilled: Instant,
}

impl Budget {
    /// What a peer is allowed.
    pub fn of_peer(limits: &Limits, now: Instant) -> Self {
        let burst = limits::PEER_BURST_S;
        Budget {
            bytes: Bucket::new(limits.peer_bytes_per_s, burst),
            messages: Bucket::new(limits.peer_messages_per_s, burst),
            refilled: now,
        }
    }

    /// What this node allows itself towards a peer.
    pub fn of_sender(now: Instant) -> Self {
        let pace = |rate: u64| Bucket::new(rate / limits::PEER_PACE_DIVISOR, 1);
        Budget {
            bytes: pace(limits::PEER_BYTES_PER_S),
            messages: pace(limits::PEER_MESSAGES_PER_S),
            refilled: now,
        }
    }

    /// Takes what these messages cost. As long as anything is left the last of it covers all, as a debt; otherwise it says
    /// how long to wait.
    pub fn take(&mut self, messages: u64, bytes: u64, now: Instant) -> Result<(), Duration> {
        let elapsed = now.saturating_duration_since(self.refilled);
        self.refilled = now;
        self.bytes.refill(elapsed);
        self.messages.refill(elapsed);
        let wait = self.bytes.wait().max(self.messages.wait());
        if wait > Duration::ZERO {
            return Err(wait);
        }
        self.bytes.level -= i128::from(bytes) * NANOS;
        self.messages.level -= i128::from(messages) * NANOS;
        Ok(())
    }
}

/// A level is counted in billionths: that is what a rate of one brings in a nanosecond.
const NANOS: i128 = 1_000_000_000;

#[derive(Debug)]
struct Bucket {
    rate: i128,
    most: i128,
    level: i128,
}

impl Bucket {
    fn new(per_s: u64, burst_s: u64) -> Self {
        let rate = i128::from(per_s.max(1));
        let most = rate * i128::from(burst_s) * NANOS;
        Bucket { rate, most, level: most }
    }

    fn refill(&mut self, elapsed: Duration) {
        let nanos = i128::try_from(elapsed.as_nanos()).unwrap_or(i128::MAX);
        self.level = self.level.saturating_add(self.rate.saturating_mul(nanos)).min(self.most);
    }

    /// Until something is left.
    fn wait(&self) -> Duration {
        if self.level > 0 {
            return Duration::ZERO;
        }
        let nanos = -self.level / self.rate + 1;
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let start = Instant::now();
        let limits = Limits { peer_messages_per_s: 100, ..Limits::default() };
        let mut budget = Budget::of_peer(&limits, start);
        let burst = 100 * limits::PEER_BURST_S;
        assert!((0..burst).all(|_| budget.take(1, 1, start).is_ok()));
        let wait = budget.take(1, 1, start).unwrap_err();
        assert!(wait <= Duration::from_millis(11));
        assert!(budget.take(1, 1, start + wait).is_ok());
        assert!(budget.take(1, 1, start + wait).is_err());
        let later = start + Duration::from_secs(1);
        assert_eq!((0..200).filter(|_| budget.take(1, 1, later).is_ok()).count(), 99);
    }

    #[test]
    fn what_is_larger_than_a_burst_passes_once_and_is_paid_off() {
        let start = Instant::now();
        let limits = Limits { peer_bytes_per_s: 1_000, ..Limits::default() };
        let mut budget = Budget::of_peer(&limits, start);
        assert!(budget.take(1, 30_000, start).is_ok());
        let wait = budget.take(1, 1, start).unwrap_err();
        assert!((Duration::from_secs(20)..Duration::from_secs(21)).contains(&wait));
    }

    #[test]
    fn a_sender_at_its_pace_never_exceeds_what_a_peer_is_allowed() {
        let start = Instant::now();
        let (mut sender, mut peer) = (Budget::of_sender(start), Budget::of_peer(&Limits::default(), start));
        let mut now = start;
        for _ in 0..200_000 {
            while let Err(wait) = sender.take(16, 16 << 10, now) {
                now += wait;
            }
            assert!(peer.take(16, 16 << 10, now).is_ok());
        }
    }
}
