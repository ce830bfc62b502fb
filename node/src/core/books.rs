//! What a final job adds to the books: its record with the receipt, its ledger entry, the pointers to its artifacts.

use forgemesh_consensus::settle::Concluded;
use forgemesh_protocol::charter::Charters;
use forgemesh_protocol::keys::SecretKey;
use forgemesh_storage::Batch;

use crate::job_file::{JobFile, SWEEP_NAMESPACE, pointer_key};

/// The record with this node's signature under the receipt, if it was admitted to the hub when the job became final.
pub(crate) fn signed(concluded: Concluded, charters: &Charters, secret: &SecretKey) -> JobFile {
    let Concluded { job: finished, mut receipt } = concluded;
    let charter = charters.version(finished.charter);
    if charter.is_some_and(|charter| charter.member(&secret.public()).is_some()) {
        receipt.sign(secret);
    }
    JobFile { finished, receipt }
}

/// The batch that enters a record.
pub(crate) fn shelve(file: &JobFile) -> Batch {
    let finished = &file.finished;
    let id = finished.record.id;
    let artifacts = &finished.record.terms.artifacts;
    let mut batch = Batch::new();
    batch.append_ledger(finished.entry.seq, forgemesh_protocol::canon::to_bytes(&finished.entry));
    for artifact in finished.result.iter().flat_map(|result| &result.artifacts) {
        if artifacts.persist {
            crate::artifacts::name(&mut batch, &artifact.blake3, &id);
            let key = pointer_key(&id, artifact.kind);
            batch.put_kv(&artifacts.kv_namespace, &key, artifact.blake3.to_string().into_bytes());
        }
    }
    if !artifacts.persist {
        // Its client may still be reading; the blobs go at the next start.
        batch.put_kv(SWEEP_NAMESPACE, &id.to_string(), Vec::new());
    }
    batch.put_job(id.0, file.encode());
    batch
}
