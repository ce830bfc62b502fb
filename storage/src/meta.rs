//! The node's single values: its genesis, its place in its own chains, and the schema version.
//!
//! Owns the table `meta`. Must never let a caller write the schema version.

use redb::{ReadTransaction, ReadableTable, WriteTransaction};

use crate::engine::Storage;
use crate::error::{CommitError, CorruptRecord, Fail, ReadError};
use crate::rows::{Rows, read, write};
use crate::tables::{Bytes, META, SCHEMA_VERSION};

const SCHEMA: &[u8] = b"schema";
/// The first index that is, or will be, in the log. Absent as long as the snapshot's index says it.
const LOG_FIRST: &[u8] = b"log_first";

/// Which single value. Stored by name, so that the order here means nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetaKey {
    /// Canonical bytes of the genesis of the node's mesh.
    Genesis,
    /// Where the node stands in its beacon hash chain, with the checkpoints from which it is recomputed.
    Beacon,
    /// The vote this hub member has given: no second one in the same term.
    RaftVote,
    /// The last entry of the replicated log that is known to be agreed on; it may lag behind.
    RaftCommitted,
    /// The last entry that was dropped from the replicated log.
    RaftPurged,
    /// Who sits in the hub, as far as this node has heard.
    Seating,
}

impl MetaKey {
    fn name(self) -> &'static [u8] {
        match self {
            MetaKey::Genesis => b"genesis",
            MetaKey::Beacon => b"beacon",
            MetaKey::RaftVote => b"raft_vote",
            MetaKey::RaftCommitted => b"raft_committed",
            MetaKey::RaftPurged => b"raft_purged",
            MetaKey::Seating => b"seating",
        }
    }
}

pub(crate) fn put(
    transaction: &WriteTransaction,
    key: MetaKey,
    value: &[u8],
) -> Result<(), Fail<CommitError>> {
    write(transaction, META)?.put(key.name(), value)
}

/// Writes this program's schema version.
pub(crate) fn put_schema(transaction: &WriteTransaction) -> Result<(), Fail<CommitError>> {
    write(transaction, META)?.put(SCHEMA, &SCHEMA_VERSION.to_be_bytes())
}

/// The schema version of the file.
pub(crate) fn schema(transaction: &ReadTransaction) -> Result<u32, Fail<ReadError>> {
    let rows = read(transaction, META)?;
    rows.require(SCHEMA)?.try_into().map(u32::from_be_bytes).map_err(|_| rows.corrupt(SCHEMA))
}

/// Writes the first index that is, or will be, in the log.
pub(crate) fn put_log_first(transaction: &WriteTransaction, first: u64) -> Result<(), Fail<CommitError>> {
    write(transaction, META)?.put(LOG_FIRST, &first.to_be_bytes())
}

/// That index, where it was written.
pub(crate) fn log_first<E, T>(rows: &Rows<T>) -> Result<Option<u64>, Fail<E>>
where
    E: From<CorruptRecord>,
    T: ReadableTable<Bytes, Bytes>,
{
    match rows.get(LOG_FIRST)? {
        Some(value) => {
            value.try_into().map(|n| Some(u64::from_be_bytes(n))).map_err(|_| rows.corrupt(LOG_FIRST))
        }
        None => Ok(None),
    }
}

impl Storage {
    /// A single value; `None` when it was never put.
    pub fn meta(&self, key: MetaKey) -> Result<Option<Vec<u8>>, ReadError> {
        self.read(|transaction| read(transaction, META)?.get(key.name()))
    }
}
