//! What the data lie on: how much room it has left, and a reserve for the day when it has none.
//!
//! Owns the reserve file. Must never fail: a volume that cannot say how much room it has, or cannot set any aside, is as
//! good as one that never fills up.

use std::fmt::Debug;
use std::fs::{File, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use crate::files::{create_private_file, remove_leftover};
use crate::limits::RESERVE_BYTES;

/// The file whose blocks are given back when the disk is full.
pub const RESERVE_FILE_NAME: &str = "forgemesh.reserve";

/// What holds the bytes of a storage, as far as room goes. A data folder has one; so has the model disk of the tests.
pub trait Volume: Debug + Send + Sync + 'static {
    /// Bytes that this user can still write; `None` when that is not known.
    fn free_bytes(&self) -> Option<u64>;

    /// Whether `RESERVE_BYTES` are set aside.
    fn has_reserve(&self) -> bool;

    /// Sets `RESERVE_BYTES` aside, really taken from the free space; false when that cannot be done.
    fn take_reserve(&self) -> bool;

    /// Gives back what was set aside; fine when nothing was.
    fn release_reserve(&self);
}

/// The file system that holds a data folder.
#[derive(Clone, Debug)]
pub(crate) struct FolderVolume {
    folder: PathBuf,
}

impl FolderVolume {
    pub(crate) fn new(folder: &Path) -> FolderVolume {
        FolderVolume { folder: folder.to_owned() }
    }

    fn reserve(&self) -> PathBuf {
        self.folder.join(RESERVE_FILE_NAME)
    }
}

impl Volume for FolderVolume {
    fn free_bytes(&self) -> Option<u64> {
        free_bytes(&self.folder)
    }

    fn has_reserve(&self) -> bool {
        std::fs::symlink_metadata(self.reserve()).is_ok_and(|found| {
            found.is_file() && found.len() == RESERVE_BYTES && allocated_bytes(&found) >= RESERVE_BYTES
        })
    }

    fn take_reserve(&self) -> bool {
        let path = self.reserve();
        let taken = remove_leftover(&path)
            .and_then(|()| create_private_file(&path))
            .and_then(|file| allocate(&file, RESERVE_BYTES))
            .is_ok();
        if !taken {
            self.release_reserve();
        }
        taken
    }

    fn release_reserve(&self) {
        // What cannot be removed stays: the caller meets the full disk again, and says so.
        let _ = remove_leftover(&self.reserve());
    }
}

#[cfg(unix)]
fn free_bytes(folder: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(folder).ok()?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}

/// Not asked for here, and so never low.
#[cfg(not(unix))]
fn free_bytes(_folder: &Path) -> Option<u64> {
    None
}

/// A file can be long and take no room; its blocks say how much it has.
#[cfg(unix)]
fn allocated_bytes(file: &Metadata) -> u64 {
    // The unit is 512 bytes whatever the file system's own blocks are.
    std::os::unix::fs::MetadataExt::blocks(file).saturating_mul(512)
}

#[cfg(not(unix))]
fn allocated_bytes(file: &Metadata) -> u64 {
    file.len()
}

/// Gives an empty file its length and its blocks; zeros written into it might be compressed away.
#[cfg(unix)]
fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    Ok(rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, bytes)?)
}

/// A file that is not marked sparse takes its room with its length.
#[cfg(not(unix))]
fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    file.set_len(bytes)
}
