//! Where claims and accumulators come from: a store, or a bundle of evidence.

use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::JobId;
use forgemesh_storage::{ReadError, ScrubPage, Storage};

use crate::job_file::JobFile;

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
    /// Is it here? Its bytes are not checked.
    fn has(&self, address: &Hash) -> bool;
    /// Reads and hashes a slice of them, from the one after `after`.
    fn scrub(&self, after: Option<Hash>, bytes: usize) -> Result<ScrubPage, BlobError>;
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

    fn has(&self, address: &Hash) -> bool {
        // What cannot be read is as good as missing.
        self.has_blob(address).unwrap_or(false)
    }

    fn scrub(&self, after: Option<Hash>, bytes: usize) -> Result<ScrubPage, BlobError> {
        Storage::scrub(self, after, bytes).map_err(|error| BlobError::Disk(error.to_string()))
    }
}
