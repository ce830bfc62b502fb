//! Long pieces beside the database: both files lose power at the same moment, at every one, and neither is ever wrong.
//!
//! Once more from another seed: `FORGEMESH_SLOTS_SEED=7 cargo test -p forgemesh-storage --test suite slots::power`.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use forgemesh_protocol::artifact::sum;
use forgemesh_storage::limits::{MAX_PIECE_BYTES, SLOT_PIECE_BYTES};
use forgemesh_storage::testing::{Action, Disk, Random, Unsynced, When};
use forgemesh_storage::{Batch, CommitError, PIECES_FILE_NAME, ReadError, Storage};
use redb::StorageBackend;

use crate::id;

const PIECES: u64 = 6;

/// Of one machine: a power loss strikes both.
#[derive(Clone)]
struct Disks {
    database: Disk,
    pieces: Disk,
    /// Changes that are still let through.
    left: Arc<AtomicU64>,
}

impl Disks {
    fn new(seed: u64) -> Disks {
        Disks::of(Disk::new(seed), Disk::new(!seed))
    }

    fn of(database: Disk, pieces: Disk) -> Disks {
        Disks { database, pieces, left: Arc::new(AtomicU64::new(u64::MAX)) }
    }

    fn open(&self) -> Storage {
        Storage::with_backends(self.fused(&self.database), self.fused(&self.pieces)).unwrap()
    }

    fn fused(&self, disk: &Disk) -> Fused {
        Fused { disk: disk.clone(), left: self.left.clone() }
    }

    fn power_loss(&self, way: Unsynced) -> Disks {
        Disks::of(self.database.power_loss(way), self.pieces.power_loss(way))
    }
}

/// A disk of a machine that dies after so many changes, whichever of its disks they were of.
#[derive(Debug)]
struct Fused {
    disk: Disk,
    left: Arc<AtomicU64>,
}

impl Fused {
    fn change(&self) {
        let less = |left: u64| left.checked_sub(1);
        if self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_err() {
            self.disk.light_fuse(0);
        }
    }
}

impl StorageBackend for Fused {
    fn len(&self) -> io::Result<u64> {
        self.disk.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.disk.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change();
        self.disk.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.change();
        self.disk.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change();
        self.disk.write(offset, data)
    }
}

fn piece(length: usize, mark: u64) -> Vec<u8> {
    let mut random = Random(mark);
    std::iter::repeat_with(|| random.draw().to_le_bytes()).flatten().take(length).collect()
}

fn put(batch: &mut Batch, index: u64, bytes: Vec<u8>) {
    let sum = sum(index, &bytes).unwrap();
    batch.put_piece(id(0), index, sum, bytes);
}

fn put_one(storage: &Storage, index: u64, bytes: &[u8]) {
    let mut batch = Batch::new();
    put(&mut batch, index, bytes.to_vec());
    storage.commit(&batch).unwrap();
}

/// What is there, by index.
type Contents = BTreeMap<u64, Vec<u8>>;

fn contents(storage: &Storage) -> Result<Contents, ReadError> {
    let piece = |index| Ok(storage.piece(&id(0), index)?.map(|bytes| (index, bytes)));
    (0..PIECES).filter_map(|index| piece(index).transpose()).collect()
}

/// Random batches, and what is there after each.
fn batches(seed: u64) -> Vec<(Batch, Contents)> {
    let (mut random, mut there) = (Random(seed), Contents::new());
    let one = |random: &mut Random, there: &mut Contents| {
        let mut batch = Batch::new();
        for _ in 0..1 + random.below(3) {
            let index = random.below(PIECES as usize) as u64;
            let length = [1 + random.below(200), SLOT_PIECE_BYTES, SLOT_PIECE_BYTES + 9][random.below(3)];
            if random.below(4) == 0 {
                there.remove(&index);
                batch.delete_piece(id(0), index);
            } else {
                let bytes = piece(length, random.draw());
                there.insert(index, bytes.clone());
                put(&mut batch, index, bytes);
            }
        }
        (batch, there.clone())
    };
    (0..7).map(|_| one(&mut random, &mut there)).collect()
}

/// Loses power after so many changes, in each way; says whether all was done before, and how often something else was found
/// than what was acknowledged last or under way.
fn crash(seed: u64, changes: u64, lies: bool) -> (bool, u64) {
    let (disks, batches) = (Disks::new(seed), batches(seed));
    let storage = disks.open();
    disks.pieces.lie(lies);
    disks.left.store(changes, Ordering::SeqCst);
    let nothing = Contents::new();
    let done = batches.iter().take_while(|(batch, _)| storage.commit(batch).is_ok()).count();
    let state = |done: usize| done.checked_sub(1).map_or(&nothing, |last| &batches[last].1);
    let mut wrong = 0;
    for way in [Unsynced::Lost, Unsynced::Kept, Unsynced::Torn(changes), Unsynced::Torn(!changes)] {
        let after = disks.power_loss(way);
        let storage = after.open();
        let found = contents(&storage);
        let allowed = [state(done), state((done + 1).min(batches.len()))];
        wrong += u64::from(!found.as_ref().is_ok_and(|found| allowed.contains(&found)));
        // What comes next takes no slot of what is there.
        if let Ok(mut found) = found {
            for index in [0, PIECES - 1] {
                let bytes = piece(SLOT_PIECE_BYTES, changes ^ index);
                put_one(&storage, index, &bytes);
                found.insert(index, bytes);
            }
            wrong += u64::from(contents(&storage) != Ok(found));
        }
    }
    (done == batches.len(), wrong)
}

