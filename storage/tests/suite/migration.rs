//! A file of an older version opens, keeps what it holds and is brought up to date, whatever crash comes in between.

use forgemesh_protocol::hash::Hash;
use forgemesh_storage::testing::{Disk, Unsynced};
use forgemesh_storage::{Batch, Storage};
use redb::{Database, ReadableDatabase, TableDefinition};

use crate::{Contents, contents, id, sealed};

/// The tables of version 1, as they were released.
const VERSION_1: [&str; 11] = [
    "meta",
    "blobs",
    "log",
    "snapshot",
    "jobs",
    "job_order",
    "ledger",
    "kv",
    "outbox",
    "refusals",
    "refusal_ids",
];

fn table(name: &str) -> TableDefinition<'_, &'static [u8], &'static [u8]> {
    TableDefinition::new(name)
}

/// A file as version 1 wrote it: every table, one row or more in each.
fn version_1() -> Disk {
    let disk = Disk::new(1);
    let database = Database::builder().create_with_backend(disk.clone()).unwrap();
    let transaction = database.begin_write().unwrap();
    for name in VERSION_1 {
        transaction.open_table(table(name)).unwrap();
    }
    let (zero, ten, job, refusal) = (0_u64.to_be_bytes(), 10_u64.to_be_bytes(), id(1).0, id(2).0);
    let records: [(&str, &[u8], &[u8]); 13] = [
        ("meta", b"schema", &1_u32.to_be_bytes()),
        ("meta", b"genesis", b"genesis"),
        ("log", &ten, b"entry"),
        ("snapshot", b"index", &9_u64.to_be_bytes()),
        ("snapshot", b"state", &[&9_u64.to_be_bytes(), &b"state"[..]].concat()),
        ("jobs", &job, &[&zero, &b"record"[..]].concat()),
        ("job_order", &zero, &job),
        ("ledger", &zero, b"first"),
        ("ledger", &1_u64.to_be_bytes(), b"second"),
        ("kv", b"\x01nkey", b"value"),
        ("outbox", &ten, b"attestation"),
        ("refusals", &zero, &[&refusal, &b"why"[..]].concat()),
        ("refusal_ids", &refusal, &zero),
    ];
    for (name, key, value) in records {
        let record = sealed(name, key, value);
        transaction.open_table(table(name)).unwrap().insert(key, &record[..]).unwrap();
    }
    let address = Hash::blob(b"a blob").0;
    transaction.open_table(table("blobs")).unwrap().insert(&address[..], &b"a blob"[..]).unwrap();
    transaction.commit().unwrap();
    disk
}

fn check(found: &Contents) {
    assert_eq!(found.blobs, [Some(b"a blob".to_vec())]);
    assert_eq!(found.log, [(10, b"entry".to_vec())]);
    assert_eq!(found.snapshot, Some((9, b"state".to_vec())));
    assert_eq!(found.ledger, [Some(b"first".to_vec()), Some(b"second".to_vec())]);
    assert_eq!(found.kv, [("key".to_owned(), b"value".to_vec())]);
    assert_eq!(found.outbox, [(10, b"attestation".to_vec())]);
    assert_eq!(found.meta.as_deref(), Some(&b"genesis"[..]));
    assert_eq!((found.jobs[0].id, &found.jobs[0].record[..]), (id(1), &b"record"[..]));
    assert_eq!((found.refusals[0].id, &found.refusals[0].record[..]), (id(2), &b"why"[..]));
    assert_eq!(found.quarantined, []);
}

fn schema(disk: &Disk) -> Vec<u8> {
    let database = Database::builder().create_with_backend(disk.clone()).unwrap();
    let transaction = database.begin_read().unwrap();
    transaction.open_table(table("quarantine")).unwrap();
    for name in ["pieces", "piece_bodies", "piece_ends", "piece_slots"] {
        transaction.open_table(table(name)).unwrap();
    }
    let row = transaction.open_table(table("meta")).unwrap().get(&b"schema"[..]).unwrap().unwrap();
    row.value().to_vec()
}

#[test]
fn a_file_of_version_1_is_brought_to_version_5() {
    let (disk, addresses) = (version_1(), [Hash::blob(b"a blob")]);
    let storage = Storage::with_backend(disk.clone()).unwrap();
    check(&contents(&storage, &addresses).unwrap());
    storage.commit(Batch::new().quarantine_blob(addresses[0]).append_ledger(2, vec![])).unwrap();
    drop(storage);
    assert_eq!(schema(&disk), sealed("meta", b"schema", &5_u32.to_be_bytes()));
    // And once more, now without a migration.
    assert_eq!(Storage::with_backend(disk).unwrap().ledger_len(), Ok(3));
}

#[test]
fn a_crash_in_the_migration_leaves_one_version_or_the_other() {
    let (disk, addresses) = (version_1().power_loss(Unsynced::Lost), [Hash::blob(b"a blob")]);
    disk.record();
    drop(Storage::with_backend(disk.clone()).unwrap());
    let mut images = 0;
    let ways = [Unsynced::Lost, Unsynced::Kept, Unsynced::Torn(1), Unsynced::Torn(2)];
    disk.each_crash(&ways, |moment, way, image| {
        let storage = Storage::with_backend(Disk::with_image(1, image))
            .unwrap_or_else(|error| panic!("crash at {moment}, {way:?}: {error}"));
        check(&contents(&storage, &addresses).unwrap());
        images += 1;
    });
    assert!(images > 40, "only {images} images");
}
