//! The replicated log: opaque entries under contiguous indices, counted from 0.
//!
//! Owns the table `log`. Must never leave a gap, overwrite an entry, or return a page with a hole in it.

use redb::{ReadableTable, WriteTransaction};

use crate::engine::Storage;
use crate::error::{CommitError, CorruptRecord, Fail, ReadError};
use crate::rows::{Rows, read, write};
use crate::snapshot;
use crate::tables::{Bytes, LOG, SNAPSHOT};

pub(crate) fn append(
    transaction: &WriteTransaction,
    index: u64,
    entry: &[u8],
) -> Result<(), Fail<CommitError>> {
    let mut log = write(transaction, LOG)?;
    let expected = next(last(&log, &write(transaction, SNAPSHOT)?)?);
    if index != expected {
        return Err(Fail::Named(CommitError::LogGap { expected, got: index }));
    }
    log.put(&index.to_be_bytes(), entry)
}

/// Drops the entries that a snapshot at `index` stands for.
pub(crate) fn drop_through(transaction: &WriteTransaction, index: u64) -> Result<(), Fail<CommitError>> {
    write(transaction, LOG)?.remove_through(&index.to_be_bytes())
}

fn last<E, L, S>(log: &Rows<L>, snapshot: &Rows<S>) -> Result<Option<u64>, Fail<E>>
where
    E: From<CorruptRecord>,
    L: ReadableTable<Bytes, Bytes>,
    S: ReadableTable<Bytes, Bytes>,
{
    Ok(log.last_number()?.max(snapshot::index(snapshot)?))
}

/// The index after `last`. Saturating: no log reaches 2^64 entries, and a damaged key must not overflow.
fn next(last: Option<u64>) -> u64 {
    last.map_or(0, |last| last.saturating_add(1))
}

impl Storage {
    /// Entries from `from` on with their indices, at most `limit`; a page may be shorter (see `limits`), an empty one
    /// means that the log ends before `from`.
    ///
    /// # Errors
    /// `LogCompacted` when the snapshot stands for `from`; `Corrupt` when an entry is damaged or missing.
    pub fn log(&self, from: u64, limit: usize) -> Result<Vec<(u64, Vec<u8>)>, ReadError> {
        self.read(|transaction| {
            let (log, snapshot) = (read(transaction, LOG)?, read(transaction, SNAPSHOT)?);
            let first = next(snapshot::index(&snapshot)?);
            if from < first {
                return Err(Fail::Named(ReadError::LogCompacted { index: from, first }));
            }
            let page = log.page(&from.to_be_bytes(), limit, |_| true)?;
            if page.is_empty() && limit > 0 && last(&log, &snapshot)?.is_some_and(|last| from <= last) {
                return Err(log.corrupt(&from.to_be_bytes()));
            }
            let numbered = |(index, (key, entry)): (u64, (Vec<u8>, Vec<u8>))| {
                if key == index.to_be_bytes() {
                    Ok((index, entry))
                } else {
                    Err(log.corrupt(&index.to_be_bytes()))
                }
            };
            (from..).zip(page).map(numbered).collect()
        })
    }

    /// Index of the last entry, the snapshot's when it is larger, `None` when there is neither.
    pub fn last_log_index(&self) -> Result<Option<u64>, ReadError> {
        self.read(|transaction| last(&read(transaction, LOG)?, &read(transaction, SNAPSHOT)?))
    }

    /// The index that the next `Write::AppendLog` must carry.
    pub fn next_log_index(&self) -> Result<u64, ReadError> {
        Ok(next(self.last_log_index()?))
    }
}
