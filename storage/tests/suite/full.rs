//! A full disk: noticed before it is full, survived with the reserve, left behind when there is room again.
//!
//! Runs on the model disk, and on a real file system too where `FORGEMESH_SMALL_FOLDER` names an empty folder on one
//! of 400 MiB or more that may be filled up, such as a tmpfs:
//! `unshare -rm sh -c 'mount -t tmpfs -o size=400m none DIR && FORGEMESH_SMALL_FOLDER=DIR cargo test … full'`.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};

use forgemesh_storage::limits::{LOW_ROOM_BYTES, RESERVE_BYTES};
use forgemesh_storage::testing::{Action, Disk, Growth, Unsynced, When};
use forgemesh_storage::{Batch, CommitError, OpenError, RESERVE_FILE_NAME, Room, Storage, Volume};
use tempfile::TempDir;

const MIB: u64 = 1 << 20;

/// Where a storage can run out of room.
trait Place {
    fn open(&self) -> Result<Storage, OpenError>;
    /// Lets a neighbour take or give back room until `bytes` are free, or at least nearly so.
    fn leave_free(&self, storage: &Storage, bytes: u64);
    fn has_reserve(&self) -> bool;
}

impl Place for Disk {
    fn open(&self) -> Result<Storage, OpenError> {
        Storage::with_volume(self.clone())
    }

    fn leave_free(&self, _storage: &Storage, bytes: u64) {
        Disk::leave_free(self, bytes);
    }

    fn has_reserve(&self) -> bool {
        Volume::has_reserve(self)
    }
}

struct SmallFolder(TempDir);

impl Place for SmallFolder {
    fn open(&self) -> Result<Storage, OpenError> {
        Storage::open(&self.0.path().join("data"))
    }

    fn leave_free(&self, storage: &Storage, bytes: u64) {
        let ballast = self.0.path().join("ballast");
        let _ = fs::remove_file(&ballast);
        let free = storage.room().free_bytes.unwrap();
        let mut file = File::create(ballast).unwrap();
        for _ in 0..free.saturating_sub(bytes) / 4_096 {
            file.write_all(&[0xba; 4_096]).unwrap();
        }
        file.sync_all().unwrap();
    }

    fn has_reserve(&self) -> bool {
        fs::metadata(self.0.path().join("data").join(RESERVE_FILE_NAME))
            .is_ok_and(|file| file.len() == RESERVE_BYTES)
    }
}

fn limited(growth: Growth) -> Disk {
    let disk = Disk::new(3);
    disk.limit(Some(400 * MIB), growth);
    disk
}

fn places() -> Vec<Box<dyn Place>> {
    let mut places: Vec<Box<dyn Place>> =
        vec![Box::new(limited(Growth::Whole)), Box::new(limited(Growth::Sparse))];
    if let Some(folder) = std::env::var_os("FORGEMESH_SMALL_FOLDER") {
        places.push(Box::new(SmallFolder(tempfile::tempdir_in(folder).unwrap())));
    }
    places
}

fn batch(n: u64, blob_bytes: usize) -> Batch {
    let mut batch = Batch::new();
    let mut bytes = n.to_le_bytes().to_vec();
    bytes.resize(blob_bytes, 0xb1);
    batch.put_blob(bytes);
    batch.append_ledger(n, format!("entry {n}").into_bytes());
    batch
}

fn check(storage: &Storage, entries: u64) {
    assert_eq!(storage.ledger_len(), Ok(entries));
    for n in 0..entries {
        assert_eq!(storage.ledger(n), Ok(Some(format!("entry {n}").into_bytes())));
    }
    assert!(storage.scrub(None, usize::MAX).unwrap().corrupt.is_empty());
}

/// Commits until the disk is full and the handle dead, then says how many entries there are.
fn fill_up(storage: &Storage, mut entries: u64) -> u64 {
    loop {
        match storage.commit(&batch(entries, 300_000)) {
            Ok(()) => entries += 1,
            Err(error) => {
                assert_eq!(error, CommitError::DiskFull);
                assert!(storage.is_dead());
                return entries;
            }
        }
    }
}

