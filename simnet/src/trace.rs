//! What happened, as one digest: every step of every port with its virtual time and the digest of what passed.
//! Two runs of one seed that differ anywhere differ here.

use std::cell::RefCell;
use std::rc::Rc;

use forgemesh_protocol::canon;
use forgemesh_protocol::hash::Hash;
use forgemesh_storage::{Batch, Write};
use serde::Serialize;
use tokio::time::Instant;

use forgemesh_node::ports::{Done, Work};

/// Steps of no machine.
const WORLD: u64 = u64::MAX;

/// The trace of one simulation. Clones write to the same one.
#[derive(Clone)]
pub struct Trace {
    started: Instant,
    /// Whose steps these are; machines count from 0.
    machine: u64,
    state: Rc<RefCell<(blake3::Hasher, u64)>>,
}

impl Trace {
    /// An empty trace that starts now.
    pub fn start() -> Trace {
        Trace { started: Instant::now(), machine: WORLD, state: Rc::default() }
    }

    /// The same trace, for the steps of one machine.
    pub fn of(&self, machine: usize) -> Trace {
        Trace { machine: machine as u64, ..self.clone() }
    }

    /// When the simulation began.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Virtual milliseconds since the start.
    pub fn elapsed_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// Adds a step.
    pub fn step(&self, kind: &str, number: u64, digest: Hash) {
        let mut state = self.state.borrow_mut();
        let (hasher, steps) = &mut *state;
        hasher.update(&self.elapsed_ms().to_le_bytes());
        hasher.update(&self.machine.to_le_bytes());
        hasher.update(&(kind.len() as u64).to_le_bytes());
        hasher.update(kind.as_bytes());
        hasher.update(&number.to_le_bytes());
        hasher.update(&digest.0);
        *steps += 1;
    }

    /// The digest so far, and over how many steps.
    pub fn digest(&self) -> (Hash, u64) {
        let state = self.state.borrow();
        (Hash(*state.0.finalize().as_bytes()), state.1)
    }
}

/// Digest of canonical bytes, for traces alone.
pub fn digest(value: &impl Serialize) -> Hash {
    Hash::blob(&canon::to_bytes(value))
}

/// Digest of a batch: its writes in order.
pub fn batch_digest(batch: &Batch) -> Hash {
    let mut hasher = blake3::Hasher::new();
    for write in batch.writes() {
        let (kind, key, value): (&str, Vec<u8>, &[u8]) = match write {
            Write::PutBlob { blob } => ("blob", blob.hash().0.to_vec(), &[]),
            Write::DeleteBlob { hash } => ("no blob", hash.0.to_vec(), &[]),
            Write::QuarantineBlob { hash } => ("quarantine", hash.0.to_vec(), &[]),
            Write::PutPiece { artifact, index, sum, bytes } => {
                ("piece", [&artifact.0[..], &index.to_le_bytes(), &sum.0].concat(), bytes)
            }
            Write::DeletePiece { artifact, index } => {
                ("no piece", [&artifact.0[..], &index.to_le_bytes()].concat(), &[])
            }
            Write::AppendLog { index, entry } => ("log", index.to_le_bytes().to_vec(), entry),
            Write::TruncateLog { from } => ("no log from", from.to_le_bytes().to_vec(), &[]),
            Write::PurgeLog { through } => ("no log through", through.to_le_bytes().to_vec(), &[]),
            Write::PutSnapshot { index, state } => ("snapshot", index.to_le_bytes().to_vec(), state),
            Write::RenewSnapshot { index, state } => ("new snapshot", index.to_le_bytes().to_vec(), state),
            Write::PutJob { id, record } => ("job", id.0.to_vec(), record),
            Write::AppendLedger { seq, entry } => ("ledger", seq.to_le_bytes().to_vec(), entry),
            Write::PutKv { namespace, key, value } => {
                ("kv", format!("{namespace}\0{key}").into_bytes(), value)
            }
            Write::DeleteKv { namespace, key } => ("no kv", format!("{namespace}\0{key}").into_bytes(), &[]),
            Write::PutOutbox { seq, attestation } => ("outbox", seq.to_le_bytes().to_vec(), attestation),
            Write::DeleteOutbox { through_seq } => ("no outbox", through_seq.to_le_bytes().to_vec(), &[]),
            Write::PutMeta { key, value } => ("meta", format!("{key:?}").into_bytes(), value),
            Write::PutRefusal { id, record } => ("refusal", id.0.to_vec(), record),
        };
        for part in [kind.as_bytes(), &key, value] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
    }
    Hash(*hasher.finalize().as_bytes())
}

