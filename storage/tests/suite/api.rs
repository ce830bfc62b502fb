//! What the writes refuse and what the reads show.

use forgemesh_protocol::hash::Hash;
use forgemesh_storage::limits::{MAX_KV_KEY_BYTES, MAX_PIECE_BYTES, MAX_REFUSAL_BYTES, MAX_REFUSALS};
use forgemesh_storage::testing::Disk;
use forgemesh_storage::{Batch, CommitError, MetaKey, ReadError, Storage};

use crate::{contents, id};

fn open() -> Storage {
    Storage::with_backend(Disk::new(1)).unwrap()
}

/// Commits a batch that must be refused, and checks that nothing of it was written.
fn refused(storage: &Storage, batch: &mut Batch) -> CommitError {
    let before = contents(storage, &[]).unwrap();
    let mut whole = Batch::new();
    whole.put_meta(MetaKey::Genesis, b"must not appear".to_vec());
    let error = storage.commit(whole.append(batch.clone())).unwrap_err();
    assert_eq!(contents(storage, &[]).unwrap(), before);
    assert!(!storage.is_dead());
    error
}

#[test]
fn gaps_and_overwrites_are_refused() {
    let storage = open();
    assert_eq!(
        refused(&storage, Batch::new().append_log(1, vec![])),
        CommitError::LogGap { expected: 0, got: 1 }
    );
    storage
        .commit(Batch::new().append_log(0, vec![0]).append_log(1, vec![1]).append_ledger(0, vec![]))
        .unwrap();
    for got in [0, 1, 3, u64::MAX] {
        let error = refused(&storage, Batch::new().append_log(got, vec![]));
        assert_eq!(error, CommitError::LogGap { expected: 2, got });
    }
    for got in [0, 2] {
        let error = refused(&storage, Batch::new().append_ledger(got, vec![]));
        assert_eq!(error, CommitError::LedgerGap { expected: 1, got });
    }
    assert_eq!(storage.next_log_index(), Ok(2));
    assert_eq!(storage.ledger(0), Ok(Some(vec![])));
    assert_eq!(storage.ledger(1), Ok(None));
}

#[test]
fn a_snapshot_stands_for_the_log_before_it() {
    let storage = open();
    let mut batch = Batch::new();
    (0..5).for_each(|n| {
        batch.append_log(n, vec![n as u8]);
    });
    storage.commit(batch.put_snapshot(2, b"state".to_vec())).unwrap();
    assert_eq!(storage.snapshot(), Ok(Some((2, b"state".to_vec()))));
    assert_eq!(storage.log(2, 10), Err(ReadError::LogCompacted { index: 2, first: 3 }));
    assert_eq!(storage.log(3, 10), Ok(vec![(3, vec![3]), (4, vec![4])]));
    assert_eq!(storage.log(3, 1), Ok(vec![(3, vec![3])]));
    assert_eq!(storage.log(5, 10), Ok(vec![]));
    let error = refused(&storage, Batch::new().put_snapshot(1, vec![]));
    assert_eq!(error, CommitError::SnapshotBackwards { held: 2, got: 1 });
    // One from a leader, beyond the log.
    storage.commit(Batch::new().put_snapshot(9, vec![])).unwrap();
    assert_eq!(storage.log(10, 10), Ok(vec![]));
    assert_eq!(storage.last_log_index(), Ok(Some(9)));
    storage.commit(Batch::new().append_log(10, vec![])).unwrap();
}

#[test]
fn a_log_is_dropped_and_taken_back_on_its_own() {
    let storage = open();
    let mut batch = Batch::new();
    (0..6).for_each(|n| {
        batch.append_log(n, vec![n as u8]);
    });
    storage.commit(batch.renew_snapshot(3, b"state".to_vec())).unwrap();
    assert_eq!(storage.log(0, 10).unwrap().len(), 6);
    storage.commit(Batch::new().truncate_log(5).truncate_log(9).purge_log(1)).unwrap();
    assert_eq!(storage.log(2, 10), Ok(vec![(2, vec![2]), (3, vec![3]), (4, vec![4])]));
    assert_eq!(storage.log(1, 10), Err(ReadError::LogCompacted { index: 1, first: 2 }));
    assert_eq!((storage.first_log_index(), storage.next_log_index()), (Ok(2), Ok(5)));
    let error = refused(&storage, Batch::new().truncate_log(1));
    assert_eq!(error, CommitError::LogDropped { first: 2, got: 1 });
    // A snapshot of what the log never had, and one that is older.
    let error = refused(&storage, Batch::new().renew_snapshot(5, vec![]));
    assert_eq!(error, CommitError::LogGap { expected: 5, got: 5 });
    let error = refused(&storage, Batch::new().renew_snapshot(2, vec![]));
    assert_eq!(error, CommitError::SnapshotBackwards { held: 3, got: 2 });
    // Beyond the end, as when a leader's snapshot takes the place of all; then nothing is left to drop.
    storage.commit(Batch::new().purge_log(9).purge_log(4)).unwrap();
    assert_eq!((storage.first_log_index(), storage.last_log_index()), (Ok(10), Ok(Some(9))));
    storage.commit(Batch::new().append_log(10, vec![])).unwrap();
    assert_eq!(storage.snapshot(), Ok(Some((3, b"state".to_vec()))));
}

