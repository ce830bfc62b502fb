//! How much freed memory the process keeps at hand: much while it is busy, nothing while it rests.
//!
//! A piece of an artifact goes through several buffers of a megabyte each, on several threads. The allocator of glibc gives
//! such memory back to the system as soon as it is free, and every page of the next buffer is a fault again: a tenth of a
//! transfer's time. Elsewhere than with glibc nothing is done. Must never change what is computed.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// How often it is looked whether the process rests.
const LOOK: Duration = Duration::from_secs(2);
/// It rests if it took less processor time than this since the last look, and did not if it took more than that.
const RESTING: Duration = Duration::from_millis(40);
const BUSY: Duration = Duration::from_millis(200);

/// Has freed memory kept from now on. Buffers of pieces no longer come from the system one by one either.
pub fn keep() {
    // The most that glibc takes for the second.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    for parameter in [libc::M_TRIM_THRESHOLD, libc::M_MMAP_THRESHOLD] {
        // SAFETY: mallopt may be called at any time, from any thread; it takes two numbers and touches no memory of ours.
        // A number that it does not like it refuses.
        unsafe { libc::mallopt(parameter, 32 << 20) };
    }
}

/// Gives back what is free.
fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: malloc_trim may be called at any time, from any thread; it touches free memory alone.
    unsafe {
        libc::malloc_trim(0)
    };
}

/// Gives back what is free whenever the process comes to rest. Never ends.
pub async fn tend() {
    let (mut before, mut rest) = (processor_time(), Rest { was_busy: true });
    loop {
        tokio::time::sleep(LOOK).await;
        if rest.begins(processor_time().saturating_sub(before)) {
            give_back();
        }
        // What giving back takes is no work.
        before = processor_time();
    }
}

/// Tells when a process comes to rest.
struct Rest {
    was_busy: bool,
}

impl Rest {
    /// It took so much processor time since the last look: does it rest now, having been busy before?
    fn begins(&mut self, taken: Duration) -> bool {
        let begins = self.was_busy && taken < RESTING;
        self.was_busy = taken > BUSY || self.was_busy && !begins;
        begins
    }
}

/// Of all threads, since the process began.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rest_begins_once_after_work() {
        let mut rest = Rest { was_busy: true };
        let looks = [900, 100, 30, 30, 100, 30, 300, 39, 39].map(Duration::from_millis);
        let begins = looks.map(|taken| rest.begins(taken));
        assert_eq!(begins, [false, false, true, false, false, false, false, true, false]);
    }

    #[test]
    fn processor_time_goes_on() {
        let before = processor_time();
        give_back();
        let mut sum = 0_u64;
        while processor_time() == before {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(processor_time() > before);
    }
}
