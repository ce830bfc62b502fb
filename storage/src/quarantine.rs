//! Quarantine: damaged blobs, out of the way of their addresses, on record for diagnosis.
//!
//! Owns the table `quarantine`. Must never take whole bytes away, nor grow beyond `MAX_QUARANTINED` rows.

use forgemesh_protocol::hash::Hash;
use redb::WriteTransaction;

use crate::engine::Storage;
use crate::error::{CommitError, Fail, ReadError};
use crate::limits::{MAX_QUARANTINE_BYTES, MAX_QUARANTINED};
use crate::rows::{ReadRows, read, write};
use crate::tables::{BLOBS, QUARANTINE};

/// A damaged blob as listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuarantineRow {
    /// Arrival number: larger is newer. Storage reads no clock.
    pub seq: u64,
    /// The address under which the bytes were kept.
    pub hash: Hash,
    /// How many bytes there were.
    pub length: u64,
    /// The damaged bytes; `None` when they were longer than `MAX_QUARANTINE_BYTES`.
    pub bytes: Option<Vec<u8>>,
}

pub(crate) fn put(transaction: &WriteTransaction, hash: &Hash) -> Result<(), Fail<CommitError>> {
    let mut blobs = write(transaction, BLOBS)?;
    let Some(bytes) = blobs.get_raw(&hash.0)?.filter(|bytes| Hash::blob(bytes) != *hash) else {
        return Ok(());
    };
    blobs.remove(&hash.0)?;
    let mut rows = write(transaction, QUARANTINE)?;
    let seq = rows.last_number()?.map_or(0, |last| last.saturating_add(1));
    let kept = if bytes.len() <= MAX_QUARANTINE_BYTES { &bytes[..] } else { &[] };
    let length = (bytes.len() as u64).to_be_bytes();
    rows.put(&seq.to_be_bytes(), &[&hash.0, &length[..], kept].concat())?;
    while rows.len()? > MAX_QUARANTINED {
        rows.remove_first()?;
    }
    Ok(())
}

fn row(rows: &ReadRows, key: &[u8], value: &[u8]) -> Result<QuarantineRow, Fail<ReadError>> {
    let seq = rows.number(key)?;
    let (hash, rest) = rows.split_hash(key, value)?;
    let (length, kept) = rows.split_number(key, &rest)?;
    let bytes = match kept.len() as u64 {
        found if found == length => Some(kept),
        0 => None,
        _ => return Err(rows.corrupt::<ReadError>(key)),
    };
    Ok(QuarantineRow { seq, hash, length, bytes })
}

impl Storage {
    /// The damaged blobs on record, newest first, at most `limit`; a page may be shorter (see `limits`).
    ///
    /// # Errors
    /// `Corrupt` when a record of damage is itself damaged.
    pub fn quarantined(&self, limit: usize) -> Result<Vec<QuarantineRow>, ReadError> {
        self.read(|transaction| {
            let rows = read(transaction, QUARANTINE)?;
            let page = rows.page_back(None, limit)?;
            page.iter().map(|(key, value)| row(&rows, key, value)).collect()
        })
    }
}
