//! Content-addressed blobs.
//!
//! Owns the table `blobs`. Must never return bytes that do not hash to the address asked for.

use std::ops::ControlFlow;

use forgemesh_protocol::hash::Hash;
use redb::WriteTransaction;

use crate::batch::Blob;
use crate::engine::Storage;
use crate::error::{CommitError, Fail, ReadError};
use crate::limits::MAX_PAGE_ROWS;
use crate::rows::{read, write};
use crate::tables::BLOBS;

pub(crate) fn put(transaction: &WriteTransaction, blob: &Blob) -> Result<(), Fail<CommitError>> {
    let mut rows = write(transaction, BLOBS)?;
    // Writing what is there already would cost a copy of it on disk; comparing heals damaged bytes.
    if rows.get_raw(&blob.hash().0)?.as_deref() == Some(blob.bytes()) {
        return Ok(());
    }
    rows.put_raw(&blob.hash().0, blob.bytes())
}

pub(crate) fn delete(transaction: &WriteTransaction, hash: &Hash) -> Result<(), Fail<CommitError>> {
    write(transaction, BLOBS)?.remove(&hash.0)
}

impl Storage {
    /// The blob's bytes, hashed again on the way out; `None` when it is not kept here.
    ///
    /// # Errors
    /// `CorruptBlob` when the bytes are not those of the address.
    pub fn blob(&self, hash: &Hash) -> Result<Option<Vec<u8>>, ReadError> {
        let bytes = self.read(|transaction| read(transaction, BLOBS)?.get_raw(&hash.0))?;
        match bytes {
            Some(bytes) if Hash::blob(&bytes) != *hash => Err(ReadError::CorruptBlob { hash: *hash }),
            other => Ok(other),
        }
    }

    /// Length in bytes of a blob kept here, as stored and not verified.
    pub fn blob_len(&self, hash: &Hash) -> Result<Option<usize>, ReadError> {
        self.read(|transaction| read(transaction, BLOBS)?.raw_len(&hash.0))
    }

    /// Addresses and lengths in bytes of the blobs that are kept, in the order of their addresses, from the first one after
    /// `after`, at most `limit`; none after the last. Their bytes are not verified.
    ///
    /// # Errors
    /// `Corrupt` when an address is none.
    pub fn blobs(&self, after: Option<&Hash>, limit: usize) -> Result<Vec<(Hash, u64)>, ReadError> {
        // The next byte string after an address is that address and a zero byte.
        let from = after.map_or_else(Vec::new, |hash| [&hash.0[..], &[0]].concat());
        let limit = limit.min(MAX_PAGE_ROWS);
        self.read(|transaction| {
            let (rows, mut page) = (read(transaction, BLOBS)?, Vec::new());
            rows.visit_raw::<ReadError>(&from, |key, stored| {
                if page.len() >= limit {
                    return Ok(ControlFlow::Break(()));
                }
                let hash = Hash(key.try_into().map_err(|_| rows.corrupt::<ReadError>(key))?);
                page.push((hash, stored.len() as u64));
                Ok(ControlFlow::Continue(()))
            })?;
            Ok(page)
        })
    }

    /// Whether a blob is kept here; its bytes are not verified.
    pub fn has_blob(&self, hash: &Hash) -> Result<bool, ReadError> {
        Ok(self.blob_len(hash)?.is_some())
    }
}
