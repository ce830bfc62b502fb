//! Which of a node's errors are its disk's and may pass: the handle is dead, but the data can be opened again, and the
//! node goes on from what is durable.
//!
//! Whoever runs nodes judges by this, the command line as well as the simulator. Must never call damage an outage: what
//! the disk has lost does not come back by opening it again.

use forgemesh_consensus::raft::{Failure, StartError};
use forgemesh_storage::{CommitError, OpenError, ReadError, Storage};

use crate::boot::BootError;
use crate::driver::DriverError;

/// What the disk failed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outage {
    /// It could not be read or written.
    Disk,
    /// It had no room.
    Full,
}

impl Outage {
    /// The data could not be opened.
    pub fn of_open(error: &OpenError) -> Option<Outage> {
        match error {
            OpenError::DiskFull { .. } => Some(Outage::Full),
            OpenError::Io { .. } => Some(Outage::Disk),
            _ => None,
        }
    }

    /// They could not be read.
    pub fn of_read(error: &ReadError) -> Option<Outage> {
        matches!(error, ReadError::Io { .. } | ReadError::Dead).then_some(Outage::Disk)
    }

    /// They could not be written.
    pub fn of_commit(error: &CommitError) -> Option<Outage> {
        match error {
            CommitError::DiskFull => Some(Outage::Full),
            CommitError::Io { .. } | CommitError::Dead => Some(Outage::Disk),
            _ => None,
        }
    }

    /// The node did not come to life.
    pub fn of_boot(error: &BootError) -> Option<Outage> {
        match error {
            BootError::Commit(error) => Outage::of_commit(error),
            BootError::Read(error) | BootError::Log(StartError::Read(error)) => Outage::of_read(error),
            _ => None,
        }
    }

    /// The node ended; `storage` is what it ran on.
    pub fn of_driver(error: &DriverError, storage: &Storage) -> Option<Outage> {
        match error {
            DriverError::Store(error) => Outage::of_commit(error),
            DriverError::LogStart(StartError::Read(error)) => Outage::of_read(error),
            // The replica says in words what it could not read; only an I/O error ends the handle.
            DriverError::Log(Failure::Storage(_)) if storage.is_dead() => Some(Outage::Disk),
            _ => None,
        }
    }
}
