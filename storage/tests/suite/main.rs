//! Tests of the storage crate from outside, in one binary: what a user of the crate may rely on.
//!
//! Owns what the modules share. Must never look at the tables other than through the public reads, except to damage
//! the bytes underneath.

#![allow(clippy::unwrap_used, reason = "a failed step of a test is a failed test")]

mod api;
mod crash;
mod disk;
mod folder;
mod full;
mod key_file;
mod migration;
mod pieces;
mod quarantine;
mod rot;
mod slots;
mod workload;

use forgemesh_protocol::hash::Hash;
use forgemesh_storage::testing::Disk;
use forgemesh_storage::{JobRow, MetaKey, QuarantineRow, ReadError, RefusalRow, Storage};

/// Pieces that the tests write of one artifact.
pub const PIECES: u64 = 3;

/// A job or blob id for tests.
pub fn id(n: u64) -> Hash {
    Hash::blob(&n.to_le_bytes())
}

/// The record format, written out once more: checksum over table, key and value, then the value.
pub fn sealed(table: &str, key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut hasher = blake3::Hasher::new_derive_key("forgemesh storage record v1");
    for part in [table.as_bytes(), key] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.update(value);
    [&hasher.finalize().as_bytes()[..16], value].concat()
}

/// Flips a bit in every copy of `text` that the disk holds: a page may lie there more than once.
pub fn damage(disk: &Disk, text: &[u8]) {
    let image = disk.image();
    let places: Vec<usize> =
        (0..=image.len() - text.len()).filter(|at| image[*at..].starts_with(text)).collect();
    assert!(!places.is_empty(), "the text is stored");
    places.into_iter().for_each(|at| disk.rot_at(at + text.len() / 2, 0x10));
}

/// Everything that the reads show of what the tests write.
#[derive(Clone, Debug, PartialEq)]
pub struct Contents {
    pub blobs: Vec<Option<Vec<u8>>>,
    /// Those of the addresses whose bytes are damaged.
    pub corrupt: Vec<Hash>,
    pub quarantined: Vec<QuarantineRow>,
    /// The first pieces of the artifact `id(0)`.
    pub pieces: Vec<Option<Vec<u8>>>,
    pub snapshot: Option<(u64, Vec<u8>)>,
    pub log: Vec<(u64, Vec<u8>)>,
    pub last_log_index: Option<u64>,
    pub jobs: Vec<JobRow>,
    pub ledger: Vec<Option<Vec<u8>>>,
    pub kv: Vec<(String, Vec<u8>)>,
    pub outbox: Vec<(u64, Vec<u8>)>,
    pub meta: Option<Vec<u8>>,
    pub refusals: Vec<RefusalRow>,
}

/// Reads all of it; `blobs` are the addresses to look for.
pub fn contents(storage: &Storage, blobs: &[Hash]) -> Result<Contents, ReadError> {
    let snapshot = storage.snapshot()?;
    let first = storage.first_log_index()?;
    let mut corrupt = Vec::new();
    let mut blob = |hash: &Hash| match storage.blob(hash) {
        Err(ReadError::CorruptBlob { hash }) => {
            corrupt.push(hash);
            Ok(None)
        }
        other => other,
    };
    Ok(Contents {
        blobs: blobs.iter().map(&mut blob).collect::<Result<_, _>>()?,
        corrupt,
        quarantined: storage.quarantined(10_000)?,
        pieces: (0..PIECES).map(|index| storage.piece(&id(0), index)).collect::<Result<_, _>>()?,
        log: storage.log(first, 10_000)?,
        snapshot,
        last_log_index: storage.last_log_index()?,
        jobs: storage.jobs(None, 10_000)?,
        ledger: (0..storage.ledger_len()?).map(|seq| storage.ledger(seq)).collect::<Result<_, _>>()?,
        kv: storage.kv_list("n", None, 10_000)?,
        outbox: storage.outbox(0, 10_000)?,
        meta: storage.meta(MetaKey::Genesis)?,
        refusals: storage.refusals(10_000)?,
    })
}
