//! Pieces of artifacts that are too large for a blob.
//!
//! Owns the tables `piece_slots`, `piece_bodies` and `piece_ends`, and reads and empties the older `pieces`. Must never return
//! bytes that have not the sum under which they were put, nor say that an artifact is whole: that is for whoever knows its
//! outline.
//!
//! A long piece lies in a slot beside the database, which a row names. A short one, and each of a backend that has no slots,
//! lies in two rows: the engine gives a value room in powers of two, so a piece of 1 MiB in one row would take 2 MiB. They are
//! all but its last bytes, and these behind its sum. Who puts a piece has found its sum already, so it need not be read once
//! more for a checksum.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use forgemesh_protocol::artifact::is_sum;
use forgemesh_protocol::hash::Hash;
use redb::{ReadTransaction, ReadableTable, WriteTransaction};

use crate::engine::Storage;
use crate::error::{CommitError, Fail, ReadError};
use crate::limits::{MAX_PIECE_BYTES, PIECE_TAIL_BYTES, SLOT_PIECE_BYTES};
use crate::rows::{Rows, read, write};
use crate::slots::Slots;
use crate::tables::{Bytes, PIECE_BODIES, PIECE_ENDS, PIECE_SLOTS, PIECES};

/// The parts of a piece in `pieces`.
const BODY: u8 = 0;
const TAIL: u8 = 1;

/// A row of `piece_slots`: the piece's sum, its slot and its length.
struct Lying {
    sum: Hash,
    slot: u64,
    length: u64,
}

impl Lying {
    fn of(row: &[u8]) -> Option<Lying> {
        let (sum, rest) = row.split_first_chunk::<32>()?;
        let (slot, length) = rest.split_first_chunk::<8>()?;
        let length = length.try_into().ok().map(u64::from_be_bytes)?;
        Some(Lying { sum: Hash(*sum), slot: u64::from_be_bytes(*slot), length })
    }

    fn row(&self) -> Vec<u8> {
        [&self.sum.0[..], &self.slot.to_be_bytes(), &self.length.to_be_bytes()].concat()
    }
}

/// The slot that a row names as it is stored. A damaged one names none: what lies there cannot be found any more, and whoever
/// opens next takes the slot for free.
fn slot_of<T: ReadableTable<Bytes, Bytes>>(rows: &Rows<T>, key: &[u8], stored: &[u8]) -> Option<u64> {
    let row = rows.unseal::<ReadError>(key, stored).ok()?;
    Lying::of(&row).map(|lying| lying.slot)
}

