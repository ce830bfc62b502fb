//! Room on the disk: how much there is, when it is low, and the reserve that keeps a full disk from being the end.
//!
//! Owns the rule when the reserve is taken and when it is given back. Must never make a full disk fuller.

use crate::engine::Storage;
use crate::limits::{LOW_ROOM_BYTES, RESERVE_BYTES};
use crate::volume::Volume;

/// How much room there is where the data lie.
///
/// What a caller does with it:
/// * While `Room::low` is set, refuse new work and go on with the rest: reads need no room, and what was accepted is
///   finished in what is left. Ask again from time to time; once it is unset, `restock_reserve` and accept work again.
/// * After `CommitError::DiskFull` or `CommitError::Io` drop the handle and open again, and never retry on the live one:
///   what of the failed batch reached the disk is unknown until it has been read back. After `DiskFull` the reserve has
///   been given back by then, so that opening finds room to recover in and the next commits to close the books with.
/// * Opening fails with `OpenError::DiskFull` only when even the reserve was not enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Bytes that can still be written, the reserve not among them; `None` when that is not known.
    pub free_bytes: Option<u64>,
    /// Less than `LOW_ROOM_BYTES` are free: refuse new work. Unknown is not low.
    pub low: bool,
}

/// Sets the reserve aside when there is plenty of room; whether it is there afterwards.
pub(crate) fn restock(volume: &dyn Volume) -> bool {
    // Plenty: taking it must not make the room low, or it would be taken and given back in turns.
    let plenty = || volume.free_bytes().is_some_and(|free| free >= LOW_ROOM_BYTES + RESERVE_BYTES);
    volume.has_reserve() || plenty() && volume.take_reserve()
}

impl Storage {
    /// How much room there is now. Answers on a dead handle too.
    pub fn room(&self) -> Room {
        let free_bytes = self.volume().and_then(|volume| volume.free_bytes());
        Room { free_bytes, low: free_bytes.is_some_and(|free| free < LOW_ROOM_BYTES) }
    }

    /// Takes the reserve again once there is plenty of room; whether it is there now. Opening does it too.
    pub fn restock_reserve(&self) -> bool {
        self.volume().is_some_and(restock)
    }
}
