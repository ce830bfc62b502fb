//! One error enum per operation: opening, committing, reading. Each variant says what to do about it.
//!
//! Owns the public errors and the translation of the engine's. Must never hand out an engine type, nor turn an
//! I/O error into anything that invites a retry on the live handle.

use std::io;
use std::path::PathBuf;

use forgemesh_protocol::hash::Hash;

use crate::backend::Cause;

/// Why a data folder or a backend could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process (or another handle of this one) has the folder.
    #[error("the data folder {} is in use by another process; wait until it ends, or stop it (Ctrl-C keeps its job), or set FORGEMESH_HOME to work in another folder", folder.display())]
    InUse {
        /// The folder.
        folder: PathBuf,
    },
    /// The file is damaged, or is not ours.
    #[error(
        "{place} is damaged ({detail}); move it away and restore a backup, or start with an empty folder: receipts kept elsewhere stay valid"
    )]
    Corrupt {
        /// The file, or `backend`.
        place: String,
        /// What was found.
        detail: String,
    },
    /// The file was written by a newer program.
    #[error(
        "the data has schema version {found}, this program knows up to {supported}; run the newer forgemesh that wrote it"
    )]
    NewerSchema {
        /// Version in the file.
        found: u32,
        /// Newest version this program reads.
        supported: u32,
    },
    /// The operating system refuses access.
    #[error("no permission to {action} {}; make it readable and writable for this user, or set FORGEMESH_HOME to another folder", path.display())]
    Permission {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
    },
    /// The file system is mounted read-only.
    #[error("cannot {action} {}: the file system is read-only; set FORGEMESH_HOME to a writable folder", path.display())]
    ReadOnly {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
    },
    /// No space left while opening or creating.
    #[error("the disk that holds {place} is full; free some space and start again")]
    DiskFull {
        /// The file, or `backend`.
        place: String,
    },
    /// Something that is not a folder or not a plain file is in the way.
    #[error("{} is not a {wanted}; move it away, or set FORGEMESH_HOME to another folder", path.display())]
    WrongKind {
        /// What is in the way.
        path: PathBuf,
        /// `folder` or `plain file`.
        wanted: &'static str,
    },
    /// Any other I/O error.
    #[error("I/O error at {place}: {detail}; check the disk, then start again")]
    Io {
        /// The file, or `backend`.
        place: String,
        /// What the operating system said.
        detail: String,
    },
}

/// Why a batch was not committed. After `Dead`, `DiskFull`, `Io` and `Damaged` the handle serves nothing more:
/// drop it and open again; the batch is then there as a whole or not at all. After any other variant nothing was
/// written and the handle goes on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// An earlier call met an I/O error.
    #[error("the storage stopped after an earlier I/O error; open the data folder again")]
    Dead,
    /// No space left on the disk.
    #[error("the disk is full; free some space, then open the data folder again")]
    DiskFull,
    /// The disk failed; whether the batch is durable is known only after opening again.
    #[error("I/O error while committing: {detail}; check the disk, then open the data folder again")]
    Io {
        /// What the operating system said.
        detail: String,
    },
    /// The file's structure is damaged.
    #[error("the data file is damaged ({detail}); restore a backup or start with an empty folder")]
    Damaged {
        /// What the engine found.
        detail: String,
    },
    /// A record needed to check the batch is damaged.
    #[error("record {key} of table {table} is damaged; restore a backup or start with an empty folder")]
    Corrupt {
        /// Table name.
        table: &'static str,
        /// Key within the table.
        key: String,
    },
    /// A value or the batch exceeds its bound (see `limits`).
    #[error("{what} has {size}, the limit is {limit}; split it")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size, in bytes (for `writes in a batch`: a count).
        size: usize,
        /// The bound, in the same unit.
        limit: usize,
    },
    /// A key-value namespace or key is empty.
    #[error("the {what} is empty; give it at least one character")]
    Empty {
        /// Which.
        what: &'static str,
    },
    /// A log entry would leave a gap or overwrite.
    #[error("log entry {got} cannot be appended, the next index is {expected}; append in order")]
    LogGap {
        /// Next free index.
        expected: u64,
        /// Index given.
        got: u64,
    },
    /// Log entries that were dropped cannot be taken back.
    #[error("log entry {got} was dropped, the first kept is {first}; take back only what came after")]
    LogDropped {
        /// First index that is, or will be, in the log.
        first: u64,
        /// Index given.
        got: u64,
    },
    /// A ledger entry would leave a gap or overwrite.
    #[error("ledger entry {got} cannot be appended, the next sequence number is {expected}; append in order")]
    LedgerGap {
        /// Next free sequence number.
        expected: u64,
        /// Sequence number given.
        got: u64,
    },
    /// A snapshot older than the one held.
    #[error("snapshot {got} is older than the one held, {held}; take a newer one")]
    SnapshotBackwards {
        /// Index of the snapshot held.
        held: u64,
        /// Index given.
        got: u64,
    },
    /// Other bytes are already kept under this sequence number: two attestations of one number fork the chain.
    #[error("attestation {seq} is already in the outbox with other bytes; resend the kept one")]
    OutboxConflict {
        /// The sequence number.
        seq: u64,
    },
}