#[test]
fn jobs_keep_their_order_and_are_found_by_prefix() {
    let storage = open();
    for n in 0..40 {
        storage.commit(Batch::new().put_job(id(n), vec![n as u8])).unwrap();
    }
    storage.commit(Batch::new().put_job(id(3), b"later".to_vec())).unwrap();
    let jobs = storage.jobs(None, 100).unwrap();
    assert_eq!(jobs.iter().map(|job| job.seq).collect::<Vec<_>>(), (0..40).rev().collect::<Vec<_>>());
    assert_eq!((jobs[36].id, &jobs[36].record[..]), (id(3), &b"later"[..]));
    assert_eq!(storage.jobs(Some(2), 100).unwrap(), jobs[38..]);
    assert_eq!(storage.jobs(None, 1).unwrap(), jobs[..1]);
    for digits in 1..=64 {
        let prefix = &id(7).to_string()[..digits];
        let mut expected: Vec<_> =
            jobs.iter().filter(|job| job.id.to_string().starts_with(prefix)).cloned().collect();
        expected.sort_by_key(|job| job.id);
        assert_eq!(storage.jobs_by_prefix(prefix, 100).unwrap(), expected, "{prefix}");
    }
    for bad in ["", "G", "ab c", "AB", "é", &"0".repeat(65)] {
        assert_eq!(storage.jobs_by_prefix(bad, 1), Err(ReadError::BadPrefix), "{bad}");
    }
}

#[test]
fn namespaces_do_not_leak() {
    let storage = open();
    let mut batch = Batch::new();
    for (namespace, key) in [("a", "bc"), ("ab", "c"), ("a", "b"), ("abc", "x"), ("a", "z")] {
        batch.put_kv(namespace, key, format!("{namespace}/{key}").into_bytes());
    }
    storage.commit(&batch).unwrap();
    let keys = |after| -> Vec<String> {
        storage.kv_list("a", after, 10).unwrap().into_iter().map(|(key, _)| key).collect()
    };
    assert_eq!(keys(None), ["b", "bc", "z"]);
    assert_eq!(keys(Some("b")), ["bc", "z"]);
    assert_eq!(storage.kv("ab", "c"), Ok(Some(b"ab/c".to_vec())));
    assert_eq!(storage.kv("ab", "x"), Ok(None));
    assert_eq!(storage.kv(&"x".repeat(300), "x"), Ok(None));
    storage.commit(Batch::new().delete_kv("a", "b").delete_kv("a", "never")).unwrap();
    assert_eq!(keys(None), ["bc", "z"]);
}

#[test]
fn bounds_are_checked_before_the_disk_is_touched() {
    let storage = open();
    let long = "k".repeat(MAX_KV_KEY_BYTES + 1);
    let mut cases = [
        (Batch::new().put_kv("", "k", vec![]).clone(), "namespace"),
        (Batch::new().put_kv("n", "", vec![]).clone(), "key"),
        (Batch::new().put_kv("n", &long, vec![]).clone(), "key"),
        (Batch::new().put_refusal(id(0), vec![0; MAX_REFUSAL_BYTES + 1]).clone(), "refusal"),
    ];
    for (batch, what) in &mut cases {
        assert!(refused(&storage, batch).to_string().contains(*what));
    }
}

#[test]
fn an_attestation_is_never_replaced() {
    let storage = open();
    storage.commit(Batch::new().put_outbox(5, vec![1]).put_outbox(6, vec![2])).unwrap();
    storage.commit(Batch::new().put_outbox(5, vec![1])).unwrap();
    let error = refused(&storage, Batch::new().put_outbox(5, vec![9]));
    assert_eq!(error, CommitError::OutboxConflict { seq: 5 });
    storage.commit(Batch::new().delete_outbox(5)).unwrap();
    assert_eq!(storage.outbox(0, 10), Ok(vec![(6, vec![2])]));
}

#[test]
fn only_the_newest_refusals_are_kept() {
    let storage = open();
    let mut batch = Batch::new();
    for n in 0..MAX_REFUSALS + 20 {
        batch.put_refusal(id(n), n.to_string().into_bytes());
    }
    // Refused again: the newest, and no second row.
    storage.commit(batch.put_refusal(id(500), b"again".to_vec())).unwrap();
    let rows = storage.refusals(usize::MAX).unwrap();
    assert_eq!(rows.len() as u64, MAX_REFUSALS);
    assert_eq!((rows[0].id, &rows[0].record[..]), (id(500), &b"again"[..]));
    assert_eq!(rows.iter().filter(|row| row.id == id(500)).count(), 1);
    assert_eq!(storage.refusal(&id(500)), Ok(Some(b"again".to_vec())));
    assert_eq!(storage.refusal(&id(0)), Ok(None));
    assert_eq!(storage.refusals(3).unwrap(), rows[..3]);
}

#[test]
fn a_piece_that_is_too_long_is_refused() {
    let bytes = vec![0; MAX_PIECE_BYTES + 1];
    let error = refused(&open(), Batch::new().put_piece(id(1), 0, id(1), bytes));
    assert!(error.to_string().contains("a piece"), "{error}");
}

#[test]
fn blobs_come_back_by_address() {
    let storage = open();
    let mut batch = Batch::new();
    let (empty, large) = (batch.put_blob(vec![]), batch.put_blob(vec![7; 3 << 20]));
    storage.commit(&batch).unwrap();
    storage.commit(&batch).unwrap();
    assert_eq!(large, Hash::blob(&vec![7; 3 << 20]));
    assert_eq!(storage.blob(&empty), Ok(Some(vec![])));
    assert_eq!(storage.blob(&large), Ok(Some(vec![7; 3 << 20])));
    assert_eq!(storage.blob_len(&large), Ok(Some(3 << 20)));
    storage.commit(Batch::new().delete_blob(large)).unwrap();
    assert_eq!(storage.has_blob(&large), Ok(false));
    assert_eq!(storage.blob(&large), Ok(None));
}
