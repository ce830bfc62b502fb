//! The snapshot: the state after a log index, which the log up to there can be dropped for.
//!
//! Owns the table `snapshot`. Must never go back to an older index.

use redb::{ReadableTable, WriteTransaction};

use crate::engine::Storage;
use crate::error::{CommitError, CorruptRecord, Fail, ReadError};
use crate::raft_log;
use crate::rows::{Rows, read, write};
use crate::tables::{Bytes, SNAPSHOT};

const INDEX: &[u8] = b"index";
const STATE: &[u8] = b"state";

pub(crate) fn put(transaction: &WriteTransaction, index: u64, state: &[u8]) -> Result<(), Fail<CommitError>> {
    replace(transaction, index, state)?;
    raft_log::drop_through(transaction, index)
}

/// Leaves the log as it is.
pub(crate) fn renew(
    transaction: &WriteTransaction,
    index: u64,
    state: &[u8],
) -> Result<(), Fail<CommitError>> {
    // The log's start may so far follow from the old snapshot alone.
    raft_log::keep_start(transaction, index)?;
    replace(transaction, index, state)
}

fn replace(transaction: &WriteTransaction, index: u64, state: &[u8]) -> Result<(), Fail<CommitError>> {
    let mut rows = write(transaction, SNAPSHOT)?;
    if let Some(held) = self::index(&rows)?.filter(|held| *held > index) {
        return Err(Fail::Named(CommitError::SnapshotBackwards { held, got: index }));
    }
    rows.put(INDEX, &index.to_be_bytes())?;
    rows.put(STATE, &[&index.to_be_bytes(), state].concat())
}

/// Index of the snapshot held, without reading the state.
pub(crate) fn index<E, T>(rows: &Rows<T>) -> Result<Option<u64>, Fail<E>>
where
    E: From<CorruptRecord>,
    T: ReadableTable<Bytes, Bytes>,
{
    match rows.get(INDEX)? {
        Some(value) => value.try_into().map(|n| Some(u64::from_be_bytes(n))).map_err(|_| rows.corrupt(INDEX)),
        None => Ok(None),
    }
}

impl Storage {
    /// The snapshot held: index of the last entry it includes, and the state after it.
    pub fn snapshot(&self) -> Result<Option<(u64, Vec<u8>)>, ReadError> {
        self.read(|transaction| {
            let rows = read(transaction, SNAPSHOT)?;
            let Some(index) = self::index(&rows)? else {
                return Ok(None);
            };
            let (bound, state) = rows.split_number(STATE, &rows.require(STATE)?)?;
            if bound == index { Ok(Some((index, state))) } else { Err(rows.corrupt(STATE)) }
        })
    }
}
