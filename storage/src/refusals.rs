//! Records of refused envelopes, so that a refusal can be traced; only the newest are kept.
//!
//! Owns the tables `refusals` and `refusal_ids`. Must never grow beyond `MAX_REFUSALS`: strangers cause these rows.

use forgemesh_protocol::hash::Hash;
use redb::WriteTransaction;

use crate::engine::Storage;
use crate::error::{CommitError, Fail, ReadError};
use crate::limits::MAX_REFUSALS;
use crate::rows::{read, write};
use crate::tables::{REFUSAL_IDS, REFUSALS};

/// A refusal as listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusalRow {
    /// Arrival number: larger is newer.
    pub seq: u64,
    /// The refusal's id.
    pub id: Hash,
    /// The record.
    pub record: Vec<u8>,
}

pub(crate) fn put(transaction: &WriteTransaction, id: &Hash, record: &[u8]) -> Result<(), Fail<CommitError>> {
    let (mut rows, mut ids) = (write(transaction, REFUSALS)?, write(transaction, REFUSAL_IDS)?);
    // Before the older row goes: a number must not be used twice.
    let seq = rows.last_number()?.map_or(0, |last| last.saturating_add(1));
    if let Some(older) = ids.get::<CommitError>(&id.0)? {
        rows.remove(&older)?;
    }
    rows.put(&seq.to_be_bytes(), &[&id.0, record].concat())?;
    ids.put(&id.0, &seq.to_be_bytes())?;
    while rows.len()? > MAX_REFUSALS {
        let Some(oldest) = rows.pop_first()? else { break };
        let (id, _) = rows.split_hash(b"oldest", &oldest)?;
        ids.remove(&id.0)?;
    }
    Ok(())
}

impl Storage {
    /// The newest refusals, newest first, at most `limit`.
    pub fn refusals(&self, limit: usize) -> Result<Vec<RefusalRow>, ReadError> {
        self.read(|transaction| {
            let rows = read(transaction, REFUSALS)?;
            let listed = |(key, value): (Vec<u8>, Vec<u8>)| {
                let (id, record) = rows.split_hash(&key, &value)?;
                Ok(RefusalRow { seq: rows.number(&key)?, id, record })
            };
            rows.page_back(None, limit)?.into_iter().map(listed).collect()
        })
    }

    /// The record of one refusal; `None` when it is unknown or has been displaced by newer ones.
    pub fn refusal(&self, id: &Hash) -> Result<Option<Vec<u8>>, ReadError> {
        self.read(|transaction| {
            let (rows, ids) = (read(transaction, REFUSALS)?, read(transaction, REFUSAL_IDS)?);
            let Some(key) = ids.get(&id.0)? else {
                return Ok(None);
            };
            let (found, record) = rows.split_hash(&key, &rows.require(&key)?)?;
            if found == *id { Ok(Some(record)) } else { Err(rows.corrupt(&key)) }
        })
    }
}