/// The slots that rows name.
pub(crate) fn named_slots(storage: &Storage) -> Result<BTreeSet<u64>, ReadError> {
    storage.read(|transaction| {
        let (rows, mut named) = (read(transaction, PIECE_SLOTS)?, BTreeSet::new());
        rows.visit_raw::<ReadError>(&[], |key, stored| {
            named.extend(slot_of(&rows, key, stored));
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(named)
    })
}

pub(crate) fn put(
    transaction: &WriteTransaction,
    slots: Option<&Slots>,
    artifact: &Hash,
    index: u64,
    sum: &Hash,
    bytes: &[u8],
) -> Result<(), Fail<CommitError>> {
    delete(transaction, slots, artifact, index)?;
    let key = key(artifact, index);
    if let Some(slots) = slots.filter(|_| bytes.len() >= SLOT_PIECE_BYTES) {
        let slot = slots.fill(bytes).map_err(|error| Fail::Engine(error.into()))?;
        let lying = Lying { sum: *sum, slot, length: bytes.len() as u64 };
        return write(transaction, PIECE_SLOTS)?.put(&key, &lying.row());
    }
    let (body, left_over) = bytes.split_at(bytes.len().min(MAX_PIECE_BYTES - PIECE_TAIL_BYTES));
    write(transaction, PIECE_BODIES)?.put_raw(&key, body)?;
    write(transaction, PIECE_ENDS)?.put(&key, &[&sum.0[..], left_over].concat())
}

pub(crate) fn delete(
    transaction: &WriteTransaction,
    slots: Option<&Slots>,
    artifact: &Hash,
    index: u64,
) -> Result<(), Fail<CommitError>> {
    let key = key(artifact, index);
    let mut lying = write(transaction, PIECE_SLOTS)?;
    if let Some(stored) = lying.get_raw(&key)? {
        if let (Some(slots), Some(slot)) = (slots, slot_of(&lying, &key, &stored)) {
            slots.empty(slot);
        }
        lying.remove(&key)?;
    }
    // Where there is no end there is no body: to look for one may take reading its long neighbour.
    let mut ends = write(transaction, PIECE_ENDS)?;
    if ends.raw_len(&key)?.is_some() {
        ends.remove(&key)?;
        write(transaction, PIECE_BODIES)?.remove(&key)?;
    }
    delete_older(transaction, &key)
}

/// Forgets what version 3 had put under this key.
fn delete_older(transaction: &WriteTransaction, key: &[u8]) -> Result<(), Fail<CommitError>> {
    let mut older = write(transaction, PIECES)?;
    older.remove(&[key, &[BODY]].concat())?;
    older.remove(&[key, &[TAIL]].concat())
}

fn key(artifact: &Hash, index: u64) -> Vec<u8> {
    [&artifact.0[..], &index.to_be_bytes()].concat()
}

/// A piece that was put by version 3.
fn older(transaction: &ReadTransaction, key: &[u8]) -> Result<Option<Vec<u8>>, Fail<ReadError>> {
    let rows = read(transaction, PIECES)?;
    let Some(mut bytes) = rows.get(&[key, &[BODY]].concat())? else { return Ok(None) };
    if bytes.len() == MAX_PIECE_BYTES - PIECE_TAIL_BYTES
        && let Some(tail) = rows.get(&[key, &[TAIL]].concat())?
    {
        bytes.extend_from_slice(&tail);
    }
    Ok(Some(bytes))
}

/// A piece that lies in the database; its bytes have their sum.
fn within(
    transaction: &ReadTransaction,
    artifact: &Hash,
    index: u64,
) -> Result<Option<Vec<u8>>, Fail<ReadError>> {
    let (bodies, key) = (read(transaction, PIECE_BODIES)?, key(artifact, index));
    let mut bytes = Vec::new();
    if !bodies.read_raw(&key, PIECE_TAIL_BYTES, &mut bytes)? {
        return older(transaction, &key);
    }
    let ends = read(transaction, PIECE_ENDS)?;
    let (sum, left_over) = ends.split_hash(&key, &ends.require(&key)?)?;
    bytes.extend_from_slice(&left_over);
    if is_sum(artifact, index, &sum, &bytes) { Ok(Some(bytes)) } else { Err(bodies.corrupt(&key)) }
}

/// Where a piece lies.
enum Place {
    Within(Option<Vec<u8>>),
    Slot(Lying),
}

impl Storage {
    /// A piece's bytes as they were put; `None` when it is not kept here.
    ///
    /// # Errors
    /// `Corrupt` when its bytes are damaged: delete it and fetch it again.
    pub fn piece(&self, artifact: &Hash, index: u64) -> Result<Option<Vec<u8>>, ReadError> {
        loop {
            let turns = self.slots().map(Slots::turns);
            let lying = match self.place(artifact, index)? {
                Place::Within(bytes) => return Ok(bytes),
                Place::Slot(lying) => lying,
            };
            let bytes = self.slot(lying.slot, usize::try_from(lying.length).unwrap_or(usize::MAX))?;
            if let Some(bytes) = bytes.filter(|bytes| is_sum(artifact, index, &lying.sum, bytes)) {
                return Ok(Some(bytes));
            }
            // Unless the slot may have become another piece's since the row was read, what lies there is damaged.
            if self.slots().map(Slots::turns) == turns {
                return self
                    .read(|transaction| Err(read(transaction, PIECE_SLOTS)?.corrupt(&key(artifact, index))));
            }
        }
    }

    fn place(&self, artifact: &Hash, index: u64) -> Result<Place, ReadError> {
        self.read(|transaction| {
            let (rows, key) = (read(transaction, PIECE_SLOTS)?, key(artifact, index));
            match rows.get(&key)? {
                Some(row) => Lying::of(&row).map(Place::Slot).ok_or_else(|| rows.corrupt(&key)),
                None => within(transaction, artifact, index).map(Place::Within),
            }
        })
    }
}
