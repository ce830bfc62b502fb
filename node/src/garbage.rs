//! What is on the disk and needed by nothing any more.
//!
//! Needed is what a receipt stands on, for as long as its job is in the books, what this node has vouched for, and what
//! somebody's pin is for. Must never name anything of which it is not known that nothing needs it: blobs are judged only
//! where no node runs, no job is open, and nobody else decides. What an agent has vouched for is in `links.rs`.

use std::collections::BTreeSet;

use forgemesh_consensus::job::Batch as Attested;
use forgemesh_consensus::machine::Hub;
use forgemesh_protocol::hash::Hash;
use forgemesh_storage::{Batch, ReadError, Storage};

use crate::artifacts::{self, Kept};
use crate::boot::{self, BootError};

/// Rows read at a time.
const PAGE: usize = 1_000;
/// Pieces that are removed in one batch, or some more.
const PIECES: u64 = 16_384;

/// Artifacts that nothing needs, as many as go in one batch: neither pinned, nor named by a final job. Those that a client
/// has only had from here are among them, and those that came in part.
pub fn artifacts(storage: &Storage, now_ms: u64) -> Result<Vec<(Hash, Kept)>, ReadError> {
    let (mut garbage, mut size, mut after) = (Vec::new(), 0, None);
    loop {
        let page = artifacts::list(storage, after.as_ref())?;
        let Some((last, _)) = page.last() else { return Ok(garbage) };
        after = Some(*last);
        for (artifact, kept) in page {
            if kept.is_pinned(now_ms) || !artifacts::named_by(storage, &artifact, 1)?.is_empty() {
                continue;
            }
            size += kept.length / forgemesh_protocol::limits::PIECE_BYTES as u64 + 1;
            garbage.push((artifact, kept));
            if size >= PIECES {
                return Ok(garbage);
            }
        }
    }
}

/// The batch that removes artifacts.
pub fn removal(garbage: &[(Hash, Kept)]) -> Batch {
    let mut batch = Batch::new();
    garbage.iter().for_each(|(artifact, kept)| artifacts::forget(&mut batch, artifact, kept));
    batch
}

/// Blobs that nothing needs, with their lengths in bytes: those of no final job and of no pin. None where that is not
/// certain: while a job is open; in a hub of several, whose others may have decided more than this folder knows; and where
/// claims cannot be read, which name what a receipt stands on. `hub` is the state after the log, and nothing runs on this
/// folder.
pub fn blobs(storage: &Storage, hub: &Hub, now_ms: u64) -> Result<Vec<(Hash, u64)>, BootError> {
    let several = hub.state().seating.seated.len() > 1;
    if several || !hub.state().open.is_empty() {
        return Ok(Vec::new());
    }
    let Some(needed) = needed(storage, now_ms)? else { return Ok(Vec::new()) };
    let (mut garbage, mut after) = (Vec::new(), None);
    loop {
        let page = storage.blobs(after.as_ref(), PAGE)?;
        let Some((last, _)) = page.last() else { return Ok(garbage) };
        after = Some(*last);
        garbage.extend(page.into_iter().filter(|(blob, _)| !needed.contains(blob)));
    }
}

/// None if something that would say so is missing.
fn needed(storage: &Storage, now_ms: u64) -> Result<Option<BTreeSet<Hash>>, BootError> {
    // What the agent has vouched for may not be in the log yet.
    let mut needed: BTreeSet<Hash> = boot::outbox(storage)?.iter().flat_map(boot::vouched_for).collect();
    let mut is_certain = true;
    boot::each_file(storage, |file| {
        let persist = file.finished.record.terms.artifacts.persist;
        let evidence = |batch: &&Attested| persist && file.finished.rests_on(batch);
        for batch in file.finished.record.batches.iter().filter(evidence) {
            is_certain = is_certain && boot::whole(storage, &batch.attestation.body.members)?.is_some();
        }
        needed.extend(boot::blobs_of(storage, &file)?);
        Ok(())
    })?;
    if !is_certain {
        return Ok(None);
    }
    let mut after = None;
    loop {
        let page = artifacts::list(storage, after.as_ref())?;
        let Some((last, _)) = page.last() else { return Ok(Some(needed)) };
        after = Some(*last);
        let pinned = page.iter().filter(|(_, kept)| kept.is_pinned(now_ms));
        needed.extend(pinned.map(|(artifact, _)| *artifact));
    }
}
