//! The schema: every table, its keys and its values, and the version of the whole.
//!
//! Owns the names and key layouts. Must never change a released table: a new layout is a new table, a new
//! `SCHEMA_VERSION`, and a migration in `schema`.
//!
//! Every key is a byte string whose order is the order of the thing: integers are big-endian u64. Every value but
//! a blob's or a piece's is a *record*: 16 bytes of checksum, then the value (see `rows`). A blob's address is its checksum,
//! and so is a piece's sum.

use redb::TableDefinition;

/// Version of all the tables below, stored in `meta` under `schema` as a big-endian u32 record.
pub const SCHEMA_VERSION: u32 = 5;

/// The type of every key and value: bytes, so that no damaged file can make a typed decoder panic.
pub(crate) type Bytes = &'static [u8];

/// One table, by its name in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Table(pub &'static str);

impl Table {
    pub(crate) fn definition(self) -> TableDefinition<'static, Bytes, Bytes> {
        TableDefinition::new(self.0)
    }
}

/// `meta`: the name of a `MetaKey` → record. Stable since version 1; keys may be added.
pub(crate) const META: Table = Table("meta");
/// `blobs`: 32-byte address → the blob's bytes, no checksum beside the address. Stable since version 1.
pub(crate) const BLOBS: Table = Table("blobs");
/// `log`: index u64 → record of an entry; the indices are contiguous. Stable since version 1.
pub(crate) const LOG: Table = Table("log");
/// `snapshot`: `index` → record of u64, `state` → record of index u64 ‖ state; both or neither, written together.
/// The index stands alone too, so that an append need not read the state. Stable since version 1.
pub(crate) const SNAPSHOT: Table = Table("snapshot");
/// `jobs`: 32-byte job id → record of insertion number u64 ‖ job record. Stable since version 1.
pub(crate) const JOBS: Table = Table("jobs");
/// `job_order`: insertion number u64 → record of the 32-byte job id; no number is used twice. Stable since version 1.
pub(crate) const JOB_ORDER: Table = Table("job_order");
/// `ledger`: sequence number u64 → record of an entry; contiguous from 0, never deleted. Stable since version 1.
pub(crate) const LEDGER: Table = Table("ledger");
/// `kv`: namespace length u8 ‖ namespace ‖ key → record. Stable since version 1.
pub(crate) const KV: Table = Table("kv");
/// `outbox`: attestation sequence number u64 → record of the signed bytes. Stable since version 1.
pub(crate) const OUTBOX: Table = Table("outbox");
/// `refusals`: arrival number u64 → record of 32-byte id ‖ refusal record. Stable since version 1.
pub(crate) const REFUSALS: Table = Table("refusals");
/// `refusal_ids`: 32-byte id → record of its arrival number u64. Stable since version 1.
pub(crate) const REFUSAL_IDS: Table = Table("refusal_ids");

/// `quarantine`: arrival number u64 → record of 32-byte address ‖ length u64 ‖ the damaged bytes, or none of them when
/// they are longer than `MAX_QUARANTINE_BYTES`. Stable since version 2.
pub(crate) const QUARANTINE: Table = Table("quarantine");

/// `pieces`: 32-byte address of an artifact ‖ index u64 ‖ part u8 → record of the part's bytes: part 0 has all of the piece
/// but its last `PIECE_TAIL_BYTES`, part 1 these; a piece that is shorter than the longest by so much has no part 1. Stable
/// since version 3; since version 4 none is put there any more.
pub(crate) const PIECES: Table = Table("pieces");

/// `piece_bodies`: 32-byte address of an artifact ‖ index u64 → all of the piece but its last `PIECE_TAIL_BYTES` (nothing is
/// left over of one that is shorter than the longest by so much), no checksum beside the sum. Stable since version 4.
pub(crate) const PIECE_BODIES: Table = Table("piece_bodies");
/// `piece_ends`: the same key → record of the piece's 32-byte sum ‖ the bytes that are left over; both tables have a piece or
/// neither. Stable since version 4.
pub(crate) const PIECE_ENDS: Table = Table("piece_ends");

/// `piece_slots`: the same key → record of the piece's 32-byte sum ‖ the number of its slot u64 ‖ its length u64. Its bytes lie
/// in the slot, in the file beside the database (see `slots`); no slot is named twice, and a piece that is here is in neither
/// of the two tables above. Stable since version 5.
pub(crate) const PIECE_SLOTS: Table = Table("piece_slots");

/// The tables by the version that brought them, version 1 first: a file of version n has those of the first n rows.
const BY_VERSION: [&[Table]; SCHEMA_VERSION as usize] = [
    &[META, BLOBS, LOG, SNAPSHOT, JOBS, JOB_ORDER, LEDGER, KV, OUTBOX, REFUSALS, REFUSAL_IDS],
    &[QUARANTINE],
    &[PIECES],
    &[PIECE_BODIES, PIECE_ENDS],
    &[PIECE_SLOTS],
];

/// The tables that came after `version`, in the order in which a file gets them; all of them for 0.
pub(crate) fn newer_than(version: u32) -> impl Iterator<Item = Table> {
    BY_VERSION.into_iter().skip(version as usize).flatten().copied()
}