#[test]
fn a_full_disk_is_survived() {
    for place in places() {
        let storage = place.open().unwrap();
        assert!(place.has_reserve(), "taken when there is plenty");
        assert!(!storage.room().low);
        storage.commit(&batch(0, 300_000)).unwrap();

        place.leave_free(&storage, LOW_ROOM_BYTES - MIB);
        let room = storage.room();
        assert!(room.low && room.free_bytes.is_some_and(|free| free > 200 * MIB), "{room:?}");
        place.leave_free(&storage, 4 * MIB);
        let entries = fill_up(&storage, 1);
        assert!(!place.has_reserve(), "given back");
        drop(storage);

        // Nothing acknowledged is gone, and the books can be closed.
        let storage = place.open().unwrap();
        let mut found = storage.ledger_len().unwrap();
        assert!(found == entries || found == entries + 1);
        check(&storage, found);
        assert!(storage.room().low);
        assert!(!storage.restock_reserve(), "not while there is little room");
        for _ in 0..40 {
            storage.commit(&batch(found, 10_000)).unwrap();
            found += 1;
        }
        // The reserve used up too: what is there can still be read, by opening again as well.
        place.leave_free(&storage, 0);
        let found = fill_up(&storage, found);
        drop(storage);
        let storage = place.open().unwrap();
        check(&storage, storage.ledger_len().unwrap());
        assert!(storage.ledger_len().unwrap() >= found);
        assert!(storage.room().low && !place.has_reserve());
        let found = fill_up(&storage, storage.ledger_len().unwrap());
        drop(storage);

        // Room again.
        let storage = place.open().unwrap();
        place.leave_free(&storage, LOW_ROOM_BYTES + RESERVE_BYTES + MIB);
        assert!(!storage.room().low);
        assert!(storage.restock_reserve() && place.has_reserve());
        assert!(!storage.room().low, "the reserve does not make it low");
        let found = storage.ledger_len().unwrap().max(found);
        storage.commit(&batch(found, 300_000)).unwrap();
        check(&storage, found + 1);
    }
}

#[test]
fn a_disk_that_is_full_at_any_block_leaves_whole_batches() {
    for growth in [Growth::Whole, Growth::Sparse] {
        for blocks in 0..120 {
            let disk = limited(growth);
            let storage = disk.open().unwrap();
            for n in 0..4 {
                storage.commit(&batch(n, 30_000)).unwrap();
            }
            disk.leave_free(blocks * 4_096);
            let acknowledged = fill_up(&storage, 4);
            let lost = disk.power_loss(Unsynced::Torn(blocks));
            drop(storage);
            for disk in [disk, lost] {
                let storage = disk.open().unwrap();
                let found = storage.ledger_len().unwrap();
                assert!(found == acknowledged || found == acknowledged + 1, "{found} of {acknowledged}");
                check(&storage, found);
            }
        }
    }
}

#[test]
fn opening_gives_the_reserve_back_when_it_finds_no_room() {
    for reserve in [true, false] {
        let disk = limited(Growth::Sparse);
        let storage = disk.open().unwrap();
        storage.commit(&batch(0, 300_000)).unwrap();
        let disk = disk.power_loss(Unsynced::Kept);
        if !reserve {
            disk.release_reserve();
        }
        Disk::leave_free(&disk, MIB);
        disk.fail(Action::Change, When::After(0), ErrorKind::StorageFull);
        assert_eq!(Volume::has_reserve(&disk), reserve);
        match disk.open() {
            Ok(storage) => {
                assert!(reserve && !Volume::has_reserve(&disk));
                check(&storage, 1);
            }
            Err(error) => assert!(!reserve && matches!(error, OpenError::DiskFull { .. }), "{error}"),
        }
    }
}

#[test]
fn what_is_not_known_is_not_low() {
    let storage = Storage::with_backend(Disk::new(1)).unwrap();
    assert_eq!(storage.room(), Room { free_bytes: None, low: false });
    assert!(!storage.restock_reserve());
}

#[cfg(unix)]
#[test]
fn a_folder_has_a_reserve_that_is_really_there() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let root = tempfile::tempdir().unwrap();
    let reserve = root.path().join(RESERVE_FILE_NAME);
    let storage = Storage::open(root.path()).unwrap();
    if storage.room().low {
        assert!(!reserve.exists(), "not when the disk of the tests is nearly full");
        return;
    }
    let found = fs::metadata(&reserve).unwrap();
    assert_eq!((found.len(), found.permissions().mode() & 0o777), (RESERVE_BYTES, 0o600));
    assert!(found.blocks() * 512 >= RESERVE_BYTES);
    drop(storage);
    // A file of the right length without the blocks is none.
    fs::remove_file(&reserve).unwrap();
    File::create(&reserve).unwrap().set_len(RESERVE_BYTES).unwrap();
    Storage::open(root.path()).unwrap();
    assert!(fs::metadata(&reserve).unwrap().blocks() * 512 >= RESERVE_BYTES);
}
