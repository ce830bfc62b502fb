//! Room that a file gives back from its middle.
//!
//! Owns how that is asked for. Must never promise anything: where it is not possible the file only stays larger.

use std::fs::File;

/// The file.
#[derive(Debug)]
pub(crate) struct Holes(
    #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "holes are Linux's"))] File,
);

impl Holes {
    pub(crate) fn of(file: File) -> Holes {
        Holes(file)
    }

    /// These bytes are needed no more, and read as zeros at best.
    #[cfg(target_os = "linux")]
    pub(crate) fn punch(&self, offset: u64, length: u64) {
        use rustix::fs::{FallocateFlags, fallocate};

        // A file system that knows no holes is as good.
        let _ = fallocate(&self.0, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, offset, length);
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn punch(&self, _: u64, _: u64) {}
}
