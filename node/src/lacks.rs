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
/// Blobs that are named at once, or a batch's more.
pub const MOST: usize = 64;

/// How far the books are looked through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The entry of the ledger to go on with.
    pub entry: u64,
    /// And of its job the first batch that was not looked at.
    pub batch: u64,
}

/// What one look has found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Lacks {
    /// Where to go on: not beyond the end of a job that lacks something, or that was not begun with.
    pub next: Place,
    /// The job that lacks something.
    pub job: Option<JobId>,
    /// What it lacks, and whose attestation names it; of a batch whose claims are not here, the claims alone.
    pub blobs: Vec<(NodeId, Hash)>,
    /// Are claims among that, so that there may be more?
    pub claims: bool,
}

/// Looks at the ledger from a place on, up to the first job of which something is not here.
pub fn lacks(storage: &Storage, from: Place) -> Result<Lacks, ReadError> {
    let (mut at, mut looked_at) = (from, 0);
    while at.entry < from.entry.saturating_add(ENTRIES) && looked_at < CLAIMS {
        let entry = storage.ledger(at.entry)?;
        let entry =
            entry.and_then(|bytes| canon::from_bytes::<LedgerEntry>(&bytes, limits::COMMAND_BYTES).ok());
        let record = match &entry {
            Some(entry) => storage.job(&entry.job.0)?,
            None => None,
        };
        // What is not here at all is the archive's to fetch.
        let Some(record) = record else { break };
        let mut found = Lacks::default();
        let after = Place { entry: at.entry + 1, batch: 0 };
        let Ok(file) = JobFile::decode(&record) else {
            at = after;
            continue;
        };
        let record = &file.finished.record;
        let rest = match record.terms.artifacts.persist {
            true => lacking(storage, &file, at.batch, &mut looked_at, &mut found)?,
            false => None,
        };
        let is_continued = at.batch > 0;
        at = rest.map_or(after, |batch| Place { entry: at.entry, batch });
        if !found.blobs.is_empty() {
            return Ok(Lacks { next: at, job: Some(record.id), ..found });
        }
        if is_continued {
            break;
        }
    }
    Ok(Lacks { next: at, ..Lacks::default() })
}

/// What is not here of a final job, from one of its batches on; where to go on, if it was too much for one look.
fn lacking(
    storage: &Storage,
    file: &JobFile,
    from: u64,
    looked_at: &mut usize,
    found: &mut Lacks,
) -> Result<Option<u64>, ReadError> {
    let (record, blobs) = (&file.finished.record, &mut found.blobs);
    // Of what was set aside nothing counts, and perhaps nobody ever had it.
    for (batch, number) in record.batches.iter().zip(0..).skip(usize::try_from(from).unwrap_or(usize::MAX)) {
        if blobs.len() >= MOST || *looked_at >= CLAIMS {
            return Ok(Some(number));
        }
        if !file.finished.stands_on(batch) {
            continue;
        }
        let attestation = &batch.attestation.body;
        let Some(claims) = boot::claims_at(storage, &attestation.members)? else {
            blobs.push((attestation.agent, attestation.members));
            found.claims = true;
            continue;
        };
        *looked_at += claims.len();
        for claim in claims {
            if !storage.has_blob(&claim.blob)? {
                blobs.push((attestation.agent, claim.blob));
            }
        }
    }
    if blobs.len() >= MOST {
        return Ok(Some(record.batches.len() as u64));
    }
    let agent = record.batches.first().map(|batch| batch.attestation.body.agent);
    for artifact in file.finished.result.iter().flat_map(|result| &result.artifacts) {
        if artifacts::look(storage, &artifact.blake3)?.whole().is_none() {
            blobs.extend(agent.map(|agent| (agent, artifact.blake3)));
        }
    }
    Ok(None)
}
