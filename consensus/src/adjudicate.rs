//! Whether an attestation, a reveal or a verdict may enter the record. Every refusal has a name.

use forgemesh_protocol::attestation::Attestation;
use forgemesh_protocol::challenge::{CheckOutcome, Verdict, drawn_digest};
use forgemesh_protocol::charter::Charters;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::{MeshId, NodeId};
use forgemesh_protocol::keys::{KeyError, Signed};
use forgemesh_protocol::lease::Lease;
use forgemesh_protocol::limits;
use serde::{Deserialize, Serialize};

use crate::job::{Batch, JobRecord};

/// The last link of an agent's chain of attestations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChainHead {
    pub seq: u64,
    /// Digest of the attestation with that number; zero before the first.
    pub digest: Hash,
}

impl ChainHead {
    /// The head of a chain without links.
    pub const EMPTY: ChainHead = ChainHead { seq: 0, digest: Hash::ZERO };
}

/// Why an attestation is not the next link of its agent's chain, or is not one at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttestationRefused {
    #[error("the attestation's signature: {0}")]
    Signature(#[from] KeyError),
    #[error("the attestation names agent {named:?}, but is signed by {signer:?}")]
    NotItsOwn { named: NodeId, signer: NodeId },
    #[error("a replayed attestation: number {seq} of this agent is logged already")]
    Replayed { seq: u64 },
    #[error(
        "a gap in the agent's chain: expected number {expected}, found {found}; send the missing ones first"
    )]
    ChainGap { expected: u64, found: u64 },
    #[error("a fork of the agent's chain: number {seq} does not name the attestation before it")]
    ChainFork { seq: u64 },
    #[error("an attestation has 1 to {} shards, ascending, each once", limits::BATCH_SHARDS)]
    ShardList,
    #[error("an attestation names 1 to {} leases", limits::BATCH_LEASES)]
    LeaseList,
    #[error("a backend is named in at most {} bytes", limits::BACKEND_BYTES)]
    Backend,
    #[error("the first attestation of an agent to which the hub never lent anything")]
    Stranger,
    #[error("an attestation of a node that this mesh has not admitted; join it with a ticket first")]
    NotAdmitted,
}

/// Why a shard of a well-formed attestation does not count. It is neither billed nor punished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotCredited {
    /// The job is final, or was never here.
    NoJob,
    /// The stage is over, or has no such shard.
    NoShard,
    /// No valid lease covers it.
    NoLease,
    /// An earlier attestation has it.
    Superseded,
    /// The agent was convicted in this job.
    Convicted,
}

/// Checks everything that makes an attestation the next link of its agent's chain.
pub fn check_chain(
    signed: &Signed<Attestation>,
    charters: &Charters,
    head: &ChainHead,
) -> Result<(), AttestationRefused> {
    check_signer(signed, charters.mesh())?;
    let attestation = &signed.body;
    if attestation.seq <= head.seq {
        return Err(AttestationRefused::Replayed { seq: attestation.seq });
    }
    if attestation.seq != head.seq + 1 {
        return Err(AttestationRefused::ChainGap { expected: head.seq + 1, found: attestation.seq });
    }
    if attestation.prev != head.digest {
        return Err(AttestationRefused::ChainFork { seq: attestation.seq });
    }
    check_shape(attestation, charters, *head != ChainHead::EMPTY)
}

/// Checks everything about an attestation but its place in the chain. `known`: its agent has a chain already.
pub fn check_form(
    signed: &Signed<Attestation>,
    charters: &Charters,
    known: bool,
) -> Result<(), AttestationRefused> {
    check_signer(signed, charters.mesh())?;
    check_shape(&signed.body, charters, known)
}

fn check_signer(signed: &Signed<Attestation>, mesh: MeshId) -> Result<(), AttestationRefused> {
    signed.verify(mesh)?;
    let (named, signer) = (signed.body.agent, signed.key.id());
    if signer == named { Ok(()) } else { Err(AttestationRefused::NotItsOwn { named, signer }) }
}

fn check_shape(
    attestation: &Attestation,
    charters: &Charters,
    known: bool,
) -> Result<(), AttestationRefused> {
    let shards = &attestation.shards;
    let is_counted = (1..=limits::BATCH_SHARDS).contains(&shards.len());
    if !is_counted || !shards.iter().is_sorted_by(|before, after| before < after) {
        return Err(AttestationRefused::ShardList);
    }
    if attestation.leases.is_empty() || attestation.leases.len() > limits::BATCH_LEASES {
        return Err(AttestationRefused::LeaseList);
    }
    if attestation.backend.len() > limits::BACKEND_BYTES {
        return Err(AttestationRefused::Backend);
    }
    // The table of chains grows only by agents that the hub has chosen.
    if !known && !attestation.leases.iter().any(|lease| is_lent(lease, &attestation.agent, charters)) {
        return Err(AttestationRefused::Stranger);
    }
    Ok(())
}

