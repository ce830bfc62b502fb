//! Every bound of this crate, by name.
//!
//! Owns the numbers and why they are what they are. Must never be raised past what redb holds in one value (3 GiB).

/// Longest blob. Larger artifacts are split by whoever makes them.
pub const MAX_BLOB_BYTES: usize = 256 << 20;
/// Longest piece of an artifact.
pub const MAX_PIECE_BYTES: usize = 1 << 20;
/// Its last bytes, which lie apart: with key and page header the rest just fits 1 MiB.
pub const PIECE_TAIL_BYTES: usize = 128;
/// Pieces of at least so many bytes lie beside the database; a shorter one is not worth a sync of its own.
pub const SLOT_PIECE_BYTES: usize = 64 << 10;
/// Longest entry of the replicated log: commands carry hashes, not data.
pub const MAX_LOG_ENTRY_BYTES: usize = 16 << 20;
/// Longest state snapshot.
pub const MAX_SNAPSHOT_BYTES: usize = 512 << 20;
/// Longest job record, ledger entry, attestation or meta value. A job's record grows with its batches, about 4 kB each.
pub const MAX_RECORD_BYTES: usize = 256 << 20;
/// Longest refusal record: strangers cause these, so that 1,000 of them must stay small.
pub const MAX_REFUSAL_BYTES: usize = 64 << 10;
/// Longest value in the key-value memory.
pub const MAX_KV_VALUE_BYTES: usize = 16 << 20;
/// Longest namespace; its length is written before it in one byte.
pub const MAX_KV_NAMESPACE_BYTES: usize = 128;
/// Longest key within a namespace.
pub const MAX_KV_KEY_BYTES: usize = 512;
/// Most writes in one batch.
pub const MAX_BATCH_WRITES: usize = 65_536;
/// Most bytes in one batch: it is in memory twice while it commits.
pub const MAX_BATCH_BYTES: usize = 1 << 30;
/// Refusals kept; the oldest go first.
pub const MAX_REFUSALS: u64 = 1_000;
/// Damaged blobs on record; the oldest go first.
pub const MAX_QUARANTINED: u64 = 64;
/// Longest damaged bytes that are kept for diagnosis; of longer ones only address and length are.
pub const MAX_QUARANTINE_BYTES: usize = 1 << 20;
/// Room set aside for the day when the disk is full: opening again and the last commits of what was accepted fit in.
pub const RESERVE_BYTES: u64 = 32 << 20;
/// Free space below which new work should be refused, so that what was accepted can still be finished.
pub const LOW_ROOM_BYTES: u64 = 256 << 20;
/// Most rows that one listing returns, whatever limit the caller gives.
pub const MAX_PAGE_ROWS: usize = 10_000;
/// A listing stops after the row with which it reaches this many bytes.
pub const MAX_PAGE_BYTES: usize = 64 << 20;
/// Memory that redb may use for its page cache.
pub const CACHE_BYTES: usize = 32 << 20;
/// Batches that are written together should have no more bytes than this. What goes beyond half of the page cache is written
/// before the commit, read back for its checksum and written once more.
pub const GROUP_BYTES: usize = CACHE_BYTES / 2 - (1 << 20);
/// Writes of at least so many bytes begin to go to the disk at once; shorter ones wait for the sync, which is not far.
pub const WRITE_BACK_BYTES: usize = 256 << 10;
