//! How much the model disk holds, and what of it is taken.
//!
//! Owns the block count. Must never let more blocks be taken than there are.

use std::io;
use std::ops::Range;

use crate::limits::RESERVE_BYTES;

/// What a file system takes at a time.
const BLOCK: usize = 4_096;

/// What growing costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Growth {
    /// A longer file takes its room at once: growing fails on a full disk.
    Whole,
    /// A longer file has a hole: growing succeeds, and writing into the hole fails.
    Sparse,
}

/// A disk of limited size.
#[derive(Clone, Debug)]
pub(super) struct Space {
    pub(super) capacity: u64,
    growth: Growth,
    taken: Vec<bool>,
    pub(super) reserved: bool,
}

impl Space {
    /// For a file with these bytes; a block of zeros counts as a hole.
    pub(super) fn new(capacity: u64, growth: Growth, image: &[u8], reserved: bool) -> Space {
        let taken = image.chunks(BLOCK).map(|block| block.iter().any(|byte| *byte != 0)).collect();
        Space { capacity, growth, taken, reserved }
    }

    /// The same disk with other bytes on it.
    pub(super) fn with_image(&self, image: &[u8]) -> Space {
        Space::new(self.capacity, self.growth, image, self.reserved)
    }

    pub(super) fn used(&self) -> u64 {
        let blocks = self.taken.iter().filter(|taken| **taken).count() as u64 * BLOCK as u64;
        blocks + if self.reserved { RESERVE_BYTES } else { 0 }
    }

    pub(super) fn free(&self) -> u64 {
        self.capacity.saturating_sub(self.used())
    }

    pub(super) fn set_len(&mut self, old: usize, new: usize) -> io::Result<()> {
        if new > old && self.growth == Growth::Whole {
            self.take(old..new)?;
        }
        self.taken.resize(new.div_ceil(BLOCK), false);
        Ok(())
    }

    /// Takes the blocks of a range, or none of them.
    pub(super) fn take(&mut self, bytes: Range<usize>) -> io::Result<()> {
        let blocks = bytes.start / BLOCK..bytes.end.div_ceil(BLOCK);
        let missing = blocks.clone().filter(|block| !self.taken.get(*block).copied().unwrap_or(false));
        if missing.count() as u64 * BLOCK as u64 > self.free() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if self.taken.len() < blocks.end {
            self.taken.resize(blocks.end, false);
        }
        self.taken[blocks].fill(true);
        Ok(())
    }
}