/// Why a read gave no value. After `Dead` and `Io` the handle serves nothing more: open again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// An earlier call met an I/O error.
    #[error("the storage stopped after an earlier I/O error; open the data folder again")]
    Dead,
    /// The disk failed.
    #[error("I/O error while reading: {detail}; check the disk, then open the data folder again")]
    Io {
        /// What the operating system said.
        detail: String,
    },
    /// The file's structure is damaged.
    #[error("the data file is damaged ({detail}); restore a backup or start with an empty folder")]
    Damaged {
        /// What the engine found.
        detail: String,
    },
    /// A blob's bytes are not those of its address.
    #[error("blob {hash} is damaged; quarantine it and fetch it again, or put it again")]
    CorruptBlob {
        /// The address.
        hash: Hash,
    },
    /// A record's checksum, length or place is wrong.
    #[error("record {key} of table {table} is damaged; restore a backup or start with an empty folder")]
    Corrupt {
        /// Table name.
        table: &'static str,
        /// Key within the table.
        key: String,
    },
    /// The log no longer has this entry: a snapshot stands for it.
    #[error("log entry {index} was dropped, the first kept is {first}; start from the snapshot")]
    LogCompacted {
        /// Index asked for.
        index: u64,
        /// First index that is, or will be, in the log.
        first: u64,
    },
    /// Not a prefix of a digest.
    #[error("a job id prefix is 1 to 64 lower-case hexadecimal digits")]
    BadPrefix,
}

/// A record that is not what was written.
#[derive(Debug)]
pub(crate) struct CorruptRecord {
    pub table: &'static str,
    pub key: String,
}

impl From<CorruptRecord> for CommitError {
    fn from(record: CorruptRecord) -> Self {
        CommitError::Corrupt { table: record.table, key: record.key }
    }
}

impl From<CorruptRecord> for ReadError {
    fn from(record: CorruptRecord) -> Self {
        ReadError::Corrupt { table: record.table, key: record.key }
    }
}

/// What stops an operation on the way: the engine, or a rule of ours with the operation's own error.
pub(crate) enum Fail<E> {
    Engine(redb::Error),
    Named(E),
}

impl<E> Fail<E> {
    pub(crate) fn record(table: &'static str, key: String) -> Self
    where
        E: From<CorruptRecord>,
    {
        Fail::Named(E::from(CorruptRecord { table, key }))
    }
}

macro_rules! from_engine {
    ($($kind:ident),*) => {$(
        impl<E> From<redb::$kind> for Fail<E> {
            fn from(error: redb::$kind) -> Self {
                Fail::Engine(error.into())
            }
        }
    )*};
}
from_engine!(StorageError, TableError, TransactionError, CommitError, SetDurabilityError);

/// Says where something stopped the opening.
pub(crate) fn open_error(place: &str, cause: Cause) -> OpenError {
    let place = place.to_owned();
    match cause {
        Cause::DiskFull => OpenError::DiskFull { place },
        Cause::Io(detail) => OpenError::Io { place, detail },
        Cause::Damaged(detail) => OpenError::Corrupt { place, detail },
    }
}

/// Names the I/O error of an action on a path.
pub(crate) fn path_error(
    action: &'static str,
    path: &std::path::Path,
) -> impl FnOnce(io::Error) -> OpenError + use<> {
    let path = path.to_owned();
    move |error| match error.kind() {
        io::ErrorKind::PermissionDenied => OpenError::Permission { action, path },
        io::ErrorKind::ReadOnlyFilesystem => OpenError::ReadOnly { action, path },
        io::ErrorKind::NotADirectory => OpenError::WrongKind { path, wanted: "folder" },
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            OpenError::DiskFull { place: path.display().to_string() }
        }
        _ => OpenError::Io { place: path.display().to_string(), detail: format!("{action}: {error}") },
    }
}
