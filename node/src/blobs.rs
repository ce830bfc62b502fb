//! Where claims and accumulators come from: a store, or a bundle of evidence.

use forgemesh_protocol::canon;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::JobId;
use forgemesh_protocol::ledger::LedgerEntry;
use forgemesh_protocol::limits;
use forgemesh_protocol::wire::{KeptPage, Outlined};
use forgemesh_storage::{ReadError, ScrubPage, Storage};

use crate::artifacts::{self, Kept, Look, PieceScrub};
use crate::garbage;
use crate::job_file::JobFile;
use crate::lacks::{self, Lacks, Place};
use crate::links::{self, Spent};

/// Records that are read at once.
pub const BOOKS: u64 = 64;
/// And after how many bytes no further one is.
pub const BOOKS_BYTES: usize = 1 << 20;

/// Why a blob can't be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlobError {
    /// It is not here, or its bytes are others: it must be fetched or made again.
    #[error("blob {0} is missing or damaged")]
    Gone(Hash),
    /// The disk cannot say.
    #[error("the disk cannot be read: {0}")]
    Disk(String),
}

/// Blobs to be read.
pub trait Blobs {
    /// The blob at this address, its bytes checked against it.
    fn blob(&self, address: &Hash) -> Result<Vec<u8>, BlobError>;
}

/// Blobs that are kept, and may rot.
pub trait Shelf: Blobs {
    /// A final job's record, if it is here and not damaged.
    fn file(&self, job: &JobId) -> Option<JobFile>;
    /// Records of final jobs as they are kept, from this entry of the ledger on: a few, none after the last.
    fn books(&self, from: u64) -> Vec<Vec<u8>>;
    /// Is it here? Its bytes are not checked.
    fn has(&self, address: &Hash) -> bool;
    /// Reads and hashes a slice of them, from the one after `after`.
    fn scrub(&self, after: Option<Hash>, bytes: usize) -> Result<ScrubPage, BlobError>;
    /// What is here of an artifact.
    fn look(&self, artifact: &Hash) -> Option<Look>;
    /// The outline of an artifact that is here, with its last piece.
    fn outlined(&self, artifact: &Hash) -> Option<Outlined>;
    /// A piece of an artifact.
    fn piece(&self, artifact: &Hash, index: u64) -> Option<Vec<u8>>;
    /// All of an artifact, if it is here and not damaged.
    fn bytes(&self, artifact: &Hash) -> Option<Vec<u8>>;
    /// Reads a slice of the pieces of one artifact, from this one on.
    fn scrub_pieces(&self, from: Option<(Hash, u64)>) -> Option<PieceScrub>;
    /// Artifacts that nothing needs.
    fn garbage(&self, now_ms: u64) -> Option<Vec<(Hash, Kept)>>;
    /// What this node's agent has vouched for before this link of its chain and nothing needs.
    fn spent(&self, unlogged: u64) -> Option<Spent>;
    /// What is not here of the evidence that the books name from this place on.
    fn lacks(&self, from: Place) -> Option<Lacks>;
    /// A page of the artifacts that are kept for the mesh.
    fn keeping(&self, after: Option<Hash>, now_ms: u64) -> Option<KeptPage>;
}

impl Blobs for Storage {
    fn blob(&self, address: &Hash) -> Result<Vec<u8>, BlobError> {
        match Storage::blob(self, address) {
            Ok(Some(bytes)) => Ok(bytes),
            Ok(None) | Err(ReadError::CorruptBlob { .. }) => Err(BlobError::Gone(*address)),
            Err(error) => Err(BlobError::Disk(error.to_string())),
        }
    }
}

impl Shelf for Storage {
    fn file(&self, job: &JobId) -> Option<JobFile> {
        let bytes = self.job(&job.0).ok().flatten()?;
        JobFile::decode(&bytes).ok()
    }

    fn books(&self, from: u64) -> Vec<Vec<u8>> {
        let (mut files, mut bytes) = (Vec::new(), 0);
        for seq in from..from.saturating_add(BOOKS) {
            let entry = self.ledger(seq).ok().flatten();
            let entry =
                entry.and_then(|bytes| canon::from_bytes::<LedgerEntry>(&bytes, limits::COMMAND_BYTES).ok());
            let Some(file) = entry.and_then(|entry| self.job(&entry.job.0).ok().flatten()) else { break };
            bytes += file.len();
            files.push(file);
            if bytes >= BOOKS_BYTES {
                break;
            }
        }
        files
    }

    fn has(&self, address: &Hash) -> bool {
        // What cannot be read is as good as missing.
        self.has_blob(address).unwrap_or(false)
    }

    fn scrub(&self, after: Option<Hash>, bytes: usize) -> Result<ScrubPage, BlobError> {
        Storage::scrub(self, after, bytes).map_err(|error| BlobError::Disk(error.to_string()))
    }

    fn look(&self, artifact: &Hash) -> Option<Look> {
        artifacts::look(self, artifact).ok()
    }

    fn outlined(&self, artifact: &Hash) -> Option<Outlined> {
        artifacts::outlined(self, artifact).ok().flatten()
    }

    fn piece(&self, artifact: &Hash, index: u64) -> Option<Vec<u8>> {
        artifacts::piece(self, artifact, index).ok().flatten()
    }

    fn bytes(&self, artifact: &Hash) -> Option<Vec<u8>> {
        artifacts::bytes(self, artifact).ok().flatten()
    }

    fn scrub_pieces(&self, from: Option<(Hash, u64)>) -> Option<PieceScrub> {
        artifacts::scrub(self, from).ok()
    }

    fn garbage(&self, now_ms: u64) -> Option<Vec<(Hash, Kept)>> {
        garbage::artifacts(self, now_ms).ok()
    }

    fn spent(&self, unlogged: u64) -> Option<Spent> {
        links::spent(self, unlogged).ok()
    }

    fn lacks(&self, from: Place) -> Option<Lacks> {
        lacks::lacks(self, from).ok()
    }

    fn keeping(&self, after: Option<Hash>, now_ms: u64) -> Option<KeptPage> {
        artifacts::page(self, after, now_ms).ok()
    }
}