#[test]
fn power_loss_at_every_moment_leaves_whole_pieces() {
    let first = std::env::var("FORGEMESH_SLOTS_SEED").map_or(1, |text| text.parse().unwrap());
    for seed in first..first + 3 {
        println!("FORGEMESH_SLOTS_SEED={seed}");
        let mut moments = 0;
        for changes in 0.. {
            let (is_done, wrong) = crash(seed, changes, false);
            assert_eq!(wrong, 0, "seed {seed}, after {changes} changes");
            moments += 1;
            if is_done {
                break;
            }
        }
        assert!(moments > 100, "{moments}");
    }
}

#[test]
fn a_sync_of_the_slots_that_does_nothing_is_noticed() {
    let wrong: u64 = (0..200).map(|changes| crash(1, changes, true).1).sum();
    assert!(wrong > 20, "{wrong}");
}

#[test]
fn long_pieces_lie_beside_the_database_and_their_room_serves_again() {
    let disks = Disks::new(1);
    let storage = disks.open();
    let slots = || disks.pieces.image().len() / MAX_PIECE_BYTES;
    for round in 0..4 {
        for index in 0..5 {
            put_one(&storage, index, &piece(MAX_PIECE_BYTES - index as usize, 10 * round + index));
        }
        put_one(&storage, 5, &piece(SLOT_PIECE_BYTES - 1, round));
        for index in 0..5 {
            let bytes = piece(MAX_PIECE_BYTES - index as usize, 10 * round + index);
            assert!(storage.piece(&id(0), index) == Ok(Some(bytes)), "{round}, {index}");
        }
        assert_eq!(slots(), if round == 0 { 5 } else { 6 }, "one more while a piece is replaced");
        let database = disks.database.image().len();
        assert!(database < MAX_PIECE_BYTES, "{database} bytes");
    }
    // Nothing of a batch that is refused stays, not its slots either.
    let mut refused = Batch::new();
    put(&mut refused, 0, piece(MAX_PIECE_BYTES, 99));
    refused.append_ledger(7, vec![]);
    for _ in 0..3 {
        assert!(matches!(storage.commit(&refused), Err(CommitError::LedgerGap { .. })));
    }
    assert_eq!(slots(), 6);
    assert_eq!(storage.piece(&id(0), 0), Ok(Some(piece(MAX_PIECE_BYTES, 30))));
    let mut batch = Batch::new();
    for index in 0..PIECES {
        batch.delete_piece(id(0), index);
    }
    storage.commit(&batch).unwrap();
    drop(storage);
    assert_eq!(contents(&disks.open()), Ok(Contents::new()));
    assert_eq!(slots(), 0, "whoever opens gives back what is free at the end");
}

#[test]
fn who_reads_while_slots_change_hands_reads_no_other_piece() {
    let storage = Disks::new(1).open();
    let ours = piece(SLOT_PIECE_BYTES, 1);
    put_one(&storage, 0, &ours);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = || {
            let mut reads = 0_u64;
            while !is_over.load(Ordering::Relaxed) {
                assert!(storage.piece(&id(0), 0) == Ok(Some(ours.clone())), "after {reads} reads");
                let other = storage.piece(&id(0), 1);
                assert!(!matches!(other, Err(ReadError::Corrupt { .. })), "after {reads} reads: {other:?}");
                reads += 1;
            }
            reads
        };
        let readers = [(); 2].map(|()| scope.spawn(reader));
        for round in 0..600 {
            put_one(&storage, 0, &ours);
            put_one(&storage, 1, &piece(SLOT_PIECE_BYTES, round));
            if round % 5 == 0 {
                storage.commit(Batch::new().delete_piece(id(0), 1)).unwrap();
            }
        }
        is_over.store(true, Ordering::Relaxed);
        readers.into_iter().for_each(|reader| assert!(reader.join().unwrap() > 0));
    });
}

