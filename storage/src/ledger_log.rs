//! The ledger: opaque entries under contiguous sequence numbers, counted from 0, never deleted.
//!
//! Owns the table `ledger`. Must never leave a gap or overwrite an entry.

use redb::WriteTransaction;

use crate::engine::Storage;
use crate::error::{CommitError, Fail, ReadError};
use crate::rows::{read, write};
use crate::tables::LEDGER;

pub(crate) fn append(
    transaction: &WriteTransaction,
    seq: u64,
    entry: &[u8],
) -> Result<(), Fail<CommitError>> {
    let mut rows = write(transaction, LEDGER)?;
    let expected = rows.last_number()?.map_or(0, |last| last.saturating_add(1));
    if seq != expected {
        return Err(Fail::Named(CommitError::LedgerGap { expected, got: seq }));
    }
    rows.put(&seq.to_be_bytes(), entry)
}

impl Storage {
    /// The entry with sequence number `seq`; `None` beyond the end.
    ///
    /// # Errors
    /// `Corrupt` when it is damaged, or missing below the end.
    pub fn ledger(&self, seq: u64) -> Result<Option<Vec<u8>>, ReadError> {
        self.read(|transaction| {
            let rows = read(transaction, LEDGER)?;
            if rows.last_number()?.is_none_or(|last| seq > last) {
                return Ok(None);
            }
            rows.require(&seq.to_be_bytes()).map(Some)
        })
    }

    /// Number of entries, which is also the next sequence number.
    pub fn ledger_len(&self) -> Result<u64, ReadError> {
        self.read(|transaction| {
            let last = read(transaction, LEDGER)?.last_number()?;
            Ok(last.map_or(0, |last| last.saturating_add(1)))
        })
    }
}
