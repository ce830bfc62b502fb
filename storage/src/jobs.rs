//! Job records under their ids, in the order in which they came.
//!
//! Owns the tables `jobs` and `job_order`. Must never give a job a second insertion number.

use forgemesh_protocol::hash::Hash;
use redb::WriteTransaction;

use crate::engine::Storage;
use crate::error::{CommitError, Fail, ReadError};
use crate::rows::{ReadRows, read, write};
use crate::tables::{JOB_ORDER, JOBS};

/// A job as listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobRow {
    /// Insertion number: the first job of the folder has 0.
    pub seq: u64,
    /// The job's id.
    pub id: Hash,
    /// The record last put.
    pub record: Vec<u8>,
}

pub(crate) fn put(transaction: &WriteTransaction, id: &Hash, record: &[u8]) -> Result<(), Fail<CommitError>> {
    let mut jobs = write(transaction, JOBS)?;
    let seq = match jobs.get(&id.0)? {
        Some(value) => jobs.split_number(&id.0, &value)?.0,
        None => {
            let mut order = write(transaction, JOB_ORDER)?;
            let seq = order.last_number()?.map_or(0, |last| last.saturating_add(1));
            order.put(&seq.to_be_bytes(), &id.0)?;
            seq
        }
    };
    jobs.put(&id.0, &[&seq.to_be_bytes(), record].concat())
}

fn row(jobs: &ReadRows, id: Hash, value: &[u8]) -> Result<JobRow, Fail<ReadError>> {
    let (seq, record) = jobs.split_number(&id.0, value)?;
    Ok(JobRow { seq, id, record })
}

impl Storage {
    /// A job's record.
    pub fn job(&self, id: &Hash) -> Result<Option<Vec<u8>>, ReadError> {
        self.read(|transaction| {
            let jobs = read(transaction, JOBS)?;
            match jobs.get(&id.0)? {
                Some(value) => Ok(Some(row(&jobs, *id, &value)?.record)),
                None => Ok(None),
            }
        })
    }

    /// Whether a job's record is kept; its bytes are not verified.
    pub fn has_job(&self, id: &Hash) -> Result<bool, ReadError> {
        self.read(|transaction| Ok(read(transaction, JOBS)?.raw_len(&id.0)?.is_some()))
    }

    /// Jobs, newest first, at most `limit` (and `MAX_PAGE_ROWS`): those with insertion numbers below `before`, or from
    /// the newest on.
    pub fn jobs(&self, before: Option<u64>, limit: usize) -> Result<Vec<JobRow>, ReadError> {
        self.read(|transaction| {
            let (jobs, order) = (read(transaction, JOBS)?, read(transaction, JOB_ORDER)?);
            let before = before.map(u64::to_be_bytes);
            let page = order.page_back(before.as_ref().map(|key| &key[..]), limit)?;
            let found = |(key, id): (Vec<u8>, Vec<u8>)| {
                let id = Hash(id.try_into().map_err(|_| order.corrupt(&key))?);
                let found = row(&jobs, id, &jobs.require(&id.0)?)?;
                if found.seq.to_be_bytes()[..] == key[..] { Ok(found) } else { Err(order.corrupt(&key)) }
            };
            page.into_iter().map(found).collect()
        })
    }

    /// Jobs whose id, in hex, starts with `prefix` (1 to 64 lower-case digits), by id, at most `limit`.
    ///
    /// # Errors
    /// `BadPrefix` for anything else.
    pub fn jobs_by_prefix(&self, prefix: &str, limit: usize) -> Result<Vec<JobRow>, ReadError> {
        let digits = prefix.len();
        if digits == 0 || digits > 64 {
            return Err(ReadError::BadPrefix);
        }
        // The smallest id with this prefix; parsing it checks every digit.
        let first: Hash = format!("{prefix:0<64}").parse().map_err(|_| ReadError::BadPrefix)?;
        self.read(|transaction| {
            let jobs = read(transaction, JOBS)?;
            let page = jobs.page(&first.0, limit, |key| starts_with(key, &first, digits))?;
            let found = |(key, value): (Vec<u8>, Vec<u8>)| {
                let id = key.as_slice().try_into().map(Hash).map_err(|_| jobs.corrupt(&key))?;
                row(&jobs, id, &value)
            };
            page.into_iter().map(found).collect()
        })
    }
}

/// Whether `key` agrees with `first` in its first `digits` hexadecimal digits.
fn starts_with(key: &[u8], first: &Hash, digits: usize) -> bool {
    let (whole, half) = (digits / 2, digits % 2 == 1);
    key.get(..whole) == Some(&first.0[..whole])
        && (!half || key.get(whole).is_some_and(|byte| byte >> 4 == first.0[whole] >> 4))
}
