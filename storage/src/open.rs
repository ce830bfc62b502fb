//! Opening a data folder or a backend, and creating it so that a crash at any step leaves it openable.
//!
//! Owns the file names, the folder's lock and the creation order. Must never initialise over bytes that are not
//! understood, nor open a folder that another process has, nor touch its reserve.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use redb::backends::FileBackend;
use redb::{Database, DatabaseError, StorageBackend};

use crate::backend::{Cause, FailStop, Fault};
use crate::engine::{Storage, cause_of};
use crate::error::{OpenError, ReadError, open_error, path_error};
use crate::files::{
    create_private_file, create_private_folder, open_private_file, publish, remove_leftover, sync_folder,
};
use crate::holes::Holes;
use crate::limits::CACHE_BYTES;
use crate::slots::Slots;
use crate::volume::{FolderVolume, Volume};
use crate::write_back::WriteBack;
use crate::{pieces, room, schema};

/// The database within a data folder.
pub const DATABASE_FILE_NAME: &str = "forgemesh.redb";
/// The long pieces of artifacts, within a data folder: what lies where in it the database says.
pub const PIECES_FILE_NAME: &str = "forgemesh.pieces";
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
            Ok(_) => open_file(folder, &path, lock),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                create_file(&new)?;
                publish(&new, &path).map_err(path_error("create", &path))?;
                open_file(folder, &path, lock)
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
        attach(backend, None, "backend", true)
    }

    /// Opens a backend with one for long pieces beside it, as a folder has; an empty one is initialised.
    ///
    /// # Errors
    /// As for `with_backend`.
    pub fn with_backends(
        database: impl StorageBackend,
        pieces: impl StorageBackend,
    ) -> Result<Storage, OpenError> {
        beside(attach(database, None, "backend", true)?, pieces, None, "backend")
    }

    /// Opens a backend that knows how much room it has (clones are the same backend): what a folder does on a full disk
    /// happens here too.
    ///
    /// # Errors
    /// As for `with_backend`.
    pub fn with_volume(disk: impl StorageBackend + Volume + Clone) -> Result<Storage, OpenError> {
        on_volume(disk.clone(), || attach(disk.clone(), None, "backend", true))
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
    drop(attach_file(file, &place, true)?);
    synced.sync_all().map_err(path_error("sync", new))
}

fn open_file(folder: &Path, path: &Path, lock: File) -> Result<Storage, OpenError> {
    let place = path.display().to_string();
    let open = || {
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(path_error("open", path))?;
        pieces_beside(attach_file(file, &place, false)?, folder)
    };
    Ok(on_volume(FolderVolume::new(folder), open)?.holding(lock))
}

/// Opens, on a full disk once more with the reserve given back; takes the reserve where there is room again.
fn on_volume(
    volume: impl Volume,
    open: impl Fn() -> Result<Storage, OpenError>,
) -> Result<Storage, OpenError> {
    let storage = match open() {
        Err(OpenError::DiskFull { .. }) if volume.has_reserve() => {
            volume.release_reserve();
            open()?
        }
        other => other?,
    };
    room::restock(&volume);
    Ok(storage.on_volume(volume))
}

fn attach_file(file: File, place: &str, may_create: bool) -> Result<Storage, OpenError> {
    let write_back = WriteBack::of(file.try_clone().map_err(path_error("open", Path::new(place)))?);
    let backend = FileBackend::new(file).map_err(|error| database_error(place, &Fault::default(), error))?;
    attach(backend, Some(write_back), place, may_create)
}

/// Gives a database the file of long pieces in its folder, made when missing.
fn pieces_beside(storage: Storage, folder: &Path) -> Result<Storage, OpenError> {
    let path = folder.join(PIECES_FILE_NAME);
    let file = match std::fs::symlink_metadata(&path) {
        Ok(found) if !found.is_file() => return Err(OpenError::WrongKind { path, wanted: "plain file" }),
        Ok(_) => open_private_file(&path).map_err(path_error("open", &path))?,
        Err(_) => {
            let file = create_private_file(&path).map_err(path_error("create", &path))?;
            sync_folder(folder).map_err(path_error("create", &path))?;
            file
        }
    };
    let place = path.display().to_string();
    let again = || file.try_clone().map_err(path_error("open", &path));
    let hints = (WriteBack::of(again()?), Holes::of(again()?));
    let backend = FileBackend::new(file).map_err(|error| database_error(&place, &Fault::default(), error))?;
    beside(storage, backend, Some(hints), &place)
}

/// Gives a database this file for long pieces, which stops when the database does.
fn beside(
    storage: Storage,
    file: impl StorageBackend,
    hints: Option<(WriteBack, Holes)>,
    place: &str,
) -> Result<Storage, OpenError> {
    let named = match pieces::named_slots(&storage) {
        Ok(named) => named,
        // Where something lies nobody knows: what is there is damaged, and what comes lies in the database.
        Err(ReadError::Damaged { .. } | ReadError::Corrupt { .. }) if !storage.is_dead() => {
            return Ok(storage);
        }
        Err(error) => return Err(schema::from_read(place, error)),
    };
    let (write_back, holes) = hints.unzip();
    let file = FailStop::new(file, write_back, storage.fault());
    match Slots::new(file, holes, &named) {
        Ok(slots) => Ok(storage.with_slots(slots)),
        Err(error) => {
            let cause = storage.fault().cause().cloned();
            Err(open_error(place, cause.unwrap_or(Cause::Io(error.to_string()))))
        }
    }
}

/// Puts redb on a backend and checks, or writes, the schema.
fn attach(
    backend: impl StorageBackend,
    write_back: Option<WriteBack>,
    place: &str,
    may_create: bool,
) -> Result<Storage, OpenError> {
    let fault = Arc::new(Fault::default());
    let backend = FailStop::new(backend, write_back, fault.clone());
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
    let storage = Storage::new(database, fault);
    if fresh {
        schema::bring_up_to_date(&storage, 0, place)?;
    }
    schema::check(&storage, place)?;
    Ok(storage)
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
