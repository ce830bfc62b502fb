//! The kernel's write-back of the database file.
//!
//! Owns when it begins. Must never promise anything: only a sync says that bytes are on the disk, and what failed before
//! it is the sync's error.

use std::fs::File;

use crate::limits::WRITE_BACK_BYTES;

/// The file whose pages are written back as soon as they are large enough.
#[derive(Debug)]
pub(crate) struct WriteBack(
    #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "advice is Linux's"))] File,
);

impl WriteBack {
    pub(crate) fn of(file: File) -> WriteBack {
        WriteBack(file)
    }

    /// Bytes were written: the disk may begin with them now, while those that follow are copied, so that the sync in the
    /// end finds little left to do. A group of pieces of an artifact is some fifteen writes of 1 MiB; a tenth of the time
    /// that an artifact takes to come.
    #[cfg(target_os = "linux")]
    pub(crate) fn begin(&self, offset: u64, length: usize) {
        use rustix::fs::{Advice, fadvise};
        use std::num::NonZeroU64;

        if length < WRITE_BACK_BYTES {
            return;
        }
        // Linux begins to write dirty pages back that are not needed soon, and keeps them until that is done. It is advice: a
        // file system that takes none is as good.
        let _ = fadvise(&self.0, offset, NonZeroU64::new(length as u64), Advice::DontNeed);
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn begin(&self, _: u64, _: usize) {}
}
