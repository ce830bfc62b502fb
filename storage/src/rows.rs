//! Rows of a table: records sealed with a checksum on the way in and verified on the way out.
//!
//! Owns the record format and the only code that touches redb's tables. Must never return a value whose checksum,
//! bound to its table and key, does not match: bit rot is an error with a place, never a wrong value. What is raw is its
//! caller's to verify.

use std::ops::ControlFlow;

use forgemesh_protocol::hash::Hash;
use redb::{ReadOnlyTable, ReadTransaction, ReadableTable, ReadableTableMetadata, WriteTransaction};

use crate::error::{CorruptRecord, Fail};
use crate::limits::{MAX_PAGE_BYTES, MAX_PAGE_ROWS};
use crate::tables::{Bytes, Table};

/// Bytes of checksum before a record's value: the first 16 of the BLAKE3 digest.
const CHECKSUM_BYTES: usize = 16;
/// BLAKE3 `derive_key` context of record checksums.
const CHECKSUM_CONTEXT: &str = "forgemesh storage record v1";

/// A key and its verified value.
pub(crate) type Row = (Vec<u8>, Vec<u8>);

/// One table within one transaction.
pub(crate) struct Rows<T> {
    table: T,
    name: &'static str,
}

/// A table within a write transaction.
pub(crate) type WriteRows<'t> = Rows<redb::Table<'t, Bytes, Bytes>>;
/// A table within a read transaction.
pub(crate) type ReadRows = Rows<ReadOnlyTable<Bytes, Bytes>>;

pub(crate) fn read(transaction: &ReadTransaction, table: Table) -> Result<ReadRows, redb::TableError> {
    Ok(Rows { table: transaction.open_table(table.definition())?, name: table.0 })
}

pub(crate) fn write<'t>(
    transaction: &'t WriteTransaction,
    table: Table,
) -> Result<WriteRows<'t>, redb::TableError> {
    Ok(Rows { table: transaction.open_table(table.definition())?, name: table.0 })
}

