//! What is on the disk convinces a stranger: the receipt verifies offline and follows from the record, the artifacts
//! are there where a vote says so, the reduction of the stored accumulators and a replay of the contract both give the stated result.
//! Source: design/trust.md, "evidence"; design/determinism.md; node/src/evidence.rs.

use std::collections::BTreeMap;

use forgemesh_node::evidence::{self, Report};
use forgemesh_node::job_file::JobFile;
use forgemesh_node::ports::{Done, Work};
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::NodeId;
use forgemesh_protocol::vote::Outcome;
use forgemesh_storage::Storage;

use super::{Invariant, Moment, View};
use crate::memo;

/// The invariant.
pub struct ReplayMatches;

impl Invariant for ReplayMatches {
    fn name(&self) -> &'static str {
        "replay_matches"
    }

    fn check(&mut self, view: &View<'_>) -> Result<bool, String> {
        let Moment::Over { storages, .. } = &view.moment else { return Ok(false) };
        storages.iter().try_for_each(|(machine, storage)| {
            verify_all(storage, view.nodes[*machine], view)
                .map_err(|detail| format!("machine {machine}: {detail}"))
        })?;
        Ok(true)
    }
}

fn verify_all(storage: &Storage, node: NodeId, view: &View<'_>) -> Result<(), String> {
    let mut before = None;
    loop {
        let page = storage.jobs(before, 100).map_err(|error| error.to_string())?;
        let Some(last) = page.last() else { return Ok(()) };
        before = Some(last.seq);
        for row in &page {
            let file = JobFile::decode(&row.record).map_err(|error| format!("job {}: {error}", row.id))?;
            verify(storage, &file, node, view).map_err(|detail| format!("job {}: {detail}", row.id))?;
        }
    }
}

fn verify(storage: &Storage, file: &JobFile, node: NodeId, view: &View<'_>) -> Result<(), String> {
    let (mut report, finished) = (Report::default(), &file.finished);
    let mesh = view.mirror.mesh();
    let examined = evidence::examine(&file.receipt.to_bytes(), Some(mesh), &mut report);
    let Some(examined) = examined.filter(|_| report.is_ok()) else { return Err(report.failures()) };
    let statement = finished.statement(&examined.job, view.mirror.charters());
    if statement.digest() != examined.statement.digest() {
        return Err("the receipt does not follow from the record".to_owned());
    }
    let Some(result) = &finished.result else { return Ok(()) };
    let replayed = memo::result(&finished.record.contract)?;
    if replayed != Ok(result.result_hash) && !view.known.has_lied(&finished.record) {
        return Err(format!("a replay gives {replayed:?}, stated is {}", result.result_hash));
    }
    // What was not to be kept may be gone; and who has not voted has not vouched for having them.
    let (last, votes) = (finished.record.run().number, &finished.record.votes);
    let member = view.mirror.charters().node(&node).map(|member| member.key);
    let voted = votes.iter().any(|vote| vote.body.stage == last && Some(vote.key) == member);
    if !voted || !finished.record.terms.artifacts.persist {
        return Ok(());
    }
    let mut files = BTreeMap::new();
    for artifact in &result.artifacts {
        let bytes = blob(storage, &artifact.blake3)?;
        files.insert(artifact.kind.file_name().to_owned(), bytes);
    }
    evidence::check_artifacts(&examined, &files, &mut report);
    if !report.is_ok() {
        return Err(report.failures());
    }
    let work = Work::Reduce { job: Box::new(finished.record.clone()) };
    match memo::perform(work, storage) {
        Done::Reduced { outcome: Outcome::Final(again), .. } if again == *result => Ok(()),
        // It was there when the stage was reduced.
        Done::Lacking { blobs, .. }
            if blobs.iter().all(|blob| view.known.lost.contains_key(&(node, *blob))) =>
        {
            Ok(())
        }
        Done::Reduced { outcome, .. } => Err(format!("reducing the stored evidence again gives {outcome:?}")),
        other => Err(format!("the stored evidence cannot be reduced: {other:?}")),
    }
}

fn blob(storage: &Storage, address: &Hash) -> Result<Vec<u8>, String> {
    let found = storage.blob(address).map_err(|error| error.to_string())?;
    found.ok_or_else(|| format!("artifact {address} is not on the disk"))
}
