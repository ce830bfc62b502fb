//! The three ports of a node: the mesh it talks to, the executor that computes, the store that remembers.
//!
//! The core knows only the values that pass through them; the driver is generic over them. Production and the
//! simulator differ in nothing else.

use std::future::Future;
use std::sync::Arc;

use forgemesh_consensus::job::JobRecord;
use forgemesh_protocol::artifact::Outline;
use forgemesh_protocol::attestation::Claim;
use forgemesh_protocol::canon::Bytes;
use forgemesh_protocol::challenge::{LeafRef, Mismatch};
use forgemesh_protocol::contract::Contract;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::{JobId, MeshId, NodeId};
use forgemesh_protocol::plan::StageRun;
use forgemesh_protocol::vote::Outcome;
use forgemesh_protocol::wire::{KeptPage, Message, Outlined};
use forgemesh_storage::{Batch, CommitError};

use crate::artifacts::{Kept, Look, PieceScrub};
use crate::job_file::JobFile;
use crate::lacks::{Lacks, Place};
use crate::links::Spent;

/// What comes from another node.
#[derive(Clone, Debug, PartialEq)]
pub enum Brought {
    /// A message, or an announcement that it has made.
    Message(Message),
    /// There is a connection with it.
    Met,
    /// There is none any more, or an attempt to make one has failed: a hint, for it may be there all the same.
    Parted,
}

/// Other nodes.
pub trait Mesh {
    /// Sends a message; it may be lost.
    fn send(&mut self, to: NodeId, message: Message);
    /// Tells all nodes of the mesh; some may not hear it. The message is short.
    fn announce(&mut self, message: Message);
    /// Says whether a connected node belongs to the mesh, where not everybody may; a mesh that lets nobody else connect does
    /// nothing.
    fn vouch(&mut self, node: NodeId, belongs: bool) {
        let _ = (node, belongs);
    }
    /// What comes next, and from whom.
    fn next(&mut self) -> impl Future<Output = (NodeId, Brought)>;
    /// Says that this node has these artifacts, where others look for them; a mesh without such a place does nothing.
    fn provide(&mut self, artifacts: Vec<Hash>) {
        drop(artifacts);
    }
    /// Looks there for an artifact. Who is found to have said that it has it comes as that node's own word, `Message::At`:
    /// a hint and no more.
    fn seek(&mut self, artifact: Hash) {
        let _ = artifact;
    }
}

/// What computes, off the event loop.
pub trait Executor {
    /// Starts a piece of work; its end comes under the same ticket.
    fn start(&mut self, ticket: u64, work: Work);
    /// The next piece of work that ended.
    fn next(&mut self) -> impl Future<Output = (u64, Done)>;
    /// How many shards run at once; a node with none is no agent.
    fn capacity(&self) -> u64;
    /// What computes, as attestations name it: `cpu/avx512`.
    fn backend(&self) -> String;
}

/// What remembers. Batches become durable in the order in which they were submitted.
pub trait Store {
    /// Submits a batch; its completion comes under the same token. One that is not urgent may wait a few milliseconds for
    /// another, so that both are written together.
    fn submit(&mut self, token: u64, batch: Batch, urgent: bool);
    /// Somebody waits for what was submitted: it waits for nothing more.
    fn hurry(&mut self) {}
    /// The next batch that is durable. An error is final: the store must be opened again.
    fn next(&mut self) -> impl Future<Output = Result<u64, CommitError>>;
    /// Is the disk so full that no new work should be taken?
    fn is_low(&self) -> bool;
}