impl<T: ReadableTable<Bytes, Bytes>> Rows<T> {
    /// The stored bytes as they are; only for blobs, whose address is their checksum.
    pub(crate) fn get_raw<E>(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Fail<E>> {
        Ok(self.table.get(key)?.map(|guard| guard.value().to_vec()))
    }

    /// The stored bytes as they are, in memory with room for some more; false if there are none. Only for pieces, whose sum is
    /// their checksum.
    pub(crate) fn read_raw<E>(&self, key: &[u8], more: usize, out: &mut Vec<u8>) -> Result<bool, Fail<E>> {
        let Some(guard) = self.table.get(key)? else { return Ok(false) };
        out.reserve_exact(guard.value().len() + more);
        out.extend_from_slice(guard.value());
        Ok(true)
    }

    /// Length of the stored bytes.
    pub(crate) fn raw_len<E>(&self, key: &[u8]) -> Result<Option<usize>, Fail<E>> {
        Ok(self.table.get(key)?.map(|guard| guard.value().len()))
    }

    /// A record's value, verified.
    pub(crate) fn get<E: From<CorruptRecord>>(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Fail<E>> {
        match self.table.get(key)? {
            Some(guard) => self.unseal(key, guard.value()).map(Some),
            None => Ok(None),
        }
    }

    /// A record's value that another record says must be there.
    pub(crate) fn require<E: From<CorruptRecord>>(&self, key: &[u8]) -> Result<Vec<u8>, Fail<E>> {
        self.get(key)?.ok_or_else(|| self.corrupt(key))
    }

    /// The largest key, of a table whose keys are integers.
    pub(crate) fn last_number<E: From<CorruptRecord>>(&self) -> Result<Option<u64>, Fail<E>> {
        match self.table.last()? {
            Some((key, _)) => self.number(key.value()).map(Some),
            None => Ok(None),
        }
    }

    /// Number of rows.
    pub(crate) fn len<E>(&self) -> Result<u64, Fail<E>>
    where
        T: ReadableTableMetadata,
    {
        Ok(self.table.len()?)
    }

    /// Verified records with keys from `from` on, ascending, while `wanted` says so; at most `limit` rows,
    /// `MAX_PAGE_ROWS` rows, or the row that reaches `MAX_PAGE_BYTES`.
    pub(crate) fn page<E: From<CorruptRecord>>(
        &self,
        from: &[u8],
        limit: usize,
        wanted: impl Fn(&[u8]) -> bool,
    ) -> Result<Vec<Row>, Fail<E>> {
        self.collect(self.table.range::<&[u8]>(from..)?, limit, wanted)
    }

    /// Verified records with keys below `before` (all, when absent), descending, bounded like `page`.
    pub(crate) fn page_back<E: From<CorruptRecord>>(
        &self,
        before: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Row>, Fail<E>> {
        match before {
            Some(before) => self.collect(self.table.range::<&[u8]>(..before)?.rev(), limit, |_| true),
            None => self.collect(self.table.range::<&[u8]>(..)?.rev(), limit, |_| true),
        }
    }

    fn collect<'r, E: From<CorruptRecord>>(
        &self,
        rows: impl Iterator<Item = redb::Result<(redb::AccessGuard<'r, Bytes>, redb::AccessGuard<'r, Bytes>)>>,
        limit: usize,
        wanted: impl Fn(&[u8]) -> bool,
    ) -> Result<Vec<Row>, Fail<E>> {
        let mut page = Vec::new();
        let mut bytes = 0;
        for row in rows.take(limit.min(MAX_PAGE_ROWS)) {
            let (key, stored) = row?;
            if !wanted(key.value()) || bytes >= MAX_PAGE_BYTES {
                break;
            }
            let value = self.unseal(key.value(), stored.value())?;
            bytes += value.len();
            page.push((key.value().to_vec(), value));
        }
        Ok(page)
    }

    /// Shows rows as they are stored, keys from `from` on, ascending, until `visit` says that it has enough.
    pub(crate) fn visit_raw<E>(
        &self,
        from: &[u8],
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, Fail<E>>,
    ) -> Result<(), Fail<E>> {
        for row in self.table.range::<&[u8]>(from..)? {
            let (key, stored) = row?;
            if visit(key.value(), stored.value())?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Reads an integer key.
    pub(crate) fn number<E: From<CorruptRecord>>(&self, key: &[u8]) -> Result<u64, Fail<E>> {
        key.try_into().map(u64::from_be_bytes).map_err(|_| self.corrupt(key))
    }

    /// Splits a value that starts with an integer; `key` names the place in the error.
    pub(crate) fn split_number<E: From<CorruptRecord>>(
        &self,
        key: &[u8],
        value: &[u8],
    ) -> Result<(u64, Vec<u8>), Fail<E>> {
        match value.split_first_chunk::<8>() {
            Some((number, rest)) => Ok((u64::from_be_bytes(*number), rest.to_vec())),
            None => Err(self.corrupt(key)),
        }
    }

    /// Splits a value that starts with a digest; `key` names the place in the error.
    pub(crate) fn split_hash<E: From<CorruptRecord>>(
        &self,
        key: &[u8],
        value: &[u8],
    ) -> Result<(Hash, Vec<u8>), Fail<E>> {
        match value.split_first_chunk::<32>() {
            Some((hash, rest)) => Ok((Hash(*hash), rest.to_vec())),
            None => Err(self.corrupt(key)),
        }
    }

    /// The error that names this row.
    pub(crate) fn corrupt<E: From<CorruptRecord>>(&self, key: &[u8]) -> Fail<E> {
        Fail::record(self.name, describe(key))
    }

    /// A stored record's value, verified.
    pub(crate) fn unseal<E: From<CorruptRecord>>(
        &self,
        key: &[u8],
        stored: &[u8],
    ) -> Result<Vec<u8>, Fail<E>> {
        match stored.split_first_chunk::<CHECKSUM_BYTES>() {
            Some((sum, value)) if *sum == checksum(self.name, key, value) => Ok(value.to_vec()),
            _ => Err(self.corrupt(key)),
        }
    }
}

impl WriteRows<'_> {
    /// Stores bytes as they are; only for blobs and pieces.
    pub(crate) fn put_raw<E>(&mut self, key: &[u8], value: &[u8]) -> Result<(), Fail<E>> {
        self.table.insert(key, value)?;
        Ok(())
    }

    /// Stores a record under its checksum.
    pub(crate) fn put<E>(&mut self, key: &[u8], value: &[u8]) -> Result<(), Fail<E>> {
        let sum = checksum(self.name, key, value);
        let mut stored = self.table.insert_reserve(key, CHECKSUM_BYTES + value.len())?;
        let place = stored.as_mut();
        place[..CHECKSUM_BYTES].copy_from_slice(&sum);
        place[CHECKSUM_BYTES..].copy_from_slice(value);
        Ok(())
    }

    pub(crate) fn remove<E>(&mut self, key: &[u8]) -> Result<(), Fail<E>> {
        self.table.remove(key)?;
        Ok(())
    }

    /// Removes every row with a key up to and including `last`.
    pub(crate) fn remove_through<E>(&mut self, last: &[u8]) -> Result<(), Fail<E>> {
        self.table.retain_in::<&[u8], _>(..=last, |_, _| false)?;
        Ok(())
    }

    /// Removes every row with a key from `first` on.
    pub(crate) fn remove_from<E>(&mut self, first: &[u8]) -> Result<(), Fail<E>> {
        self.table.retain_in::<&[u8], _>(first.., |_, _| false)?;
        Ok(())
    }

    /// Removes the row with the smallest key, damaged or not.
    pub(crate) fn remove_first<E>(&mut self) -> Result<(), Fail<E>> {
        self.table.pop_first()?;
        Ok(())
    }

    /// Removes the row with the smallest key and returns its verified value.
    pub(crate) fn pop_first<E: From<CorruptRecord>>(&mut self) -> Result<Option<Vec<u8>>, Fail<E>> {
        let (key, stored) = match self.table.pop_first()? {
            Some((key, stored)) => (key.value().to_vec(), stored.value().to_vec()),
            None => return Ok(None),
        };
        self.unseal(&key, &stored).map(Some)
    }
}

/// Bound to table and key, so that a value that strayed to another row does not pass.
fn checksum(table: &str, key: &[u8], value: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut hasher = blake3::Hasher::new_derive_key(CHECKSUM_CONTEXT);
    for part in [table.as_bytes(), key] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.update(value);
    let digest = *hasher.finalize().as_bytes();
    *digest.first_chunk().expect("invariant: a digest has 32 bytes, more than a checksum")
}

/// A key for people: integers in decimal, names as they are, anything else in hex.
fn describe(key: &[u8]) -> String {
    if let Ok(number) = key.try_into() {
        return u64::from_be_bytes(number).to_string();
    }
    match std::str::from_utf8(key) {
        Ok(text) if !text.is_empty() && text.chars().all(|c| !c.is_control()) => text.to_owned(),
        _ => key.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}
