//! Pieces of artifacts that are too large for a blob.
//!
//! Owns the tables `piece_bodies` and `piece_ends`, and reads and empties the older `pieces`. Must never return bytes that
//! have not the sum under which they were put, nor say that an artifact is whole: that is for whoever knows its outline.
//!
//! The engine gives a value room in powers of two, so a piece of 1 MiB in one row would take 2 MiB. It lies in two
//! rows: all but its last bytes, and these behind its sum. Who puts a piece has found its sum already, so it need not be
//! read once more for a checksum.

use forgemesh_protocol::artifact::is_sum;
use forgemesh_protocol::hash::Hash;
use redb::{ReadTransaction, WriteTransaction};

use crate::engine::Storage;
use crate::error::{CommitError, Fail, ReadError};
use crate::limits::{MAX_PIECE_BYTES, PIECE_TAIL_BYTES};
use crate::rows::{read, write};
use crate::tables::{PIECE_BODIES, PIECE_ENDS, PIECES};

/// The parts of a piece in `pieces`.
const BODY: u8 = 0;
const TAIL: u8 = 1;

pub(crate) fn put(
    transaction: &WriteTransaction,
    artifact: &Hash,
    index: u64,
    sum: &Hash,
    bytes: &[u8],
) -> Result<(), Fail<CommitError>> {
    let (body, left_over) = bytes.split_at(bytes.len().min(MAX_PIECE_BYTES - PIECE_TAIL_BYTES));
    let key = key(artifact, index);
    delete_older(transaction, &key)?;
    write(transaction, PIECE_BODIES)?.put_raw(&key, body)?;
    write(transaction, PIECE_ENDS)?.put(&key, &[&sum.0[..], left_over].concat())
}

pub(crate) fn delete(
    transaction: &WriteTransaction,
    artifact: &Hash,
    index: u64,
) -> Result<(), Fail<CommitError>> {
    let key = key(artifact, index);
    write(transaction, PIECE_BODIES)?.remove(&key)?;
    write(transaction, PIECE_ENDS)?.remove(&key)?;
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

impl Storage {
    /// A piece's bytes as they were put; `None` when it is not kept here.
    ///
    /// # Errors
    /// `Corrupt` when its bytes are damaged: delete it and fetch it again.
    pub fn piece(&self, artifact: &Hash, index: u64) -> Result<Option<Vec<u8>>, ReadError> {
        self.read(|transaction| {
            let (bodies, key) = (read(transaction, PIECE_BODIES)?, key(artifact, index));
            let mut bytes = Vec::new();
            if !bodies.read_raw(&key, PIECE_TAIL_BYTES, &mut bytes)? {
                return older(transaction, &key);
            }
            let ends = read(transaction, PIECE_ENDS)?;
            let (sum, left_over) = ends.split_hash(&key, &ends.require(&key)?)?;
            bytes.extend_from_slice(&left_over);
            if !is_sum(artifact, index, &sum, &bytes) {
                return Err(bodies.corrupt(&key));
            }
            Ok(Some(bytes))
        })
    }
}