/// What kind of work it is, and its digest.
pub fn work_digest(work: &Work) -> (&'static str, Hash) {
    match work {
        Work::Run { contract, run, shard } => ("run", digest(&(contract.hash(), run, shard))),
        Work::Open { contract, run, leaves } => ("open", digest(&(contract.hash(), run, leaves))),
        Work::Check { contract, run, claims, leaves, openings } => {
            let openings: Vec<Hash> = openings.iter().map(|opening| Hash::blob(&opening.0)).collect();
            ("check", digest(&(contract.hash(), run, claims, leaves, openings)))
        }
        Work::Reduce { job } => ("reduce", digest(&**job)),
        Work::Load { blobs } => ("load", digest(blobs)),
        Work::Lookup { blobs } => ("lookup", digest(blobs)),
        Work::File { job } => ("file", digest(job)),
        Work::Books { from } => ("books", digest(from)),
        Work::Scrub { after } => ("scrub", digest(after)),
        Work::Look { artifact } => ("look", digest(artifact)),
        Work::Outline { artifact } => ("outline", digest(artifact)),
        Work::Piece { artifact, index } => ("piece", digest(&(artifact, index))),
        Work::CheckOutline { outlined, .. } => ("check outline", digest(&**outlined)),
        Work::CheckPiece { artifact, index, bytes, .. } => {
            ("check piece", digest(&(artifact, index, Hash::blob(&bytes.0))))
        }
        Work::ScrubPieces { from } => ("scrub pieces", digest(from)),
        Work::Garbage { now_ms } => ("garbage", digest(now_ms)),
        Work::Spent { unlogged } => ("vouched", digest(unlogged)),
        Work::Lacks { from } => ("lacks", digest(from)),
        Work::Keeping { after, now_ms } => ("keeping", digest(&(after, now_ms))),
    }
}

/// How work ended, and the digest of what came of it.
pub fn done_digest(done: &Done) -> (&'static str, Hash) {
    match done {
        Done::Ran { claim, accumulator, paths } => ("ran", digest(&(claim, Hash::blob(accumulator), paths))),
        Done::Opened { openings } => {
            let openings: Vec<Hash> = openings.iter().map(|opening| Hash::blob(&opening.0)).collect();
            ("opened", digest(&openings))
        }
        Done::Checked { mismatches } => ("checked", digest(mismatches)),
        Done::Reduced { outcome, artifacts } => {
            let artifacts: Vec<Hash> = artifacts.iter().map(|bytes| Hash::blob(bytes)).collect();
            ("reduced", digest(&(outcome, artifacts)))
        }
        Done::Lacking { batches, blobs, detail } => ("lacking", digest(&(batches, blobs, detail))),
        Done::Unfit { batches, detail } => ("unfit", digest(&(batches, detail))),
        Done::Scrubbed { corrupt, next } => ("scrubbed", digest(&(corrupt, next))),
        Done::LookedUp { missing } => ("looked up", digest(missing)),
        Done::File { file } => ("file read", digest(&file.as_ref().map(|file| file.finished.entry.hash()))),
        Done::Books { files } => ("books read", digest(files)),
        Done::Loaded { blobs } => ("loaded", digest(blobs)),
        Done::Looked { look } => ("looked", digest(&(&look.kept, look.blob, look.named))),
        Done::Outlined { outlined } => ("outlined", digest(outlined)),
        Done::Pieced { bytes } => ("pieced", digest(&bytes.as_ref().map(|bytes| Hash::blob(&bytes.0)))),
        Done::ScrubbedPieces { found } => ("pieces scrubbed", digest(&(&found.rotten, found.next))),
        Done::Garbage { garbage } => ("garbage found", digest(garbage)),
        Done::Spent { spent } => ("spent", digest(&**spent)),
        Done::Lacks { lacks } => ("lacking found", digest(&**lacks)),
        Done::Keeping { page } => ("kept", digest(&**page)),
        Done::Failed { detail } => ("failed", Hash::blob(detail.as_bytes())),
    }
}
