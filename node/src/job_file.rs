//! A final job as it is kept: what the hub settled, and the receipt it signed.

use forgemesh_consensus::settle::FinishedJob;
use forgemesh_protocol::canon::{self, CanonError};
use forgemesh_protocol::envelope::ArtifactKind;
use forgemesh_protocol::id::JobId;
use forgemesh_protocol::limits;
use forgemesh_protocol::receipt::Receipt;
use serde::{Deserialize, Serialize};

/// Evidence and receipt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobFile {
    pub finished: FinishedJob,
    pub receipt: Receipt,
}

impl JobFile {
    /// The stored bytes.
    pub fn encode(&self) -> Vec<u8> {
        canon::to_bytes(self)
    }

    /// Strictly.
    pub fn decode(bytes: &[u8]) -> Result<JobFile, CanonError> {
        canon::from_bytes(bytes, limits::SNAPSHOT_BYTES)
    }
}

/// The key under which an artifact's address is kept in the job's namespace.
pub fn pointer_key(job: &JobId, kind: ArtifactKind) -> String {
    format!("{job}/{}", kind.as_str())
}

/// Namespace of the jobs whose receipt has too few signatures yet.
pub const UNSIGNED_NAMESPACE: &str = "forgemesh unsigned";
/// Namespace of the jobs whose blobs are to go. No envelope can name it: a namespace there has no space.
pub const SWEEP_NAMESPACE: &str = "forgemesh sweep";
