//! The outbox: this node's own signed attestations, kept until the hub has them and resent byte for byte.
//!
//! Owns the table `outbox`. Must never replace kept bytes by others: that would fork an honest chain.

use redb::WriteTransaction;

use crate::engine::Storage;
use crate::error::{CommitError, Fail, ReadError};
use crate::rows::{read, write};
use crate::tables::OUTBOX;

pub(crate) fn put(
    transaction: &WriteTransaction,
    seq: u64,
    attestation: &[u8],
) -> Result<(), Fail<CommitError>> {
    let mut rows = write(transaction, OUTBOX)?;
    match rows.get::<CommitError>(&seq.to_be_bytes())? {
        None => rows.put(&seq.to_be_bytes(), attestation),
        Some(kept) if kept == attestation => Ok(()),
        Some(_) => Err(Fail::Named(CommitError::OutboxConflict { seq })),
    }
}

pub(crate) fn delete_through(transaction: &WriteTransaction, seq: u64) -> Result<(), Fail<CommitError>> {
    write(transaction, OUTBOX)?.remove_through(&seq.to_be_bytes())
}

impl Storage {
    /// Attestations kept, with their sequence numbers, ascending from `from`, at most `limit`; a page may be shorter
    /// (see `limits`), an empty one is the end.
    pub fn outbox(&self, from: u64, limit: usize) -> Result<Vec<(u64, Vec<u8>)>, ReadError> {
        self.read(|transaction| {
            let rows = read(transaction, OUTBOX)?;
            let page = rows.page(&from.to_be_bytes(), limit, |_| true)?;
            page.into_iter().map(|(key, value)| Ok((rows.number(&key)?, value))).collect()
        })
    }
}
