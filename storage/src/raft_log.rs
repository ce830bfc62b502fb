//! The replicated log: opaque entries under contiguous indices, counted from 0.
//!
//! Owns the table `log` and where it starts. Must never leave a gap, overwrite an entry, or return a page with a hole
//! in it.

use redb::{ReadableTable, WriteTransaction};

use crate::engine::Storage;
use crate::error::{CommitError, CorruptRecord, Fail, ReadError};
use crate::rows::{Rows, read, write};
use crate::tables::{Bytes, LOG, META, SNAPSHOT};
use crate::{meta, snapshot};

pub(crate) fn append(
    transaction: &WriteTransaction,
    index: u64,
    entry: &[u8],
) -> Result<(), Fail<CommitError>> {
    let expected = bounds(transaction)?.next;
    if index != expected {
        return Err(Fail::Named(CommitError::LogGap { expected, got: index }));
    }
    write(transaction, LOG)?.put(&index.to_be_bytes(), entry)
}

/// Takes back the entries from `from` on.
pub(crate) fn truncate(transaction: &WriteTransaction, from: u64) -> Result<(), Fail<CommitError>> {
    let first = bounds(transaction)?.first;
    if from < first {
        return Err(Fail::Named(CommitError::LogDropped { first, got: from }));
    }
    write(transaction, LOG)?.remove_from(&from.to_be_bytes())
}

/// Drops the entries up to `index`; the log goes on after it.
pub(crate) fn drop_through(transaction: &WriteTransaction, index: u64) -> Result<(), Fail<CommitError>> {
    let first = bounds(transaction)?.first.max(index.saturating_add(1));
    meta::put_log_first(transaction, first)?;
    write(transaction, LOG)?.remove_through(&index.to_be_bytes())
}

/// Writes down where the log starts, before a snapshot at `index` takes the place of one that said so.
pub(crate) fn keep_start(transaction: &WriteTransaction, index: u64) -> Result<(), Fail<CommitError>> {
    let bounds = bounds(transaction)?;
    if index >= bounds.next {
        return Err(Fail::Named(CommitError::LogGap { expected: bounds.next, got: index }));
    }
    meta::put_log_first(transaction, bounds.first)
}

/// Which indices the log has.
struct Bounds {
    /// The first that is, or will be, in the log.
    first: u64,
    /// The next to be appended.
    next: u64,
}

fn bounds(transaction: &WriteTransaction) -> Result<Bounds, Fail<CommitError>> {
    let (log, snapshot, meta) =
        (write(transaction, LOG)?, write(transaction, SNAPSHOT)?, write(transaction, META)?);
    bounds_of(&log, &snapshot, &meta)
}

/// Saturating: no log reaches 2^64 entries, and a damaged key must not overflow.
fn bounds_of<E, T>(log: &Rows<T>, snapshot: &Rows<T>, meta: &Rows<T>) -> Result<Bounds, Fail<E>>
where
    E: From<CorruptRecord>,
    T: ReadableTable<Bytes, Bytes>,
{
    let after = |last: Option<u64>| last.map_or(0, |last| last.saturating_add(1));
    let first = match meta::log_first(meta)? {
        Some(first) => first,
        None => after(snapshot::index(snapshot)?),
    };
    Ok(Bounds { first, next: after(log.last_number()?).max(first) })
}

impl Storage {
    fn log_bounds(&self) -> Result<Bounds, ReadError> {
        self.read(|transaction| {
            bounds_of(&read(transaction, LOG)?, &read(transaction, SNAPSHOT)?, &read(transaction, META)?)
        })
    }

    /// Entries from `from` on with their indices, at most `limit`; a page may be shorter (see `limits`), an empty one
    /// means that the log ends before `from`.
    ///
    /// # Errors
    /// `LogCompacted` when `from` was dropped; `Corrupt` when an entry is damaged or missing.
    pub fn log(&self, from: u64, limit: usize) -> Result<Vec<(u64, Vec<u8>)>, ReadError> {
        self.read(|transaction| {
            let log = read(transaction, LOG)?;
            let bounds = bounds_of(&log, &read(transaction, SNAPSHOT)?, &read(transaction, META)?)?;
            if from < bounds.first {
                return Err(Fail::Named(ReadError::LogCompacted { index: from, first: bounds.first }));
            }
            let page = log.page(&from.to_be_bytes(), limit, |_| true)?;
            if page.is_empty() && limit > 0 && from < bounds.next {
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

    /// The first index that is, or will be, in the log: what came before was dropped.
    pub fn first_log_index(&self) -> Result<u64, ReadError> {
        Ok(self.log_bounds()?.first)
    }

    /// Index of the last entry, that up to which the log was dropped when it is larger, `None` when there is neither.
    pub fn last_log_index(&self) -> Result<Option<u64>, ReadError> {
        Ok(self.log_bounds()?.next.checked_sub(1))
    }

    /// The index that the next `Write::AppendLog` must carry.
    pub fn next_log_index(&self) -> Result<u64, ReadError> {
        Ok(self.log_bounds()?.next)
    }
}
