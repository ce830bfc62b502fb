//! What this disk lacks of the evidence that the books name: claims, accumulators, results.

use forgemesh_protocol::canon;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::{JobId, NodeId};
use forgemesh_protocol::ledger::LedgerEntry;
use forgemesh_protocol::limits;
use forgemesh_storage::{ReadError, Storage};
use serde::Serialize;

use crate::job_file::JobFile;
use crate::{artifacts, boot};

/// Entries of the ledger that are looked at at once, and claims, or some more.
const ENTRIES: u64 = 256;
const CLAIMS: usize = 16_384;
/// Blobs that are named at once.
pub const MOST: usize = 1_024;

/// What one look has found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Lacks {
    /// The entry of the ledger to go on with: that of `job`, or the first that was not looked at.
    pub next: u64,
    /// The job that lacks something.
    pub job: Option<JobId>,
    /// What it lacks, and whose attestation names it; of a batch whose claims are not here, the claims alone.
    pub blobs: Vec<(NodeId, Hash)>,
}

/// Looks at the ledger from entry `from` on, up to the first job of which something is not here.
pub fn lacks(storage: &Storage, from: u64) -> Result<Lacks, ReadError> {
    let mut claims = 0;
    for seq in from..from.saturating_add(ENTRIES) {
        let entry = storage.ledger(seq)?;
        let entry =
            entry.and_then(|bytes| canon::from_bytes::<LedgerEntry>(&bytes, limits::COMMAND_BYTES).ok());
        let record = match &entry {
            Some(entry) => storage.job(&entry.job.0)?,
            None => None,
        };
        // What is not here at all is the archive's to fetch.
        let Some(record) = record else { return Ok(Lacks { next: seq, ..Lacks::default() }) };
        if let Ok(file) = JobFile::decode(&record)
            && file.finished.record.terms.artifacts.persist
        {
            let blobs = lacking(storage, &file, &mut claims)?;
            if !blobs.is_empty() {
                return Ok(Lacks { next: seq, job: Some(file.finished.record.id), blobs });
            }
        }
        if claims >= CLAIMS {
            return Ok(Lacks { next: seq + 1, ..Lacks::default() });
        }
    }
    Ok(Lacks { next: from.saturating_add(ENTRIES), ..Lacks::default() })
}

/// What is not here of a final job.
fn lacking(
    storage: &Storage,
    file: &JobFile,
    looked_at: &mut usize,
) -> Result<Vec<(NodeId, Hash)>, ReadError> {
    let (record, mut blobs) = (&file.finished.record, Vec::new());
    // Of what was set aside nothing counts, and perhaps nobody ever had it.
    for attestation in record.batches.iter().map(|batch| &batch.attestation.body) {
        if blobs.len() >= MOST {
            break;
        }
        let Some(claims) = boot::claims_at(storage, &attestation.members)? else {
            blobs.push((attestation.agent, attestation.members));
            continue;
        };
        *looked_at += claims.len();
        for claim in claims {
            if !storage.has_blob(&claim.blob)? {
                blobs.push((attestation.agent, claim.blob));
            }
        }
    }
    let agent = record.batches.first().map(|batch| batch.attestation.body.agent);
    for artifact in file.finished.result.iter().flat_map(|result| &result.artifacts) {
        if artifacts::look(storage, &artifact.blake3)?.whole().is_none() {
            blobs.extend(agent.map(|agent| (agent, artifact.blake3)));
        }
    }
    blobs.truncate(MOST);
    Ok(blobs)
}
