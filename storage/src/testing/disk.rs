//! A disk in memory, with the faults that disks have.
//!
//! Owns the handle. Must never take randomness from anywhere but its seed. Cheap enough for a simulation to open
//! thousands: it keeps the bytes and the changes since the last sync; recording more than that is asked for.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use redb::StorageBackend;

use super::fault::{Action, Fault, When};
use super::medium::{Change, Medium, SyncResult, Unsynced};
use super::random::Random;
use super::space::{Growth, Space};
use super::state::{Counts, Failures, Recorded, Recording, State};
use crate::limits::RESERVE_BYTES;
use crate::volume::Volume;

/// A handle on the disk; clones share it.
#[derive(Clone, Debug)]
pub struct Disk(Arc<Mutex<State>>);

impl Disk {
    /// An empty disk without limit or fault; `seed` decides all that is random about it.
    pub fn new(seed: u64) -> Disk {
        Disk::with_image(seed, Vec::new())
    }

    /// A disk with bytes that are durable.
    pub fn with_image(seed: u64, image: Vec<u8>) -> Disk {
        Disk(Arc::new(Mutex::new(State {
            medium: Medium::new(image),
            random: Random(seed),
            faults: Vec::new(),
            space: None,
            lying: false,
            fuse: None,
            dead: false,
            counts: Counts::default(),
            failures: Failures::default(),
            recording: None,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("invariant: no operation of the disk panics while it holds the lock")
    }

    /// The bytes as they read now, durable or not.
    pub fn image(&self) -> Vec<u8> {
        self.state().medium.image().to_vec()
    }

    /// Operations so far.
    pub fn counts(&self) -> Counts {
        self.state().counts
    }

    /// Operations that failed so far. What a dead process tries is none of them.
    pub fn failures(&self) -> Failures {
        self.state().failures
    }

    /// What a loss of power at this moment leaves, as a disk of its own: as large, honest, without faults, and deaf to
    /// the handles of this one. `Unsynced::Kept` is what killing the process leaves.
    pub fn power_loss(&self, way: Unsynced) -> Disk {
        let mut state = self.state();
        let image = state.medium.survivors(way);
        let space = state.space.as_ref().map(|space| space.with_image(&image));
        let after = Disk::with_image(state.random.draw(), image);
        after.state().space = space;
        after
    }

    /// Lets `changes` more writes, resizes and syncs through; then the process is dead: nothing more reaches the disk,
    /// and every operation, reads too, fails.
    pub fn light_fuse(&self, changes: u64) {
        self.state().fuse = Some(changes);
    }

    /// Whether the fuse has burnt down.
    pub fn is_dead(&self) -> bool {
        self.state().dead
    }

    /// Lets operations fail with `kind`. A failed write may have reached the disk in part; a failed sync leaves what it
    /// covered in limbo: it reads well, and no later sync makes it durable.
    pub fn fail(&self, action: Action, when: When, kind: io::ErrorKind) {
        self.state().faults.push(Fault { action, when, kind });
    }

    /// Takes all faults away; what they did stays.
    pub fn heal(&self) {
        self.state().faults.clear();
    }

    /// From now on syncs say that they succeeded and do nothing, or no longer.
    pub fn lie(&self, lying: bool) {
        self.state().lying = lying;
    }

    /// Limits the disk to `capacity` bytes, or lifts the limit. It may be less than what is taken already: a neighbour
    /// filled the disk.
    pub fn limit(&self, capacity: Option<u64>, growth: Growth) {
        let mut state = self.state();
        let reserved = state.space.as_ref().is_some_and(|space| space.reserved);
        let space = capacity.map(|bytes| Space::new(bytes, growth, state.medium.image(), reserved));
        state.space = space;
    }

    /// Leaves `free` bytes free, whatever is taken, on a disk that has a limit.
    pub fn leave_free(&self, free: u64) {
        if let Some(space) = &mut self.state().space {
            space.capacity = space.used() + free;
        }
    }

    /// Bytes free; `None` without a limit.
    pub fn free(&self) -> Option<u64> {
        self.state().space.as_ref().map(Space::free)
    }

    /// Flips one bit each of `flips` random bytes that are not zero, and says where. What a live handle has in its cache
    /// it does not read again.
    pub fn rot(&self, flips: usize) -> Vec<usize> {
        let mut state = self.state();
        let used: Vec<usize> =
            (0..state.medium.image().len()).filter(|at| state.medium.image()[*at] != 0).collect();
        let flips = if used.is_empty() { 0 } else { flips };
        let mut places = Vec::new();
        for _ in 0..flips {
            let (place, bit) = (used[state.random.below(used.len())], state.random.below(8));
            state.medium.rot(place, 1 << bit);
            places.push(place);
        }
        places
    }

    /// Flips the bits of `mask` in the byte at `at`.
    pub fn rot_at(&self, at: usize, mask: u8) {
        self.state().medium.rot(at, mask);
    }

    /// Keeps every change and sync from now on for `each_crash`. Bit rot is not recorded.
    pub fn record(&self) {
        let mut state = self.state();
        let (start, since) = (state.medium.clone(), state.counts.changes());
        state.recording = Some(Recording { start, since, operations: Vec::new() });
    }

    /// Calls `check` with the image after a power loss at every moment (in `Counts::changes`) of the recording, for each
    /// way of losing; a disk that did not record has no moments.
    pub fn each_crash(&self, ways: &[Unsynced], mut check: impl FnMut(u64, Unsynced, Vec<u8>)) {
        let (mut medium, since, operations) = match &self.state().recording {
            Some(recording) => (recording.start.clone(), recording.since, recording.operations.clone()),
            None => return,
        };
        let mut moments = |moment: u64, medium: &Medium| {
            ways.iter().for_each(|way| check(moment, *way, medium.survivors(*way)));
        };
        moments(since, &medium);
        for (moment, operation) in operations {
            match operation {
                Recorded::Change(change) => medium.change(change),
                Recorded::Sync(result) => medium.sync(result),
            }
            moments(moment, &medium);
        }
    }
}

/// A place in memory; what does not fit into it is not on the disk.
fn place(at: u64) -> io::Result<usize> {
    usize::try_from(at).map_err(|_| io::ErrorKind::UnexpectedEof.into())
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        let mut state = self.state();
        state.admit(Action::Read)?;
        state.counts.add(Action::Read);
        Ok(state.medium.image().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut state = self.state();
        state.admit(Action::Read)?;
        let offset = place(offset)?;
        let end = offset.checked_add(out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        let found = state.medium.image().get(offset..end).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(found);
        state.counts.add(Action::Read);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.state();
        state.admit(Action::Resize)?;
        let (old, new) = (state.medium.image().len(), place(len)?);
        state.make_room(|space| space.set_len(old, new))?;
        state.change(Change::SetLen(new));
        state.counts.add(Action::Resize);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.state();
        if let Err(error) = state.admit(Action::Sync) {
            if !state.dead {
                state.sync(SyncResult::Failed);
            }
            return Err(error);
        }
        let result = if state.lying { SyncResult::Lied } else { SyncResult::Held };
        state.sync(result);
        state.counts.add(Action::Sync);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        let offset = place(offset)?;
        if let Err(error) = state.admit(Action::Write) {
            if !state.dead {
                state.write_partly(offset, data);
            }
            return Err(error);
        }
        state.make_room(|space| space.take(offset..offset + data.len()))?;
        state.change(Change::Write { offset, data: data.to_vec() });
        state.counts.add(Action::Write);
        Ok(())
    }
}

impl Volume for Disk {
    fn free_bytes(&self) -> Option<u64> {
        self.free()
    }

    fn has_reserve(&self) -> bool {
        self.state().space.as_ref().is_some_and(|space| space.reserved)
    }

    fn take_reserve(&self) -> bool {
        let mut state = self.state();
        let dead = state.dead;
        match &mut state.space {
            Some(space) if !dead && !space.reserved && space.free() >= RESERVE_BYTES => {
                space.reserved = true;
                true
            }
            Some(space) => space.reserved,
            None => false,
        }
    }

    fn release_reserve(&self) {
        let mut state = self.state();
        let dead = state.dead;
        if let Some(space) = state.space.as_mut().filter(|_| !dead) {
            space.reserved = false;
        }
    }
}
