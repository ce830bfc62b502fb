//! What a node keeps on its disk: one redb file, one of long pieces of artifacts, one key file and a
//! reserve of room in a data folder.
//!
//! Owns the schema and its migrations (`tables`, `schema`), the way a folder is created and opened (`open`), atomic
//! durable batches (`batch`, `engine`), the reads of each table group, every value verified on the way out, and what is
//! done about damaged blobs (`scrub`, `quarantine`) and a full disk (`room`). Must never interpret a
//! value other than a blob (the rest is opaque canonical bytes), draw entropy, read a clock, or go on after an
//! I/O error: the handle is then dead and the folder is opened again.

mod backend;
mod batch;
mod blobs;
mod engine;
mod error;
mod files;
mod holes;
mod jobs;
mod key_file;
mod kv;
mod ledger_log;
pub mod limits;
mod meta;
mod open;
mod outbox;
mod pieces;
mod quarantine;
mod raft_log;
mod refusals;
mod room;
mod rows;
mod schema;
mod scrub;
mod slots;
mod snapshot;
mod tables;
#[cfg(feature = "testing")]
pub mod testing;
mod volume;
mod write_back;

pub use batch::{Batch, Blob, Write};
pub use engine::Storage;
pub use error::{CommitError, OpenError, ReadError};
pub use jobs::JobRow;
pub use key_file::{KEY_FILE_NAME, KeyFile, KeyFileError};
pub use meta::MetaKey;
pub use open::{DATABASE_FILE_NAME, LOCK_FILE_NAME, PIECES_FILE_NAME};
pub use quarantine::QuarantineRow;
pub use refusals::RefusalRow;
pub use room::Room;
pub use scrub::ScrubPage;
pub use tables::SCHEMA_VERSION;
pub use volume::{RESERVE_FILE_NAME, Volume};