#[test]
fn a_damaged_slot_is_noticed_and_a_new_copy_heals_it() {
    let disks = Disks::new(1);
    let storage = disks.open();
    (0..2).for_each(|index| put_one(&storage, index, &piece(SLOT_PIECE_BYTES, index)));
    disks.pieces.rot_at(SLOT_PIECE_BYTES / 2, 0x10);
    assert!(matches!(storage.piece(&id(0), 0), Err(ReadError::Corrupt { table: "piece_slots", .. })));
    assert!(!storage.is_dead());
    assert_eq!(storage.piece(&id(0), 1), Ok(Some(piece(SLOT_PIECE_BYTES, 1))));
    put_one(&storage, 0, &piece(SLOT_PIECE_BYTES, 0));
    assert_eq!(storage.piece(&id(0), 0), Ok(Some(piece(SLOT_PIECE_BYTES, 0))));
}

#[test]
fn an_error_of_either_disk_ends_the_handle() {
    for action in [Action::Write, Action::Resize, Action::Sync] {
        let disks = Disks::new(1);
        let storage = disks.open();
        put_one(&storage, 0, &piece(SLOT_PIECE_BYTES, 0));
        disks.pieces.fail(action, When::After(0), io::ErrorKind::StorageFull);
        let mut batch = Batch::new();
        put(&mut batch, 1, piece(SLOT_PIECE_BYTES, 1));
        assert_eq!(storage.commit(&batch), Err(CommitError::DiskFull), "{action:?}");
        assert_eq!(storage.commit(&Batch::new()), Err(CommitError::Dead));
        assert_eq!(storage.piece(&id(0), 0), Err(ReadError::Dead));
        drop(storage);
        disks.pieces.heal();
        let storage = disks.open();
        assert_eq!(contents(&storage), Ok(Contents::from([(0, piece(SLOT_PIECE_BYTES, 0))])), "{action:?}");
        storage.commit(&batch).unwrap();
        disks.pieces.fail(Action::Read, When::After(0), io::ErrorKind::Other);
        assert!(matches!(storage.piece(&id(0), 1), Err(ReadError::Io { .. })));
        assert!(storage.is_dead());
    }
}

#[test]
fn pieces_of_version_4_are_read_replaced_and_deleted() {
    let (disks, long) = (Disks::new(1), |mark| piece(MAX_PIECE_BYTES, mark));
    let without = Storage::with_backend(disks.database.clone()).unwrap();
    (0..3).for_each(|index| put_one(&without, index, &long(index)));
    drop(without);
    let storage = disks.open();
    put_one(&storage, 1, &long(9));
    storage.commit(Batch::new().delete_piece(id(0), 2)).unwrap();
    assert!(contents(&storage) == Ok(Contents::from([(0, long(0)), (1, long(9))])));
    put_one(&storage, 1, b"short");
    assert!(contents(&storage) == Ok(Contents::from([(0, long(0)), (1, b"short".to_vec())])));
}

/// It was taken away, or is that of an older copy of the folder.
#[test]
fn without_its_file_a_piece_is_damaged_and_what_comes_is_not() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join(PIECES_FILE_NAME);
    let storage = Storage::open(root.path()).unwrap();
    (0..3).for_each(|index| put_one(&storage, index, &piece(SLOT_PIECE_BYTES, index)));
    drop(storage);
    std::fs::remove_file(&path).unwrap();
    let storage = Storage::open(root.path()).unwrap();
    let is_damaged = |index: u64| matches!(storage.piece(&id(0), index), Err(ReadError::Corrupt { .. }));
    assert!((0..3).all(is_damaged) && !storage.is_dead());
    // The new ones take no slot that is named: when the old rows go, nobody else's slot goes with them.
    put_one(&storage, 3, &piece(SLOT_PIECE_BYTES, 3));
    storage.commit(Batch::new().delete_piece(id(0), 0).delete_piece(id(0), 1)).unwrap();
    put_one(&storage, 4, &piece(SLOT_PIECE_BYTES, 4));
    put_one(&storage, 2, &piece(SLOT_PIECE_BYTES, 2));
    let whole = (2..5).map(|index| (index, piece(SLOT_PIECE_BYTES, index))).collect();
    assert!(contents(&storage) == Ok(whole));
}

#[cfg(target_os = "linux")]
#[test]
fn the_file_is_private_and_what_is_deleted_gives_its_room_back() {
    use std::os::unix::fs::MetadataExt;

    let root = tempfile::tempdir().unwrap();
    let storage = Storage::open(root.path()).unwrap();
    (0..4).for_each(|index| put_one(&storage, index, &piece(MAX_PIECE_BYTES, index)));
    let found = || std::fs::metadata(root.path().join(PIECES_FILE_NAME)).unwrap();
    assert_eq!((found().mode() & 0o777, found().len()), (0o600, 4 << 20));
    let before = found().blocks();
    storage.commit(Batch::new().delete_piece(id(0), 0).delete_piece(id(0), 1)).unwrap();
    assert!(found().blocks() <= before / 2 + 64, "{} of {before}", found().blocks());
    assert!(storage.piece(&id(0), 3) == Ok(Some(piece(MAX_PIECE_BYTES, 3))));
}
