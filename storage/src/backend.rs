//! The fail-stop layer between redb and whatever holds the bytes.
//!
//! Owns the latch: the first I/O error of any kind is remembered, and from then on the bytes are not touched again.
//! Must never retry, and must never let a write that redb calls optional fail unnoticed.

use std::io;
use std::ops::Bound;
use std::sync::{Arc, OnceLock};

use redb::{BackendError, StorageBackend};

use crate::write_back::WriteBack;

/// What killed a handle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    DiskFull,
    Io(String),
    /// A read went past the end, or the engine gave up on what it read: the structure is damaged.
    Damaged(String),
}

impl Cause {
    fn of(error: &io::Error) -> Cause {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Cause::DiskFull,
            io::ErrorKind::UnexpectedEof => Cause::Damaged(error.to_string()),
            _ => Cause::Io(error.to_string()),
        }
    }
}

/// The first error of a handle; set once, never cleared.
#[derive(Debug, Default)]
pub(crate) struct Fault(OnceLock<Cause>);

impl Fault {
    pub(crate) fn cause(&self) -> Option<&Cause> {
        self.0.get()
    }

    pub(crate) fn latch(&self, cause: Cause) {
        // A second error changes nothing: the handle is dead of the first.
        let _ = self.0.set(cause);
    }
}

/// A backend that stops at its first error.
#[derive(Debug)]
pub(crate) struct FailStop<B> {
    inner: B,
    /// `None` for a backend that is no file.
    write_back: Option<WriteBack>,
    fault: Arc<Fault>,
}

impl<B: StorageBackend> FailStop<B> {
    pub(crate) fn new(inner: B, write_back: Option<WriteBack>, fault: Arc<Fault>) -> Self {
        FailStop { inner, write_back, fault }
    }

    fn guard<T>(&self, action: impl FnOnce(&B) -> io::Result<T>) -> io::Result<T> {
        if self.fault.cause().is_some() {
            return Err(io::Error::other("stopped after an earlier error"));
        }
        action(&self.inner).inspect_err(|error| self.fault.latch(Cause::of(error)))
    }
}

impl<B: StorageBackend> StorageBackend for FailStop<B> {
    fn len(&self) -> io::Result<u64> {
        self.guard(|inner| inner.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.guard(|inner| inner.read(offset, out))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.guard(|inner| inner.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.guard(|inner| inner.sync_data())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.guard(|inner| inner.write(offset, data))?;
        self.write_back.iter().for_each(|file| file.begin(offset, data.len()));
        Ok(())
    }

    // Closing and locking pass through, dead or not: a dead handle must still let go of its locks.
    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.query_lock_range(start, end)
    }
}
