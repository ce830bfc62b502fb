//! Tests of the storage crate from outside, in one binary: what a user of the crate may rely on.
//!
//! Owns what the modules share. Must never look at the tables other than through the public reads, except to damage
//! the bytes underneath.

#![allow(clippy::unwrap_used, reason = "a failed step of a test is a failed test")]

mod api;
mod crash;
mod disk;
mod folder;
mod key_file;
mod rot;

use forgemesh_protocol::hash::Hash;
use forgemesh_storage::{JobRow, MetaKey, ReadError, RefusalRow, Storage};

/// SplitMix64 (Steele, Lea, Flood 2014): a test's whole randomness from one printed seed.
pub struct Random(pub u64);

impl Random {
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.draw() % bound.max(1) as u64) as usize
    }
}

/// A job or blob id for tests.
pub fn id(n: u64) -> Hash {
    Hash::blob(&n.to_le_bytes())
}

/// Everything that the reads show of what the tests write.
#[derive(Clone, Debug, PartialEq)]
pub struct Contents {
    pub blobs: Vec<Option<Vec<u8>>>,
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
    let first = snapshot.as_ref().map_or(0, |(index, _)| index + 1);
    Ok(Contents {
        blobs: blobs.iter().map(|hash| storage.blob(hash)).collect::<Result<_, _>>()?,
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
