//! Opening a data folder or a backend, and creating it so that a crash at any step leaves it openable.
//!
//! Owns the file names, the folder's lock, the creation order and the schema check. Must never initialise over bytes
//! that are not understood, nor open a folder that another process has.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use redb::backends::FileBackend;
use redb::{Database, DatabaseError, StorageBackend};

use crate::backend::{Cause, FailStop, Fault};
use crate::engine::{Storage, cause_of};
use crate::error::{CommitError, Fail, OpenError, ReadError, path_error};
use crate::files::{create_private_file, create_private_folder, open_private_file, publish, remove_leftover};
use crate::limits::CACHE_BYTES;
use crate::tables::{ALL, SCHEMA_VERSION};
use crate::{meta, rows};

/// The database within a data folder.
pub const DATABASE_FILE_NAME: &str = "forgemesh.redb";
/// The empty file whose lock says that a process has the folder; taken before anything else is touched.
pub const LOCK_FILE_NAME: &str = "forgemesh.lock";
/// The database while it is being created.
const NEW_FILE_NAME: &str = "forgemesh.redb.new";

impl Storage {
    /// Opens a data folder, creating folder (mode 0700) and database (mode 0600) when missing. The folder stays locked
    /// for other processes until the handle is dropped.
    ///
    /// # Errors
    /// Each variant of [`OpenError`] names its cure; nothing is changed then, apart from a creation that the next
    /// opening begins anew.
    pub fn open(folder: &Path) -> Result<Storage, OpenError> {
        create_private_folder(folder).map_err(path_error("create", folder))?;
        let lock = lock(folder)?;
        let path = folder.join(DATABASE_FILE_NAME);
        let new = folder.join(NEW_FILE_NAME);
        remove_leftover(&new).map_err(path_error("remove", &new))?;
        match std::fs::symlink_metadata(&path) {
            Ok(found) if !found.is_file() => Err(OpenError::WrongKind { path, wanted: "plain file" }),
            Ok(_) => open_file(&path, lock),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                create_file(&new)?;
                publish(&new, &path).map_err(path_error("create", &path))?;
                open_file(&path, lock)
            }
            Err(error) => Err(path_error("open", &path)(error)),
        }
    }

    /// Opens a backend; an empty one is initialised. The same code runs after that as for a folder. Initialising is not
    /// atomic here: the folder's rename makes it so there.
    ///
    /// # Errors
    /// As for `open`, with `backend` for the place.
    pub fn with_backend(backend: impl StorageBackend) -> Result<Storage, OpenError> {
        attach(backend, "backend", None, true)
    }
}

fn lock(folder: &Path) -> Result<File, OpenError> {
    let path = folder.join(LOCK_FILE_NAME);
    let file = open_private_file(&path).map_err(path_error("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { folder: folder.to_owned() }),
        Err(TryLockError::Error(error)) => Err(path_error("lock", &path)(error)),
    }
}

/// Makes a complete database under a temporary name and syncs it.
fn create_file(new: &Path) -> Result<(), OpenError> {
    let place = new.display().to_string();
    let file = create_private_file(new).map_err(path_error("create", new))?;
    let synced = file.try_clone().map_err(path_error("create", new))?;
    drop(attach(file_backend(file, &place)?, &place, None, true)?);
    synced.sync_all().map_err(path_error("sync", new))
}

fn open_file(path: &Path, lock: File) -> Result<Storage, OpenError> {
    let place = path.display().to_string();
    let file = OpenOptions::new().read(true).write(true).open(path).map_err(path_error("open", path))?;
    attach(file_backend(file, &place)?, &place, Some(lock), false)
}

fn file_backend(file: File, place: &str) -> Result<FileBackend, OpenError> {
    FileBackend::new(file).map_err(|error| database_error(place, &Fault::default(), error))
}

/// Puts redb on a backend and checks, or writes, the schema.
fn attach(
    backend: impl StorageBackend,
    place: &str,
    lock: Option<File>,
    may_create: bool,
) -> Result<Storage, OpenError> {
    let fault = Arc::new(Fault::default());
    let backend = FailStop::new(backend, fault.clone());
    let fresh = backend.len().map_err(|error| open_error(place, Cause::Io(error.to_string())))? == 0;
    if fresh && !may_create {
        return Err(open_error(place, Cause::Damaged("the file is empty".to_owned())));
    }
    let start = || Database::builder().set_cache_size(CACHE_BYTES).create_with_backend(backend);
    let database = match catch_unwind(AssertUnwindSafe(start)) {
        Ok(Ok(database)) => database,
        Ok(Err(error)) => return Err(database_error(place, &fault, error)),
        Err(_) => return Err(open_error(place, Cause::Damaged("the engine panicked".to_owned()))),
    };
    let storage = Storage::new(database, fault, lock);
    if fresh {
        initialise(&storage).map_err(|error| from_commit(place, error))?;
    }
    check_schema(&storage, place)?;
    Ok(storage)
}

/// Creates every table and the schema version, in one transaction.
fn initialise(storage: &Storage) -> Result<(), CommitError> {
    storage.write(|transaction| {
        for table in ALL {
            rows::write(transaction, *table)?;
        }
        meta::put_schema(transaction)
    })
}

fn check_schema(storage: &Storage, place: &str) -> Result<(), OpenError> {
    let version = storage.read(|transaction| {
        let version = meta::schema(transaction)?;
        // Only a version that is understood says which tables there are.
        if version == SCHEMA_VERSION {
            for table in ALL {
                rows::read(transaction, *table).map_err(Fail::<ReadError>::from)?;
            }
        }
        Ok(version)
    });
    match version {
        Ok(SCHEMA_VERSION) => Ok(()),
        Ok(found) if found > SCHEMA_VERSION => {
            Err(OpenError::NewerSchema { found, supported: SCHEMA_VERSION })
        }
        Ok(found) => Err(open_error(place, Cause::Damaged(format!("schema version {found} never existed")))),
        Err(ReadError::Io { detail }) => Err(open_error(place, Cause::Io(detail))),
        Err(ReadError::Damaged { detail }) => Err(open_error(place, Cause::Damaged(detail))),
        Err(error) => Err(open_error(place, Cause::Damaged(error.to_string()))),
    }
}

fn from_commit(place: &str, error: CommitError) -> OpenError {
    match error {
        CommitError::DiskFull => open_error(place, Cause::DiskFull),
        CommitError::Io { detail } => open_error(place, Cause::Io(detail)),
        error => open_error(place, Cause::Damaged(error.to_string())),
    }
}

fn database_error(place: &str, fault: &Fault, error: DatabaseError) -> OpenError {
    if let Some(cause) = fault.cause() {
        return open_error(place, cause.clone());
    }
    match error {
        // The folder's lock is ours: whoever holds the file itself bypassed it.
        DatabaseError::DatabaseAlreadyOpen => OpenError::InUse { folder: place.into() },
        other => open_error(place, cause_of(&other.into())),
    }
}

fn open_error(place: &str, cause: Cause) -> OpenError {
    let place = place.to_owned();
    match cause {
        Cause::DiskFull => OpenError::DiskFull { place },
        Cause::Io(detail) => OpenError::Io { place, detail },
        Cause::Damaged(detail) => OpenError::Corrupt { place, detail },
    }
}
