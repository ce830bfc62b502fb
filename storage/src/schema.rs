//! The schema of a file: written into a new one, checked in an old one, brought up to date in between.
//!
//! Owns the migrations. Must never touch a file whose version is not understood, nor leave one between two versions:
//! a migration is one transaction.

use crate::backend::Cause;
use crate::engine::Storage;
use crate::error::{CommitError, Fail, OpenError, ReadError, open_error};
use crate::tables::{SCHEMA_VERSION, newer_than};
use crate::{meta, rows};

/// Brings a file from `version` (0: it has no tables yet) to this program's version.
pub(crate) fn bring_up_to_date(storage: &Storage, version: u32, place: &str) -> Result<(), OpenError> {
    let migrated = storage.write(|transaction, _| {
        // So far every version has only added tables.
        for table in newer_than(version) {
            rows::write(transaction, table)?;
        }
        meta::put_schema(transaction)
    });
    migrated.map_err(|error| from_commit(place, error))
}

/// Checks the version and that every table of it is there, and brings an older file up to date.
pub(crate) fn check(storage: &Storage, place: &str) -> Result<(), OpenError> {
    match version(storage, place)? {
        SCHEMA_VERSION => check_tables(storage, place),
        0 => Err(open_error(place, Cause::Damaged("schema version 0 never existed".to_owned()))),
        found if found > SCHEMA_VERSION => Err(OpenError::NewerSchema { found, supported: SCHEMA_VERSION }),
        older => {
            bring_up_to_date(storage, older, place)?;
            check_tables(storage, place)
        }
    }
}

fn version(storage: &Storage, place: &str) -> Result<u32, OpenError> {
    storage.read(meta::schema).map_err(|error| from_read(place, error))
}

fn check_tables(storage: &Storage, place: &str) -> Result<(), OpenError> {
    let all = storage.read(|transaction| {
        newer_than(0)
            .try_for_each(|table| rows::read(transaction, table).map(|_| ()).map_err(Fail::<ReadError>::from))
    });
    all.map_err(|error| from_read(place, error))
}

fn from_commit(place: &str, error: CommitError) -> OpenError {
    match error {
        CommitError::DiskFull => open_error(place, Cause::DiskFull),
        CommitError::Io { detail } => open_error(place, Cause::Io(detail)),
        error => open_error(place, Cause::Damaged(error.to_string())),
    }
}

pub(crate) fn from_read(place: &str, error: ReadError) -> OpenError {
    match error {
        ReadError::Io { detail } => open_error(place, Cause::Io(detail)),
        ReadError::Damaged { detail } => open_error(place, Cause::Damaged(detail)),
        error => open_error(place, Cause::Damaged(error.to_string())),
    }
}
