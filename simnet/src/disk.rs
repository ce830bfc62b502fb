//! The disk of a simulated machine: storage's model disk, with the ills that a scenario gives it.
//!
//! Owns what "full" and "failing" mean here. Must never lose what an honest sync covered: that is the model's promise.

use std::cell::OnceCell;
use std::io::ErrorKind;

use forgemesh_storage::testing::{self, Action, Growth, When};
use forgemesh_storage::{OpenError, Storage};

pub use forgemesh_storage::testing::{Failures, Unsynced};

/// Room that a disk has when it is nearly full: enough for the jobs it has taken, below what storage calls low.
const LOW_BYTES: u64 = 128 << 20;
/// Room that it has otherwise: storage sets its reserve aside.
const ENOUGH_BYTES: u64 = 4 << 30;

thread_local! {
    /// An initialised, cleanly closed database, made once in each thread.
    static BLANK: OnceCell<Vec<u8>> = const { OnceCell::new() };
}

/// How much room a disk has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    Enough,
    /// So little that no new work should be taken.
    Low,
    /// Nothing can be written that takes more room.
    None,
}

/// The disk of one machine. Clones are the same disk.
#[derive(Clone, Debug)]
pub struct Disk(testing::Disk);

impl Disk {
    /// A disk of its own with an empty database on it; `seed` decides what is random about it.
    pub fn blank(seed: u64) -> Result<Disk, OpenError> {
        BLANK.with(|blank| {
            let image = match blank.get() {
                Some(image) => image,
                None => {
                    let disk = testing::Disk::new(seed);
                    drop(Storage::with_volume(disk.clone())?);
                    blank.get_or_init(|| disk.image())
                }
            };
            let disk = Disk(testing::Disk::with_image(seed, image.clone()));
            disk.set_room(Room::Enough);
            Ok(disk)
        })
    }

    /// Opens the database on it.
    pub fn open(&self) -> Result<Storage, OpenError> {
        Storage::with_volume(self.0.clone())
    }

    /// What a power loss at this moment leaves: a disk of its own, without faults.
    pub fn after(&self, way: Unsynced) -> Disk {
        Disk(self.0.power_loss(way))
    }

    /// After `changes` more writes, resizes and syncs every one of them fails, or a single one if it does so `once`.
    pub fn fail_after(&self, changes: u64, once: bool) {
        self.fail(Action::Change, changes, once);
    }

    /// After so many more reads every one of them fails, or a single one if it does so `once`.
    pub fn fail_reads(&self, passed: u64, once: bool) {
        self.fail(Action::Read, passed, once);
    }

    fn fail(&self, action: Action, passed: u64, once: bool) {
        let when = if once { When::After(passed) } else { When::Since(passed) };
        self.0.fail(action, when, ErrorKind::Other);
    }

    /// The process dies at the change after so many, in the middle of whatever it writes.
    pub fn light_fuse(&self, changes: u64) {
        self.0.light_fuse(changes);
    }

    /// What has failed of it.
    pub fn failures(&self) -> Failures {
        self.0.failures()
    }

    /// Takes away what is wrong with it.
    pub fn heal(&self) {
        self.0.heal();
        self.set_room(Room::Enough);
    }

    /// Fills it up, or gives it room again.
    pub fn set_room(&self, room: Room) {
        self.0.limit(Some(0), Growth::Whole);
        self.0.leave_free(match room {
            Room::Enough => ENOUGH_BYTES,
            Room::Low => LOW_BYTES,
            Room::None => 0,
        });
    }

    /// From now on a sync does nothing and says that it did.
    pub fn lie(&self) {
        self.0.lie(true);
    }

    /// Whether its process died at a change of it.
    pub fn is_dead(&self) -> bool {
        self.0.is_dead()
    }

    /// Turns bits of bytes that are in use; whether there were any.
    pub fn rot(&self, bits: usize) -> bool {
        !self.0.rot(bits).is_empty()
    }
}
