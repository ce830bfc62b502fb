//! The node's single values: its genesis, its place in its own chains, and the schema version.
//!
//! Owns the table `meta`. Must never let a caller write the schema version.

use redb::{ReadTransaction, WriteTransaction};

use crate::engine::Storage;
use crate::error::{CommitError, Fail, ReadError};
use crate::rows::{read, write};
use crate::tables::{META, SCHEMA_VERSION};

const SCHEMA: &[u8] = b"schema";

/// Which single value. Stored by name, so that the order here means nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetaKey {
    /// Canonical bytes of the genesis of the node's mesh.
    Genesis,
    /// Where the node stands in its beacon hash chain, with the checkpoints from which it is recomputed.
    Beacon,
}

impl MetaKey {
    fn name(self) -> &'static [u8] {
        match self {
            MetaKey::Genesis => b"genesis",
            MetaKey::Beacon => b"beacon",
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

impl Storage {
    /// A single value; `None` when it was never put.
    pub fn meta(&self, key: MetaKey) -> Result<Option<Vec<u8>>, ReadError> {
        self.read(|transaction| read(transaction, META)?.get(key.name()))
    }
}
