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
    /// The data could not be opened. A file system with a bad disk below it is often made read-only.
    pub fn of_open(error: &OpenError) -> Option<Outage> {
        match error {
            OpenError::DiskFull { .. } => Some(Outage::Full),
            OpenError::Io { .. } | OpenError::ReadOnly { .. } => Some(Outage::Disk),
            _ => None,
        }
    }

    /// `storage` could not be read.
    pub fn of_read(error: &ReadError, storage: &Storage) -> Option<Outage> {
        let passes = matches!(error, ReadError::Io { .. } | ReadError::Dead);
        (passes && !storage.is_damaged()).then_some(Outage::Disk)
    }

    /// `storage` could not be written.
    pub fn of_commit(error: &CommitError, storage: &Storage) -> Option<Outage> {
        match error {
            // Whoever met the damage first was told of it, everybody else only that the handle is dead.
            _ if storage.is_damaged() => None,
            CommitError::DiskFull => Some(Outage::Full),
            CommitError::Io { .. } | CommitError::Dead => Some(Outage::Disk),
            _ => None,
        }
    }

    /// The node did not come to life on `storage`.
    pub fn of_boot(error: &BootError, storage: &Storage) -> Option<Outage> {
        match error {
            BootError::Commit(error) => Outage::of_commit(error, storage),
            BootError::Read(error) | BootError::Log(StartError::Read(error)) => {
                Outage::of_read(error, storage)
            }
            _ => None,
        }
    }

    /// The node on `storage` ended.
    pub fn of_driver(error: &DriverError, storage: &Storage) -> Option<Outage> {
        match error {
            DriverError::Store(error) => Outage::of_commit(error, storage),
            DriverError::LogStart(StartError::Read(error)) => Outage::of_read(error, storage),
            // The replica says in words what it could not read.
            DriverError::Log(Failure::Storage(_)) if storage.is_dead() && !storage.is_damaged() => {
                Some(Outage::Disk)
            }
            _ => None,
        }
    }
}
