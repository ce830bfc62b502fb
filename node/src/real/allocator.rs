//! How much freed memory the process keeps at hand: much while it is busy, nothing while it rests.
//!
//! A piece of an artifact goes through several buffers of a megabyte each, on several threads. The allocator of glibc gives
//! such memory back to the system as soon as it is free, and every page of the next buffer is a fault again: a tenth of a
//! transfer's time. Elsewhere than with glibc nothing is done. Must never change what is computed.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// How often it is looked whether the process rests.
const LOOK: Duration = Duration::from_secs(2);
/// It was busy if it took more processor time than this between two looks; now it rests if it takes a quarter of that, or less.
const BUSY: Duration = Duration::from_millis(200);

/// Has freed memory kept from now on. Buffers of pieces no longer come from the system one by one either. Does nothing once
/// there are other threads.
pub fn keep() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    if std::fs::read_dir("/proc/self/task").is_ok_and(|threads| threads.count() == 1) {
        // The most that glibc takes for the second.
        for parameter in [libc::M_TRIM_THRESHOLD, libc::M_MMAP_THRESHOLD] {
            // SAFETY: mallopt takes two numbers, touches no memory of ours and refuses what it does not like. It must not
            // run beside another thread that allocates ("MT-Unsafe init" in glibc's manual): there is none.
            unsafe { libc::mallopt(parameter, 32 << 20) };
        }
    }
}

/// Gives back what is free.
fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: malloc_trim may be called at any time, from any thread ("MT-Safe" in glibc's manual); it touches free memory alone.
    unsafe {
        libc::malloc_trim(0)
    };
}

/// Gives back what is free whenever the process comes to rest. Never ends.
pub async fn tend() {
    let (mut before, mut rest) = (processor_time(), Rest::default());
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
#[derive(Default)]
struct Rest {
    /// The most processor time that it took between two looks, since it came to rest last.
    most: Duration,
}

impl Rest {
    /// It took so much processor time since the last look: does it rest now, having been busy before?
    fn begins(&mut self, taken: Duration) -> bool {
        let begins = self.most > BUSY && taken <= self.most / 4;
        self.most = if begins { taken } else { self.most.max(taken) };
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
        let mut rest = Rest::default();
        let looks = [900, 300, 220, 100, 30, 100, 30, 300, 75, 10].map(Duration::from_millis);
        let begins = looks.map(|taken| rest.begins(taken));
        assert_eq!(begins, [false, false, true, false, true, false, false, false, true, false]);
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
