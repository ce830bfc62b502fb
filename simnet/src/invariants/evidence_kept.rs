//! What a receipt stands on is not let go: no agent removes what it has vouched for in a logged batch as long as the job is
//! open, and in the end every member that sits has what was voted on of every final job, also if it was away when that came,
//! or sits since later on. Source: design/trust.md, "evidence"; node/src/core/hub/evidence.rs, node/src/core/agent/letting_go.rs.

use std::collections::BTreeMap;

use forgemesh_node::artifacts;
use forgemesh_node::job_file::JobFile;
use forgemesh_protocol::attestation::decode_claims;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::{JobId, NodeId};
use forgemesh_protocol::keys::Signable;
use forgemesh_storage::{ReadError, Storage};

use super::{Invariant, Moment, View};
use crate::known::Known;

/// Final jobs read at a time.
const PAGE: usize = 100;

/// The invariant.
pub struct EvidenceKept;

impl Invariant for EvidenceKept {
    fn name(&self) -> &'static str {
        "evidence_kept"
    }

    fn check(&mut self, view: &View<'_>) -> Result<bool, String> {
        match &view.moment {
            Moment::LetGo { machine, blob } => still_needed(*machine, blob, view),
            Moment::Over { storages, .. } => {
                let storages: Vec<(usize, &Storage)> =
                    storages.iter().map(|(machine, storage)| (*machine, storage)).collect();
                let seated = view.mirror.seated();
                match missing(&storages, view.nodes, seated, view.known).map_err(|error| error.to_string())? {
                    Some(missing) => Err(missing),
                    None => Ok(true),
                }
            }
            _ => Ok(false),
        }
    }
}

/// A blob that its machine removes must be of no open job for which that machine's agent has vouched with it.
fn still_needed(machine: usize, blob: &Hash, view: &View<'_>) -> Result<bool, String> {
    let agent = view.nodes[machine];
    for job in view.mirror.state().open.values() {
        let mut own =
            job.batches.iter().map(|batch| &batch.attestation.body).filter(|own| own.agent == agent);
        let claims = |digest: &Hash| view.known.claims.get(digest);
        if own
            .any(|body| body.members == *blob || claims(&body.digest()).is_some_and(|all| all.contains(blob)))
        {
            return Err(format!(
                "machine {machine} lets go {blob}, with which it vouches for open job {}",
                job.id
            ));
        }
    }
    Ok(true)
}

/// What a member that sits lacks though another has it, or nobody's disk has lost it. Not what its own disk has lost when the
/// job was in its books already: it looks for that again after an hour. `storages` are those of the members whose disks are
/// in good order; where one is not, it may have been the only one that had something.
pub fn missing(
    storages: &[(usize, &Storage)],
    nodes: &[NodeId],
    seated: &[NodeId],
    known: &Known,
) -> Result<Option<String>, ReadError> {
    for (machine, storage) in storages.iter().filter(|(machine, _)| seated.contains(&nodes[*machine])) {
        for (blob, (entry, job)) in lacking(storage)? {
            if known.lost.get(&(nodes[*machine], blob)).is_some_and(|entries| entry < *entries) {
                continue;
            }
            let mut elsewhere = None;
            for (other, storage) in storages {
                if artifacts::look(storage, &blob)?.whole().is_some() {
                    elsewhere = Some(*other);
                }
            }
            let may_be_gone = !known.rotten.is_empty() || known.lost.keys().any(|(_, lost)| *lost == blob);
            if elsewhere.is_some() || !may_be_gone {
                let told =
                    elsewhere.map_or("no member has it".to_owned(), |at| format!("machine {at} has it"));
                return Ok(Some(format!("machine {machine} lacks {blob} of final job {job}; {told}")));
            }
        }
    }
    Ok(None)
}

/// What is not on a disk of that on which its final jobs stand, and for which of them, the last in the books.
fn lacking(storage: &Storage) -> Result<BTreeMap<Hash, (u64, JobId)>, ReadError> {
    let (mut out, mut before) = (BTreeMap::new(), None);
    loop {
        let page = storage.jobs(before, PAGE)?;
        let Some(last) = page.last() else { return Ok(out) };
        before = Some(last.seq);
        // A record that cannot be read is what other invariants see.
        for JobFile { finished, .. } in page.iter().filter_map(|row| JobFile::decode(&row.record).ok()) {
            let record = &finished.record;
            let of = (finished.entry.seq, record.id);
            if !record.terms.artifacts.persist {
                continue;
            }
            let voted_on = |stage| record.votes.iter().any(|vote| vote.body.stage >= stage);
            let bodies = record.batches.iter().map(|batch| &batch.attestation.body);
            for body in bodies.filter(|body| voted_on(body.stage)) {
                let claims = storage.blob(&body.members)?.and_then(|bytes| decode_claims(&bytes).ok());
                let Some(claims) = claims else {
                    out.entry(body.members).or_insert(of);
                    continue;
                };
                for claim in claims {
                    if !storage.has_blob(&claim.blob)? {
                        out.entry(claim.blob).or_insert(of);
                    }
                }
            }
            for artifact in finished.result.iter().flat_map(|result| &result.artifacts) {
                if artifacts::look(storage, &artifact.blake3)?.whole().is_none() {
                    out.entry(artifact.blake3).or_insert(of);
                }
            }
        }
    }
}
