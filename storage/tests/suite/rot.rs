//! Bit rot: a flipped bit anywhere in the file is an error, or touches nothing that is read; never a wrong value.

use forgemesh_protocol::hash::Hash;
use forgemesh_storage::testing::{Disk, Random};
use forgemesh_storage::{Batch, MetaKey, ReadError, Storage};

use crate::{Contents, contents, id};

const ROWS: u64 = 30;

fn blob(n: u64) -> Vec<u8> {
    format!("blob {n} ").into_bytes().repeat(200)
}

fn addresses() -> Vec<Hash> {
    (0..ROWS).map(|n| Hash::blob(&blob(n))).collect()
}

/// An image in one commit, so that no older state is in it that damage to the header could bring back.
fn image() -> (Vec<u8>, Contents) {
    let disk = Disk::new(1);
    let storage = Storage::with_backend(disk.clone()).unwrap();
    let mut batch = Batch::new();
    for n in 0..ROWS {
        batch.put_blob(blob(n));
        batch.append_log(n, format!("entry {n}").into_bytes().repeat(20));
        batch.append_ledger(n, format!("ledger {n}").into_bytes().repeat(20));
        batch.put_job(id(n), format!("job {n}").into_bytes().repeat(20));
        batch.put_kv("n", &format!("key {n}"), format!("value {n}").into_bytes().repeat(20));
        batch.put_outbox(n, format!("attestation {n}").into_bytes().repeat(20));
        batch.put_refusal(id(n), format!("refusal {n}").into_bytes().repeat(20));
    }
    batch.put_snapshot(9, b"state".repeat(100)).put_meta(MetaKey::Genesis, b"genesis".to_vec());
    storage.commit(&batch).unwrap();
    let found = contents(&storage, &addresses()).unwrap();
    drop(storage);
    (disk.image(), found)
}

/// Whether each thing found is one that was written: rows may be missing, none may be wrong.
fn holds(truth: &Contents, storage: &Storage) {
    let fine = |ok: bool, what: &str| assert!(ok, "wrong value read: {what}");
    for (hash, bytes) in addresses().iter().zip(&truth.blobs) {
        fine(
            matches!(storage.blob(hash), Ok(None) | Err(_)) || storage.blob(hash) == Ok(bytes.clone()),
            "blob",
        );
    }
    for job in &truth.jobs {
        let found = storage.job(&job.id);
        fine(matches!(found, Ok(None) | Err(_)) || found == Ok(Some(job.record.clone())), "job");
    }
    for (seq, entry) in truth.ledger.iter().enumerate() {
        let found = storage.ledger(seq as u64);
        fine(matches!(found, Ok(None) | Err(_)) || found == Ok(entry.clone()), "ledger");
    }
    for (key, value) in &truth.kv {
        let found = storage.kv("n", key);
        fine(matches!(found, Ok(None) | Err(_)) || found == Ok(Some(value.clone())), "kv");
    }
    let snapshot = storage.snapshot();
    fine(matches!(snapshot, Ok(None) | Err(_)) || snapshot == Ok(truth.snapshot.clone()), "snapshot");
    let meta = storage.meta(MetaKey::Genesis);
    fine(matches!(meta, Ok(None) | Err(_)) || meta == Ok(truth.meta.clone()), "meta");
    fine(within(storage.log(10, 1_000), &truth.log), "log");
    fine(within(storage.jobs(None, 1_000), &truth.jobs), "jobs");
    fine(within(storage.kv_list("n", None, 1_000), &truth.kv), "kv list");
    fine(within(storage.outbox(0, 1_000), &truth.outbox), "outbox");
    fine(within(storage.refusals(1_000), &truth.refusals), "refusals");
}

fn within<T: PartialEq>(found: Result<Vec<T>, ReadError>, truth: &[T]) -> bool {
    found.is_err() || found.is_ok_and(|rows| rows.iter().all(|row| truth.contains(row)))
}

#[test]
fn a_flipped_bit_never_becomes_a_wrong_value() {
    let seed = 20_261_121;
    println!("seed {seed}");
    let (image, truth) = image();
    let mut random = Random(seed);
    // Most of a young file is empty: half the flips go to bytes that hold something.
    let used: Vec<usize> = (0..image.len()).filter(|at| image[*at] != 0).collect();
    let mut noticed = 0;
    for n in 0..1_500 {
        let at = if n % 2 == 0 { used[random.below(used.len())] } else { random.below(image.len()) };
        let mut rotten = image.clone();
        rotten[at] ^= 1 << random.below(8);
        match Storage::with_backend(Disk::with_image(1, rotten)) {
            Ok(storage) => {
                holds(&truth, &storage);
                noticed += u32::from(contents(&storage, &addresses()).as_ref() != Ok(&truth));
            }
            Err(_) => noticed += 1,
        }
    }
    assert!(noticed > 300, "only {noticed} flips noticed");
}

#[test]
fn damage_is_named_with_its_place_and_a_new_copy_heals_a_blob() {
    let (image, _) = image();
    let find =
        |text: &[u8]| image.windows(text.len()).position(|window| window == text).expect("stored text");
    let flipped = |text: &[u8]| {
        let mut rotten = image.clone();
        rotten[find(text) + 1] ^= 0x10;
        Storage::with_backend(Disk::with_image(1, rotten)).unwrap()
    };
    let storage = flipped(&blob(4)[..40]);
    let hash = Hash::blob(&blob(4));
    assert_eq!(storage.blob(&hash), Err(ReadError::CorruptBlob { hash }));
    assert_eq!(storage.has_blob(&hash), Ok(true));
    let mut batch = Batch::new();
    batch.put_blob(blob(4));
    storage.commit(&batch).unwrap();
    assert_eq!(storage.blob(&hash), Ok(Some(blob(4))));

    let corrupt = |table, key: &str| ReadError::Corrupt { table, key: key.to_owned() };
    let storage = flipped(&b"ledger 17".repeat(3));
    assert_eq!(storage.ledger(17), Err(corrupt("ledger", "17")));
    assert_eq!(flipped(&b"entry 12".repeat(3)).log(10, 100), Err(corrupt("log", "12")));
    assert_eq!(flipped(&b"job 8".repeat(3)).job(&id(8)), Err(corrupt("jobs", &id(8).to_string())));
    assert_eq!(flipped(&b"state".repeat(3)).snapshot(), Err(corrupt("snapshot", "state")));
}

/// Whoever meets the damage is told of it, everybody after that only that the handle is dead: it says why.
#[test]
fn a_handle_that_damage_has_ended_says_so() {
    let (image, _) = image();
    let mut random = Random(7);
    let ended = (0..2_000).find_map(|_| {
        let mut damaged = image.clone();
        for _ in 0..200 {
            let at = 8_192 + random.below(damaged.len() - 8_192);
            damaged[at] ^= 0xff;
        }
        let storage = Storage::with_backend(Disk::with_image(1, damaged)).ok()?;
        let mut batch = Batch::new();
        for n in 0..ROWS {
            batch.put_kv("n", &format!("key {n}"), vec![1; 3_000]);
        }
        let _ = storage.commit(&batch);
        storage.is_dead().then_some(storage)
    });
    let storage = ended.expect("damage that ends a handle");
    assert!(storage.is_damaged());
    assert_eq!(storage.commit(&Batch::new()), Err(forgemesh_storage::CommitError::Dead));
    assert!(storage.is_damaged());
}
