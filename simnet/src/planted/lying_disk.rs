//! A disk whose sync does nothing and says that it did: a power loss takes what was acknowledged.

use super::Tamper;

/// The bug.
pub struct LyingDisk;

impl Tamper for LyingDisk {
    fn lies(&self) -> bool {
        true
    }
}
