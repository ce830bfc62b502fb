//! Damaged blobs: found by scrubbing in slices, moved out of the way, put anew, on record within bounds.

use std::collections::BTreeSet;

use forgemesh_protocol::hash::Hash;
use forgemesh_storage::limits::{MAX_QUARANTINE_BYTES, MAX_QUARANTINED};
use forgemesh_storage::testing::{Disk, Unsynced};
use forgemesh_storage::{Batch, ReadError, ScrubPage, Storage};

use crate::damage;

fn blob(n: u64) -> Vec<u8> {
    format!("<{n}> is what this blob is about. ").into_bytes().repeat(1 + n as usize % 40)
}

fn address(n: u64) -> Hash {
    Hash::blob(&blob(n))
}

/// A storage with blobs `0..count`, those in `rotten` damaged, on a disk that lost power since.
fn with_rotten(count: u64, rotten: impl Iterator<Item = u64>) -> Storage {
    let disk = Disk::new(count);
    let storage = Storage::with_backend(disk.clone()).unwrap();
    let mut batch = Batch::new();
    for n in 0..count {
        batch.put_blob(blob(n));
    }
    storage.commit(&batch).unwrap();
    let disk = disk.power_loss(Unsynced::Lost);
    for n in rotten {
        damage(&disk, format!("<{n}> is what").as_bytes());
    }
    Storage::with_backend(disk).unwrap()
}

#[test]
fn a_damaged_blob_makes_room_for_a_whole_one_and_stays_on_record() {
    let storage = with_rotten(9, [4].into_iter());
    let hash = address(4);
    assert_eq!(storage.blob(&hash), Err(ReadError::CorruptBlob { hash }));
    storage.commit(Batch::new().quarantine_blob(hash)).unwrap();
    assert_eq!(storage.blob(&hash), Ok(None));
    assert_eq!(storage.has_blob(&hash), Ok(false));
    assert_eq!(storage.blob_len(&hash), Ok(None));
    let rows = storage.quarantined(10).unwrap();
    assert_eq!((rows.len(), rows[0].seq, rows[0].hash, rows[0].length), (1, 0, hash, blob(4).len() as u64));
    let kept = rows[0].bytes.clone().unwrap();
    assert_eq!(kept.iter().zip(&blob(4)).filter(|(found, written)| found != written).count(), 5);
    // Quarantined again: there is nothing, and no second record.
    let mut batch = Batch::new();
    batch.quarantine_blob(hash).put_blob(blob(4));
    storage.commit(batch.quarantine_blob(hash)).unwrap();
    assert_eq!(storage.blob(&hash), Ok(Some(blob(4))));
    assert_eq!(storage.quarantined(10).unwrap(), rows);
}

#[test]
fn whole_and_missing_blobs_are_left_alone() {
    let storage = with_rotten(3, std::iter::empty());
    storage.commit(Batch::new().quarantine_blob(address(1)).quarantine_blob(address(7))).unwrap();
    assert_eq!(storage.blob(&address(1)), Ok(Some(blob(1))));
    assert_eq!(storage.quarantined(10), Ok(vec![]));
}

#[test]
fn records_of_damage_are_bounded() {
    let count = MAX_QUARANTINED + 10;
    let storage = with_rotten(count, 0..count);
    let mut batch = Batch::new();
    (0..count).for_each(|n| {
        batch.quarantine_blob(address(n));
    });
    storage.commit(&batch).unwrap();
    let rows = storage.quarantined(usize::MAX).unwrap();
    let newest: Vec<Hash> = (10..count).rev().map(address).collect();
    assert_eq!(rows.iter().map(|row| row.hash).collect::<Vec<_>>(), newest);
    assert_eq!(rows[0].seq, count - 1);
    assert_eq!(storage.quarantined(3).unwrap(), rows[..3]);
}

#[test]
fn of_a_long_blob_only_the_place_is_kept() {
    for (length, kept) in [(MAX_QUARANTINE_BYTES, true), (MAX_QUARANTINE_BYTES + 1, false)] {
        let disk = Disk::new(1);
        let storage = Storage::with_backend(disk.clone()).unwrap();
        let mut batch = Batch::new();
        let mut bytes = b"a long blob, in one piece".to_vec();
        bytes.resize(length, 7);
        let hash = batch.put_blob(bytes);
        storage.commit(&batch).unwrap();
        drop(storage);
        damage(&disk, b"a long blob, in one piece");
        let storage = Storage::with_backend(disk).unwrap();
        storage.commit(Batch::new().quarantine_blob(hash)).unwrap();
        let row = storage.quarantined(1).unwrap().remove(0);
        assert_eq!((row.length, row.bytes.is_some()), (length as u64, kept));
        assert_eq!(storage.has_blob(&hash), Ok(false));
    }
}

#[test]
fn scrubbing_in_slices_finds_each_damaged_blob_once() {
    let rotten: BTreeSet<Hash> = [3, 17, 18, 59].into_iter().map(address).collect();
    let storage = with_rotten(60, [3, 17, 18, 59].into_iter());
    for budget in [0, 1, 500, 5_000, usize::MAX] {
        let (mut found, mut checked, mut pages, mut after) = (Vec::new(), 0, 0, None);
        loop {
            let page = storage.scrub(after, budget).unwrap();
            // Not more than was asked for, but for the last blob of the page.
            assert!(page.checked as usize <= 1 + budget / blob(0).len(), "{budget}: {}", page.checked);
            found.extend(page.corrupt);
            checked += page.checked;
            pages += 1;
            match page.next {
                Some(next) => assert!(after.replace(next).is_none_or(|last| last < next)),
                None => break,
            }
        }
        assert_eq!(checked, 60);
        assert_eq!(found, rotten.iter().copied().collect::<Vec<_>>());
        assert_eq!(pages == 60, budget <= 1, "{budget}: {pages} pages");
        assert_eq!(pages == 1, budget == usize::MAX, "{budget}: {pages} pages");
    }
    assert_eq!(with_rotten(0, std::iter::empty()).scrub(None, 1), Ok(ScrubPage::default()));
    assert_eq!(storage.scrub(Some(Hash([0xff; 32])), 1), Ok(ScrubPage::default()));
}
