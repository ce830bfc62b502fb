//! Pieces of artifacts that are too large for a blob.
//!
//! Owns the table `pieces`. Must never say that an artifact is whole: that is for whoever knows its outline.
//!
//! The engine gives a value room in powers of two, so a piece of 1 MiB in one row would take 2 MiB. It lies in two
//! rows: all but its last bytes, and these.

use forgemesh_protocol::hash::Hash;
use redb::WriteTransaction;

use crate::engine::Storage;
use crate::error::{CommitError, Fail, ReadError};
use crate::limits::{MAX_PIECE_BYTES, PIECE_TAIL_BYTES};
use crate::rows::{read, write};
use crate::tables::PIECES;

const BODY: u8 = 0;
const TAIL: u8 = 1;

pub(crate) fn put(
    transaction: &WriteTransaction,
    artifact: &Hash,
    index: u64,
    bytes: &[u8],
) -> Result<(), Fail<CommitError>> {
    let (body, tail) = bytes.split_at(bytes.len().min(MAX_PIECE_BYTES - PIECE_TAIL_BYTES));
    let mut rows = write(transaction, PIECES)?;
    rows.put(&key(artifact, index, BODY), body)?;
    match tail {
        [] => rows.remove(&key(artifact, index, TAIL)),
        tail => rows.put(&key(artifact, index, TAIL), tail),
    }
}

pub(crate) fn delete(
    transaction: &WriteTransaction,
    artifact: &Hash,
    index: u64,
) -> Result<(), Fail<CommitError>> {
    let mut rows = write(transaction, PIECES)?;
    rows.remove(&key(artifact, index, BODY))?;
    rows.remove(&key(artifact, index, TAIL))
}

fn key(artifact: &Hash, index: u64, part: u8) -> Vec<u8> {
    [&artifact.0[..], &index.to_be_bytes(), &[part]].concat()
}

impl Storage {
    /// A piece's bytes as they were put; `None` when it is not kept here.
    ///
    /// # Errors
    /// `Corrupt` when its bytes are damaged: delete it and fetch it again.
    pub fn piece(&self, artifact: &Hash, index: u64) -> Result<Option<Vec<u8>>, ReadError> {
        self.read(|transaction| {
            let rows = read(transaction, PIECES)?;
            let Some(mut bytes) = rows.get(&key(artifact, index, BODY))? else { return Ok(None) };
            if bytes.len() == MAX_PIECE_BYTES - PIECE_TAIL_BYTES
                && let Some(tail) = rows.get(&key(artifact, index, TAIL))?
            {
                bytes.extend_from_slice(&tail);
            }
            Ok(Some(bytes))
        })
    }
}
