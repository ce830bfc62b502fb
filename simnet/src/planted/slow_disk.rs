//! A disk that takes minutes for each sync while nothing holds back what is written.

use super::Tamper;

/// The bug.
pub struct SlowDisk;

impl Tamper for SlowDisk {
    fn slowness(&self) -> u32 {
        10_000
    }
}