/// A piece of work.
#[derive(Clone, Debug)]
pub enum Work {
    /// Execute a shard.
    Run { contract: Contract, run: StageRun, shard: u64 },
    /// Open leaves that this node has attested.
    Open { contract: Contract, run: StageRun, leaves: Vec<LeafRef> },
    /// Execute leaves again and hold them against their claims and openings.
    Check {
        contract: Contract,
        run: StageRun,
        claims: Vec<Claim>,
        leaves: Vec<LeafRef>,
        openings: Vec<Bytes>,
    },
    /// Reduce the current stage of a job whose stages are all verified.
    Reduce { job: Box<JobRecord> },
    /// Read blobs.
    Load { blobs: Vec<Hash> },
    /// See which of these blobs are here.
    Lookup { blobs: Vec<Hash> },
    /// Read a final job's record.
    File { job: JobId },
    /// Read the records of the ledger's entries from here on, as many as make a message or two.
    Books { from: u64 },
    /// Read a slice of all blobs, from the one after this, to see whether they have rotted.
    Scrub { after: Option<Hash> },
    /// See what is here of an artifact.
    Look { artifact: Hash },
    /// Read an artifact's outline and last piece.
    Outline { artifact: Hash },
    /// Read a piece of an artifact.
    Piece { artifact: Hash, index: u64 },
    /// Hold an outline against its address, and its pin against its signature.
    CheckOutline { mesh: MeshId, outlined: Box<Outlined> },
    /// Hold a piece against its outline.
    CheckPiece { artifact: Hash, outline: Arc<Outline>, index: u64, bytes: Bytes },
    /// Read a page of the artifacts that are kept for the mesh, after this address, at this time in milliseconds since
    /// 1970.
    Keeping { after: Option<Hash>, now_ms: u64 },
    /// Read a slice of the pieces of one artifact, from this one on, to see whether they have rotted.
    ScrubPieces { from: Option<(Hash, u64)> },
    /// Find artifacts that nothing needs at this time.
    Garbage { now_ms: u64 },
    /// Find what this node's agent has vouched for before this link of its chain and nothing needs any more.
    Spent { unlogged: u64 },
    /// Look through the books from this place on for evidence that is not here.
    Lacks { from: Place },
}

impl Work {
    /// Does it go before what is waiting? Checks and reductions are what everything else waits for; shards and the care of
    /// the disk wait for them.
    pub fn is_urgent(&self) -> bool {
        match self {
            Work::Run { .. } | Work::Scrub { .. } | Work::ScrubPieces { .. } => false,
            Work::Garbage { .. } | Work::Spent { .. } | Work::Lacks { .. } => false,
            Work::Open { .. } | Work::Check { .. } | Work::Reduce { .. } | Work::Load { .. } => true,
            Work::Lookup { .. } | Work::File { .. } | Work::Look { .. } | Work::Outline { .. } => true,
            Work::Piece { .. } | Work::CheckOutline { .. } | Work::CheckPiece { .. } => true,
            Work::Keeping { .. } | Work::Books { .. } => true,
        }
    }
}

/// How a piece of work ended.
#[derive(Clone, Debug)]
pub enum Done {
    /// A shard, executed; the claim names the accumulator's address.
    Ran { claim: Claim, accumulator: Vec<u8>, paths: u64 },
    /// Openings, in the order asked for.
    Opened { openings: Vec<Bytes> },
    /// What did not come out as committed.
    Checked { mismatches: Vec<Mismatch> },
    /// What follows from the reduction, and the artifacts' bytes.
    Reduced { outcome: Outcome, artifacts: Vec<Vec<u8>> },
    /// Nothing follows: these blobs of these batches are not here, or have rotted.
    Lacking { batches: Vec<Hash>, blobs: Vec<Hash>, detail: String },
    /// Nothing will ever follow from these batches: their blobs are here, and are not what was claimed.
    Unfit { batches: Vec<Hash>, detail: String },
    /// The blobs in the order asked for; none where there is none.
    Loaded { blobs: Vec<Option<Bytes>> },
    /// Which are not here.
    LookedUp { missing: Vec<Hash> },
    /// The record, if there is one.
    File { file: Option<Box<JobFile>> },
    /// Records, in the order of the ledger.
    Books { files: Vec<Bytes> },
    /// A slice is read: what has rotted, and where to go on.
    Scrubbed { corrupt: Vec<Hash>, next: Option<Hash> },
    /// What is here of an artifact.
    Looked { look: Box<Look> },
    /// An outline that is here, or is what it should be; none if not.
    Outlined { outlined: Option<Box<Outlined>> },
    /// A piece that is here, or is what it should be; none if not.
    Pieced { bytes: Option<Bytes> },
    /// A slice of pieces is read.
    ScrubbedPieces { found: Box<PieceScrub> },
    /// Artifacts that nothing needs.
    Garbage { garbage: Vec<(Hash, Kept)> },
    /// What was vouched for and nothing needs.
    Spent { spent: Box<Spent> },
    /// What is not here of the evidence.
    Lacks { lacks: Box<Lacks> },
    /// A page of what is kept.
    Keeping { page: Box<KeptPage> },
    /// It could not be done.
    Failed { detail: String },
}
