//! Power loss at every moment, and fail-stop: what was acknowledged is there, and no batch is half there.

use std::io::ErrorKind;

use forgemesh_protocol::hash::Hash;
use forgemesh_storage::{Batch, CommitError, MetaKey, ReadError, Storage};

use crate::disk::{Disk, Unsynced};
use crate::{Contents, contents, id};

/// Batch `n` of the workload: touches every table.
fn batch(n: u64) -> Batch {
    let text = |what: &str| format!("{what} {n}").into_bytes();
    let mut batch = Batch::new();
    batch.put_blob(blob(n));
    batch.append_log(n, text("entry")).append_ledger(n, text("ledger"));
    batch.put_job(id(n / 2), text("job")).put_kv("n", &format!("key {}", n % 3), text("value"));
    batch.put_outbox(n, text("attestation")).put_meta(MetaKey::Genesis, text("genesis"));
    batch.put_refusal(id(100 + n), text("refusal"));
    if n % 3 == 2 {
        batch.put_snapshot(n - 1, text("state")).delete_outbox(n - 1).delete_blob(Hash::blob(&blob(n - 2)));
        batch.delete_kv("n", "key 0");
    }
    batch
}

fn blob(n: u64) -> Vec<u8> {
    vec![n as u8; 3_000 + 4_000 * n as usize]
}

const BATCHES: u64 = 6;

fn addresses() -> Vec<Hash> {
    (0..BATCHES).map(|n| Hash::blob(&blob(n))).collect()
}

#[test]
fn every_crash_point_opens_with_whole_acknowledged_batches() {
    let disk = Disk::default();
    let storage = Storage::with_backend(disk.clone()).unwrap();
    let addresses = addresses();
    let first = disk.moment();
    // (moment of the acknowledgement, what must be there from then on)
    let mut acknowledged = vec![(first, contents(&storage, &addresses).unwrap())];
    for n in 0..BATCHES {
        storage.commit(&batch(n)).unwrap();
        acknowledged.push((disk.moment(), contents(&storage, &addresses).unwrap()));
    }
    drop(storage);

    let ways = [Unsynced::Lost, Unsynced::Kept, Unsynced::Torn(1), Unsynced::Torn(2), Unsynced::Torn(3)];
    let mut images = 0;
    disk.each_crash(first, &ways, |moment, way, image| {
        let storage = Storage::with_backend(Disk::with_image(image))
            .unwrap_or_else(|error| panic!("crash at {moment}, {way:?}: {error}"));
        let found = contents(&storage, &addresses).unwrap();
        check(&acknowledged, moment, &found)
            .unwrap_or_else(|why| panic!("crash at {moment}, {way:?}: {why}"));
        images += 1;
    });
    assert!(images > 200, "only {images} images");
}

/// The last acknowledged state, or that of the batch under way.
fn check(acknowledged: &[(usize, Contents)], moment: usize, found: &Contents) -> Result<(), String> {
    let last = acknowledged.iter().rposition(|(at, _)| *at <= moment).expect("the first state");
    let allowed = &acknowledged[last..acknowledged.len().min(last + 2)];
    if allowed.iter().any(|(_, state)| state == found) { Ok(()) } else { Err(format!("found {found:?}")) }
}

#[test]
fn a_crash_while_creating_is_whole_or_named() {
    let disk = Disk::default();
    let storage = Storage::with_backend(disk.clone()).unwrap();
    let created = disk.moment();
    let empty = contents(&storage, &[]).unwrap();
    disk.each_crash(0, &[Unsynced::Lost, Unsynced::Kept, Unsynced::Torn(4)], |moment, way, image| {
        match Storage::with_backend(Disk::with_image(image)) {
            Ok(storage) => assert_eq!(contents(&storage, &[]).unwrap(), empty),
            Err(error) => assert!(moment < created, "crash at {moment}, {way:?}: {error}"),
        }
    });
}

#[test]
fn an_io_error_ends_the_handle_and_opening_again_finds_whole_batches() {
    for (kind, full) in [(ErrorKind::StorageFull, true), (ErrorKind::Other, false)] {
        for ops in 0..200 {
            let disk = Disk::default();
            let storage = Storage::with_backend(disk.clone()).unwrap();
            storage.commit(&batch(0)).unwrap();
            let before = contents(&storage, &addresses()).unwrap();
            disk.fail_after(ops, kind);
            let result = storage.commit(&batch(1));
            if result.is_ok() {
                assert!(ops > 3, "a commit of {ops} operations");
                break;
            }
            let error = result.unwrap_err();
            assert_eq!(error == CommitError::DiskFull, full, "{error}");
            assert_eq!(matches!(error, CommitError::Io { .. }), !full, "{error}");
            assert!(storage.is_dead());
            disk.fail_after(usize::MAX, kind);
            let moment = disk.moment();
            assert_eq!(storage.commit(&Batch::new()), Err(CommitError::Dead));
            assert_eq!(storage.ledger_len(), Err(ReadError::Dead));
            drop(storage);
            assert_eq!(disk.moment(), moment, "a dead handle wrote");

            let storage = Storage::with_backend(Disk::with_image(disk.image())).unwrap();
            let found = contents(&storage, &addresses()).unwrap();
            if found == before {
                storage.commit(&batch(1)).unwrap();
            }
            assert_eq!(storage.last_log_index(), Ok(Some(1)));
            assert_eq!(storage.ledger_len(), Ok(2));
        }
    }
}
