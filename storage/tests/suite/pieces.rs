//! Pieces of artifacts: what comes back, what it takes, what is damaged, and what an older version had put.

use forgemesh_protocol::artifact::sum;
use forgemesh_protocol::hash::Hash;
use forgemesh_storage::limits::{MAX_PIECE_BYTES, PIECE_TAIL_BYTES};
use forgemesh_storage::testing::Disk;
use forgemesh_storage::{Batch, ReadError, Storage};
use redb::{Database, TableDefinition};

use crate::{damage, id, sealed};

const BODY_BYTES: usize = MAX_PIECE_BYTES - PIECE_TAIL_BYTES;

fn put(storage: &Storage, artifact: Hash, index: u64, bytes: &[u8]) {
    let sum = sum(index, bytes).unwrap();
    storage.commit(Batch::new().put_piece(artifact, index, sum, bytes.to_vec())).unwrap();
}

#[test]
fn pieces_come_back_and_take_little_more_room_than_they_are_long() {
    let disk = Disk::new(1);
    let storage = Storage::with_backend(disk.clone()).unwrap();
    for length in [1, BODY_BYTES - 1, BODY_BYTES, BODY_BYTES + 1, MAX_PIECE_BYTES, 9] {
        let bytes = vec![length as u8; length];
        put(&storage, id(1), 7, &bytes);
        assert_eq!(storage.piece(&id(1), 7), Ok(Some(bytes)), "{length}");
        assert_eq!((storage.piece(&id(1), 6), storage.piece(&id(2), 7)), (Ok(None), Ok(None)));
    }
    storage.commit(Batch::new().delete_piece(id(1), 7).delete_piece(id(1), 8)).unwrap();
    assert_eq!(storage.piece(&id(1), 7), Ok(None));
    let before = disk.image().len();
    for index in 0..48 {
        put(&storage, id(3), index, &vec![index as u8; MAX_PIECE_BYTES]);
    }
    let grown = disk.image().len() - before;
    assert!(grown < 96 * MAX_PIECE_BYTES, "{grown} bytes for {}", 48 * MAX_PIECE_BYTES);
}

#[test]
fn the_sum_of_an_only_piece_is_the_address() {
    let storage = Storage::with_backend(Disk::new(1)).unwrap();
    for bytes in [&b""[..], b"all there is"] {
        let address = Hash::blob(bytes);
        storage.commit(Batch::new().put_piece(address, 0, address, bytes.to_vec())).unwrap();
        assert_eq!(storage.piece(&address, 0), Ok(Some(bytes.to_vec())));
    }
}

#[test]
fn what_has_not_its_sum_is_damaged() {
    let is_damaged = |storage: &Storage, index: u64| {
        assert!(!storage.is_dead());
        matches!(storage.piece(&id(1), index), Err(ReadError::Corrupt { .. }))
    };
    let disk = Disk::new(1);
    let storage = Storage::with_backend(disk.clone()).unwrap();
    let marked = |begin: &str, end: &str| {
        let mut bytes = vec![b'.'; MAX_PIECE_BYTES];
        bytes[..begin.len()].copy_from_slice(begin.as_bytes());
        bytes[MAX_PIECE_BYTES - end.len()..].copy_from_slice(end.as_bytes());
        bytes
    };
    put(&storage, id(1), 0, &marked("it begins here", ""));
    put(&storage, id(1), 1, &marked("", "it ends there"));
    put(&storage, id(1), 2, b"whole");
    // The same bytes have another sum elsewhere, and what is empty has none.
    storage.commit(Batch::new().put_piece(id(1), 3, sum(4, b"moved").unwrap(), b"moved".to_vec())).unwrap();
    storage.commit(Batch::new().put_piece(id(1), 4, id(9), vec![])).unwrap();
    drop(storage);
    damage(&disk, b"it begins here");
    damage(&disk, b"it ends there");
    let storage = Storage::with_backend(disk).unwrap();
    assert_eq!([0, 1, 2, 3, 4].map(|index| is_damaged(&storage, index)), [true, true, false, true, true]);
    assert_eq!(storage.piece(&id(1), 2), Ok(Some(b"whole".to_vec())));
    put(&storage, id(1), 0, b"put anew");
    assert_eq!(storage.piece(&id(1), 0), Ok(Some(b"put anew".to_vec())));
}

#[test]
fn pieces_of_version_3_are_read_replaced_and_deleted() {
    let disk = Disk::new(1);
    drop(Storage::with_backend(disk.clone()).unwrap());
    let long = vec![5; MAX_PIECE_BYTES];
    let (body, tail) = long.split_at(BODY_BYTES);
    let rows: [(u64, u8, &[u8]); 4] = [(0, 0, body), (0, 1, tail), (1, 0, b"short"), (2, 0, b"shorter")];
    let database = Database::builder().create_with_backend(disk.clone()).unwrap();
    let transaction = database.begin_write().unwrap();
    let pieces: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("pieces");
    for (index, part, bytes) in rows {
        let key = [&id(1).0[..], &index.to_be_bytes(), &[part]].concat();
        let record = sealed("pieces", &key, bytes);
        transaction.open_table(pieces).unwrap().insert(&key[..], &record[..]).unwrap();
    }
    transaction.commit().unwrap();
    drop(database);
    let storage = Storage::with_backend(disk).unwrap();
    let read = |index: u64| storage.piece(&id(1), index).unwrap();
    assert_eq!(
        [read(0), read(1), read(2), read(3)],
        [Some(long), Some(b"short".to_vec()), Some(b"shorter".to_vec()), None]
    );
    put(&storage, id(1), 1, b"new");
    storage.commit(Batch::new().delete_piece(id(1), 0)).unwrap();
    assert_eq!((read(0), read(1)), (None, Some(b"new".to_vec())));
    storage.commit(Batch::new().delete_piece(id(1), 1)).unwrap();
    assert_eq!((read(1), read(2)), (None, Some(b"shorter".to_vec())));
}
