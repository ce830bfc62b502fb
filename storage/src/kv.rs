//! The key-value memory: small values under a namespace and a key.
//!
//! Owns the table `kv` and its key layout. Must never let one namespace see a key of another: the namespace's length
//! is written before it.

use redb::WriteTransaction;

use crate::batch::at_most;
use crate::engine::Storage;
use crate::error::{CommitError, Fail, ReadError};
use crate::limits::{MAX_KV_KEY_BYTES, MAX_KV_NAMESPACE_BYTES};
use crate::rows::{read, write};
use crate::tables::KV;

pub(crate) fn check_key(namespace: &str, key: &str) -> Result<(), CommitError> {
    for (what, text, limit) in
        [("namespace", namespace, MAX_KV_NAMESPACE_BYTES), ("key", key, MAX_KV_KEY_BYTES)]
    {
        if text.is_empty() {
            return Err(CommitError::Empty { what });
        }
        at_most(what, text.len(), limit)?;
    }
    Ok(())
}

pub(crate) fn put(
    transaction: &WriteTransaction,
    namespace: &str,
    key: &str,
    value: &[u8],
) -> Result<(), Fail<CommitError>> {
    match row_key(namespace, key) {
        Some(row) => write(transaction, KV)?.put(&row, value),
        None => Err(Fail::Named(CommitError::Empty { what: "namespace" })),
    }
}

pub(crate) fn delete(
    transaction: &WriteTransaction,
    namespace: &str,
    key: &str,
) -> Result<(), Fail<CommitError>> {
    match row_key(namespace, key) {
        Some(row) => write(transaction, KV)?.remove(&row),
        None => Ok(()),
    }
}

/// Namespace length, namespace, key; `None` for a namespace that no write can have.
fn row_key(namespace: &str, key: &str) -> Option<Vec<u8>> {
    let length = u8::try_from(namespace.len()).ok().filter(|length| *length > 0)?;
    Some([&[length], namespace.as_bytes(), key.as_bytes()].concat())
}

impl Storage {
    /// The value of a key; `None` when it is not set.
    pub fn kv(&self, namespace: &str, key: &str) -> Result<Option<Vec<u8>>, ReadError> {
        let Some(row) = row_key(namespace, key) else {
            return Ok(None);
        };
        self.read(|transaction| read(transaction, KV)?.get(&row))
    }

    /// Keys and values of a namespace in byte order of the keys, after the key `after` when given, at most `limit`; a
    /// page may be shorter (see `limits`), an empty one is the end.
    pub fn kv_list(
        &self,
        namespace: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, ReadError> {
        let Some(prefix) = row_key(namespace, "") else {
            return Ok(Vec::new());
        };
        // The next byte string after a key is that key and a zero byte.
        let from = match after {
            Some(key) => [&prefix[..], key.as_bytes(), &[0]].concat(),
            None => prefix.clone(),
        };
        self.read(|transaction| {
            let rows = read(transaction, KV)?;
            let page = rows.page(&from, limit, |row| row.starts_with(&prefix))?;
            let named = |(row, value): (Vec<u8>, Vec<u8>)| match row
                .get(prefix.len()..)
                .map(|key| String::from_utf8(key.to_vec()))
            {
                Some(Ok(key)) => Ok((key, value)),
                _ => Err(rows.corrupt(&row)),
            };
            page.into_iter().map(named).collect()
        })
    }
}
