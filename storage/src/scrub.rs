//! Scrubbing: reading blobs only to see whether they are still what was written, a slice at a time.
//!
//! Owns no table. Must never read more than it was told to, but for the one blob with which it gets anywhere at all.

use std::ops::ControlFlow;

use forgemesh_protocol::hash::Hash;

use crate::engine::Storage;
use crate::error::{Fail, ReadError};
use crate::limits::MAX_PAGE_ROWS;
use crate::rows::read;
use crate::tables::BLOBS;

/// What a slice of scrubbing found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScrubPage {
    /// Blobs read and hashed.
    pub checked: u64,
    /// Addresses whose bytes are others: quarantine them, then fetch or make them anew.
    pub corrupt: Vec<Hash>,
    /// Where to go on: the last address checked; `None` when that was the last blob.
    pub next: Option<Hash>,
}

impl Storage {
    /// Reads and hashes blobs in the order of their addresses, from the first one after `after`, until `bytes` bytes (or
    /// `MAX_PAGE_ROWS` blobs) have been read; at least one blob, however long it is.
    ///
    /// # Errors
    /// `Damaged` when not even the structure around a blob can be read, `Corrupt` when an address is none.
    pub fn scrub(&self, after: Option<Hash>, bytes: usize) -> Result<ScrubPage, ReadError> {
        // The next byte string after an address is that address and a zero byte.
        let from = after.map_or_else(Vec::new, |hash| [&hash.0[..], &[0]].concat());
        self.read(|transaction| {
            let rows = read(transaction, BLOBS)?;
            let (mut page, mut spent, mut last) = (ScrubPage::default(), 0_usize, None);
            rows.visit_raw::<ReadError>(&from, |key, stored| {
                if page.checked > 0 && (spent >= bytes || page.checked >= MAX_PAGE_ROWS as u64) {
                    page.next = last;
                    return Ok(ControlFlow::Break(()));
                }
                let hash = Hash(key.try_into().map_err(|_| rows.corrupt::<ReadError>(key))?);
                if Hash::blob(stored) != hash {
                    page.corrupt.push(hash);
                }
                page.checked += 1;
                spent = spent.saturating_add(stored.len());
                last = Some(hash);
                Ok::<_, Fail<ReadError>>(ControlFlow::Continue(()))
            })?;
            Ok(page)
        })
    }
}
