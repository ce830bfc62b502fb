//! Little-endian reading and writing of the frozen byte layouts.
//!
//! Owns the bounds of every read. Must never allocate more than the input's own length warrants, nor panic.

use forgemesh_protocol::hash::Hash;

/// Why bytes are not the object they are said to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The first four bytes are those of something else.
    #[error("not a {0}: the magic bytes differ; give the blob that was asked for")]
    Magic(&'static str),
    /// A layout of another release.
    #[error("layout version {0} is unknown here; use a release that knows it")]
    Version(u8),
    /// The bytes end inside an object.
    #[error("the bytes end early, inside {0}; fetch the whole blob")]
    Truncated(&'static str),
    /// Bytes follow the object.
    #[error("{0} bytes follow the object; give the object alone")]
    Trailing(usize),
    /// A count is beyond the bytes that are left, or beyond its limit.
    #[error("the length of {0} is out of bounds; the blob is corrupt or hostile")]
    Length(&'static str),
    /// Well-formed, but not of the shape that this task has.
    #[error("the {0} differs from what the task asks for; compute it for this task")]
    Shape(&'static str),
    /// Parts contradict each other.
    #[error("{0}; the blob is corrupt or forged")]
    Inconsistent(&'static str),
}

/// Reads fixed-width little-endian fields.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Checks magic and version 1, then stands behind them.
    pub fn open(bytes: &'a [u8], magic: &[u8; 4], what: &'static str) -> Result<Self, DecodeError> {
        let mut reader = Reader { rest: bytes };
        if reader.array::<4>(what)? != *magic {
            return Err(DecodeError::Magic(what));
        }
        match reader.u8(what)? {
            1 => Ok(reader),
            other => Err(DecodeError::Version(other)),
        }
    }

    pub fn take(&mut self, len: usize, what: &'static str) -> Result<&'a [u8], DecodeError> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or(DecodeError::Truncated(what))?;
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], DecodeError> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(DecodeError::Truncated(what))?;
        self.rest = rest;
        Ok(*head)
    }

    pub fn u8(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        Ok(self.array::<1>(what)?[0])
    }

    pub fn u32(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    pub fn i16(&mut self, what: &'static str) -> Result<i16, DecodeError> {
        Ok(i16::from_le_bytes(self.array(what)?))
    }

    pub fn u64(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    pub fn i64(&mut self, what: &'static str) -> Result<i64, DecodeError> {
        Ok(i64::from_le_bytes(self.array(what)?))
    }

    pub fn i128(&mut self, what: &'static str) -> Result<i128, DecodeError> {
        Ok(i128::from_le_bytes(self.array(what)?))
    }

    pub fn hash(&mut self, what: &'static str) -> Result<Hash, DecodeError> {
        Ok(Hash(self.array(what)?))
    }

    /// A u32 count of items of at least `item_bytes` each; refused when the rest cannot hold them.
    pub fn count(&mut self, item_bytes: usize, what: &'static str) -> Result<usize, DecodeError> {
        let count = u64::from(self.u32(what)?);
        self.fits(count, item_bytes, what)
    }

    /// A u64 count of items of at least `item_bytes` each; refused when the rest cannot hold them.
    pub fn long_count(&mut self, item_bytes: usize, what: &'static str) -> Result<usize, DecodeError> {
        let count = self.u64(what)?;
        self.fits(count, item_bytes, what)
    }

    fn fits(&self, count: u64, item_bytes: usize, what: &'static str) -> Result<usize, DecodeError> {
        if count > (self.rest.len() / item_bytes) as u64 {
            return Err(DecodeError::Length(what));
        }
        Ok(count as usize)
    }

    /// A u64 count, then as many i64, never descending.
    pub fn sorted_values(&mut self, what: &'static str) -> Result<Vec<i64>, DecodeError> {
        let count = self.long_count(8, what)?;
        let bytes = self.take(count * 8, what)?;
        let (words, _) = bytes.as_chunks::<8>();
        let values: Vec<i64> = words.iter().map(|word| i64::from_le_bytes(*word)).collect();
        if !values.is_sorted() {
            return Err(DecodeError::Inconsistent("kept values are not sorted"));
        }
        Ok(values)
    }

    /// Refuses whatever is left.
    pub fn close(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError::Trailing(self.rest.len())) }
    }
}

/// Writes what [`Reader`] reads.
pub(crate) struct Writer {
    out: Vec<u8>,
}

impl Writer {
    /// Starts with magic and version 1.
    pub fn open(magic: &[u8; 4]) -> Self {
        let mut out = magic.to_vec();
        out.push(1);
        Writer { out }
    }

    pub fn u8(&mut self, value: u8) {
        self.out.push(value);
    }

    pub fn u32(&mut self, value: u32) {
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    pub fn i16(&mut self, value: i16) {
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    pub fn u64(&mut self, value: u64) {
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    pub fn i64(&mut self, value: i64) {
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    pub fn i128(&mut self, value: i128) {
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    pub fn hash(&mut self, value: &Hash) {
        self.out.extend_from_slice(&value.0);
    }

    /// A u32 count. Counts written here are bounded far below 2^32 by the shape.
    pub fn count(&mut self, count: usize) {
        self.u32(u32::try_from(count).expect("invariant: shapes bound their counts below 2^32"));
    }

    /// A u64 length, then the bytes.
    pub fn blob(&mut self, bytes: &[u8]) {
        self.u64(bytes.len() as u64);
        self.out.extend_from_slice(bytes);
    }

    /// A u64 count, then the values.
    pub fn values(&mut self, values: &[i64]) {
        self.u64(values.len() as u64);
        self.out.reserve(values.len() * 8);
        values.iter().for_each(|value| self.i64(*value));
    }

    pub fn finish(self) -> Vec<u8> {
        self.out
    }
}