/// The leases of an attestation under which shards of the job's current stage may count. None at all, if some of them
/// are for another input of the same stage: what was done for the one must not stand for the other.
pub fn valid_leases<'a>(
    attestation: &'a Attestation,
    job: &JobRecord,
    charters: &Charters,
    now_ms: u64,
) -> Vec<&'a Lease> {
    let input = job.run().input_hash();
    let of_stage = |lease: &Lease| lease.job == job.id && lease.stage == attestation.stage;
    let named = attestation.leases.iter().filter(|signed| of_stage(&signed.body));
    if named.clone().any(|signed| signed.body.input != input) {
        return Vec::new();
    }
    let valid = named.filter(|signed| {
        let lease = &signed.body;
        now_ms <= lease.expires_ms
            && lease.shards <= limits::LEASE_SHARDS
            && is_lent(signed, &attestation.agent, charters)
    });
    valid.map(|signed| &signed.body).collect()
}

/// Whether one shard of an attestation counts for `job`, under these leases.
pub fn check_shard(
    attestation: &Attestation,
    shard: u64,
    job: &JobRecord,
    leases: &[&Lease],
) -> Result<(), NotCredited> {
    if attestation.stage != job.run().number || shard >= job.run().stage.shards() {
        return Err(NotCredited::NoShard);
    }
    if job.convicted.contains(&attestation.agent) {
        return Err(NotCredited::Convicted);
    }
    if job.attested.contains(shard) {
        return Err(NotCredited::Superseded);
    }
    let covers = leases.iter().any(|lease| lease.covers(shard));
    if covers { Ok(()) } else { Err(NotCredited::NoLease) }
}

/// Did a hub member lend this to `agent`? It may have lost its seat since; who was dismissed lends nothing.
fn is_lent(signed: &Signed<Lease>, agent: &NodeId, charters: &Charters) -> bool {
    signed.body.agent == *agent
        && charters.current().member(&signed.key).is_some()
        && signed.verify(charters.mesh()).is_ok()
}

/// Why a reveal was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RevealRefused {
    #[error("no open job or no such batch waits for a beacon")]
    NotAwaited,
    #[error("node {0:?} is not the hub member whose link is due")]
    WrongMember(NodeId),
    #[error("the revealed link does not lead to the member's anchor")]
    WrongLink,
    #[error("the hub member whose link is due may still reveal it")]
    TooSoon,
}

/// Why a batch was not discarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no open job has such a batch")]
pub struct NoSuchBatch;

/// Why a cancellation was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CancelRefused {
    #[error("the cancellation's signature: {0}")]
    Signature(#[from] KeyError),
    #[error("only the key that submitted a job may cancel it")]
    NotTheSubmitter,
}

/// Why a verdict was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerdictRefused {
    #[error("the verdict's signature: {0}")]
    Signature(#[from] KeyError),
    #[error("the verdict names checker {named:?}, but is signed by {signer:?}")]
    NotItsOwn { named: NodeId, signer: NodeId },
    #[error("no open job or no such batch waits for a verdict")]
    NotAwaited,
    #[error("{found} leaves were checked, but {drawn} were drawn")]
    Incomplete { drawn: u64, found: u64 },
    #[error("the verdict is about other leaves than were drawn")]
    NotDrawn,
    #[error("the outcome and the mismatches contradict each other")]
    Contradiction,
    #[error(
        "a verdict names at most {} mismatches, this one {found}; name the first of them",
        limits::VERDICT_MISMATCHES
    )]
    TooManyMismatches { found: usize },
    #[error("only a hub member may check in a mesh of one")]
    NotAChecker,
}

/// Checks a verdict on `batch` of `job`.
pub fn check_verdict(
    signed: &Signed<Verdict>,
    job: &JobRecord,
    batch: &Batch,
    charters: &Charters,
) -> Result<(), VerdictRefused> {
    signed.verify(charters.mesh())?;
    let verdict = &signed.body;
    let signer = signed.key.id();
    if signer != verdict.checker {
        return Err(VerdictRefused::NotItsOwn { named: verdict.checker, signer });
    }
    if charters.current().member(&signed.key).is_none() {
        return Err(VerdictRefused::NotAChecker);
    }
    if batch.reveal.is_none() || batch.verdict.is_some() {
        return Err(VerdictRefused::NotAwaited);
    }
    let drawn = job.challenged(batch, charters.genesis().parameters.spotcheck_ppm);
    if verdict.drawn != drawn_digest(&drawn) {
        return Err(VerdictRefused::NotDrawn);
    }
    let count = drawn.len() as u64;
    let without = matches!(verdict.outcome, CheckOutcome::Unable | CheckOutcome::Unopened);
    let complete = verdict.checked == count || (without && verdict.checked < count);
    if !complete {
        return Err(VerdictRefused::Incomplete { drawn: count, found: verdict.checked });
    }
    if verdict.mismatches.len() > limits::VERDICT_MISMATCHES {
        return Err(VerdictRefused::TooManyMismatches { found: verdict.mismatches.len() });
    }
    if !verdict.mismatches.iter().all(|mismatch| drawn.contains(&mismatch.at)) {
        return Err(VerdictRefused::NotDrawn);
    }
    if verdict.mismatches.is_empty() == (verdict.outcome == CheckOutcome::Differs) {
        return Err(VerdictRefused::Contradiction);
    }
    Ok(())
}
