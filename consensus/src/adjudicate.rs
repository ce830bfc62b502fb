//! Whether an attestation, a reveal or a verdict may enter the record. Every refusal has a name.

use forgemesh_protocol::attestation::Attestation;
use forgemesh_protocol::challenge::{CheckOutcome, Verdict, drawn_digest};
use forgemesh_protocol::genesis::Genesis;
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
    #[error("a backend is named in at most 64 bytes")]
    Backend,
    #[error("the first attestation of an agent to which the hub never lent anything")]
    Stranger,
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

/// Checks everything that makes an attestation a link of its agent's chain.
pub fn check_chain(
    signed: &Signed<Attestation>,
    genesis: &Genesis,
    mesh: MeshId,
    head: &ChainHead,
) -> Result<(), AttestationRefused> {
    signed.verify(mesh)?;
    let attestation = &signed.body;
    let signer = signed.key.id();
    if signer != attestation.agent {
        return Err(AttestationRefused::NotItsOwn { named: attestation.agent, signer });
    }
    if attestation.seq <= head.seq {
        return Err(AttestationRefused::Replayed { seq: attestation.seq });
    }
    if attestation.seq != head.seq + 1 {
        return Err(AttestationRefused::ChainGap { expected: head.seq + 1, found: attestation.seq });
    }
    if attestation.prev != head.digest {
        return Err(AttestationRefused::ChainFork { seq: attestation.seq });
    }
    let shards = &attestation.shards;
    let ascending = shards.windows(2).all(|pair| pair[0] < pair[1]);
    if shards.is_empty() || shards.len() > limits::BATCH_SHARDS || !ascending {
        return Err(AttestationRefused::ShardList);
    }
    if attestation.leases.is_empty() || attestation.leases.len() > limits::BATCH_LEASES {
        return Err(AttestationRefused::LeaseList);
    }
    if attestation.backend.len() > 64 {
        return Err(AttestationRefused::Backend);
    }
    // The table of chains grows only by agents that the hub has chosen.
    let known = *head != ChainHead::EMPTY;
    if !known && !attestation.leases.iter().any(|lease| is_lent(lease, &attestation.agent, genesis, mesh)) {
        return Err(AttestationRefused::Stranger);
    }
    Ok(())
}

/// Whether one shard of an attestation counts for `job`, whose current stage has this input.
pub fn check_shard(
    attestation: &Attestation,
    shard: u64,
    job: &JobRecord,
    input: Option<Hash>,
    genesis: &Genesis,
    mesh: MeshId,
    now_ms: u64,
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
    let covers = attestation.leases.iter().any(|signed| {
        let lease = &signed.body;
        let names = lease.job == job.id && lease.stage == attestation.stage && lease.input == input;
        let valid = lease.covers(shard) && now_ms <= lease.expires_ms && lease.shards <= limits::LEASE_SHARDS;
        names && valid && is_lent(signed, &attestation.agent, genesis, mesh)
    });
    if covers { Ok(()) } else { Err(NotCredited::NoLease) }
}

/// Did a hub member lend this to `agent`?
fn is_lent(signed: &Signed<Lease>, agent: &NodeId, genesis: &Genesis, mesh: MeshId) -> bool {
    signed.body.agent == *agent && genesis.member(&signed.key).is_some() && signed.verify(mesh).is_ok()
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
    genesis: &Genesis,
    mesh: MeshId,
) -> Result<(), VerdictRefused> {
    signed.verify(mesh)?;
    let verdict = &signed.body;
    let signer = signed.key.id();
    if signer != verdict.checker {
        return Err(VerdictRefused::NotItsOwn { named: verdict.checker, signer });
    }
    if genesis.member(&signed.key).is_none() {
        return Err(VerdictRefused::NotAChecker);
    }
    if batch.reveal.is_none() || batch.verdict.is_some() {
        return Err(VerdictRefused::NotAwaited);
    }
    let drawn = job.challenged(batch, genesis.parameters.spotcheck_ppm);
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
