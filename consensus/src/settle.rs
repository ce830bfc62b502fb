//! What remains of a final job: the receipt's statement, the ledger entry, the evidence. Derived from the record
//! alone, so that every member makes the same bytes.

use std::collections::BTreeMap;

use forgemesh_kernel::job::Job;
use forgemesh_protocol::canon::{self, Bytes, CanonError};
use forgemesh_protocol::charter::Charters;
use forgemesh_protocol::failure::Failure;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::NodeId;
use forgemesh_protocol::ledger::{ACCOUNTING_VERSION, LedgerEntry, Provider};
use forgemesh_protocol::limits;
use forgemesh_protocol::receipt::{
    AttestationRef, BuildDefinition, Builder, Derived, Digests, Independence, Mesh, Metadata, PREDICATE_TYPE,
    Parameters, Predicate, REDUCTION, Receipt, ResultSummary, RunDetails, STATEMENT_TYPE, Statement, Subject,
    Verification,
};
use forgemesh_protocol::state::State;
use forgemesh_protocol::vote::{FinalResult, Outcome};
use serde::{Deserialize, Serialize};

use crate::job::{Batch, JobRecord};

/// A final job: its record as evidence, its outcome, its place in the books.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FinishedJob {
    pub record: JobRecord,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<FinalResult>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    pub entry: LedgerEntry,
    /// The version of the charter that was in force: whose signatures its receipt needs.
    #[serde(default, skip_serializing_if = "canon::is_zero")]
    pub charter: u64,
}

/// A job that has just become final, and the receipt that follows from it, without signatures.
#[derive(Clone, Debug, PartialEq)]
pub struct Concluded {
    pub job: FinishedJob,
    pub receipt: Receipt,
}

/// Where in the ledger, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub seq: u64,
    pub prev: Hash,
    pub at_ms: u64,
}

impl FinishedJob {
    /// The stored bytes.
    pub fn encode(&self) -> Vec<u8> {
        canon::to_bytes(self)
    }

    /// Strictly.
    pub fn decode(bytes: &[u8]) -> Result<FinishedJob, CanonError> {
        canon::from_bytes(bytes, limits::SNAPSHOT_BYTES)
    }

    /// Does its outcome rest on this batch's blobs?
    pub fn rests_on(&self, batch: &Batch) -> bool {
        self.record.rests_on(batch, self.failure.as_ref())
    }

    /// Are this batch's blobs evidence of it?
    pub fn stands_on(&self, batch: &Batch) -> bool {
        self.record.stands_on(batch, self.result.is_some())
    }

    /// The receipt's statement: the same bytes whoever computes it, whenever. `job`: of the record's contract.
    pub fn statement(&self, job: &Job, charters: &Charters) -> Statement {
        let (result, failure) = (self.result.as_ref(), self.failure.as_ref());
        statement(&self.record, job, result, failure, self.entry.at_ms, charters, self.charter)
    }

    /// Are outcome and entry what settling the record at its place in the ledger gives, with this receipt? Only for a record
    /// that is known to be a quorum's: it is derived from.
    pub fn follows(&self, receipt: &Receipt) -> bool {
        let LedgerEntry { seq, prev, at_ms, .. } = self.entry;
        let (result, failure) = (self.result.as_ref(), self.failure.as_ref());
        let voted = self.record.votes.last().map(|vote| &vote.body.outcome);
        let is_voted = result.is_none_or(|result| voted == Some(&Outcome::Final(result.clone())));
        let one = result.is_some() != failure.is_some();
        let place = Place { seq, prev, at_ms };
        one && is_voted && self.entry == entry(&self.record, result, failure, receipt.identity(), place)
    }
}

/// Settles a job whose record is in its final state.
pub(crate) fn settle(
    record: JobRecord,
    outcome: Result<FinalResult, Failure>,
    charters: &Charters,
    at: Place,
) -> Concluded {
    let (result, failure) = match outcome {
        Ok(result) => (Some(result), None),
        Err(failure) => (None, Some(failure)),
    };
    let charter = charters.current().version;
    let (of_result, of_failure) = (result.as_ref(), failure.as_ref());
    let job =
        Job::of_contract(record.contract.clone()).expect("invariant: admission read this very contract");
    let receipt = statement(&record, &job, of_result, of_failure, at.at_ms, charters, charter).unsigned();
    let entry = entry(&record, of_result, of_failure, receipt.identity(), at);
    Concluded { job: FinishedJob { record, result, failure, entry, charter }, receipt }
}

/// What the books keep of a job.
fn entry(
    record: &JobRecord,
    result: Option<&FinalResult>,
    failure: Option<&Failure>,
    receipt: Hash,
    at: Place,
) -> LedgerEntry {
    LedgerEntry {
        seq: at.seq,
        prev: at.prev,
        at_ms: at.at_ms,
        accounting: ACCOUNTING_VERSION,
        job: record.id,
        state: record.state,
        receipt,
        contract: record.plan.contract,
        result_hash: result.map(|result| result.result_hash),
        failure: failure.cloned(),
        op: record.contract.op.clone(),
        submitter: record.submission.key.id(),
        billing: record.terms.ctx.billing,
        providers: if result.is_some() { providers(record) } else { Vec::new() },
        charge_ucredits: 0,
    }
}

/// Who executed how many paths that were verified and count.
fn providers(record: &JobRecord) -> Vec<Provider> {
    let mut paths: BTreeMap<NodeId, u64> = BTreeMap::new();
    for batch in &record.batches {
        let Some(run) = record.stage_run(batch.attestation.body.stage) else { continue };
        let of_shard = |shard: u64| {
            let leaves = run.stage.shard_leaves(shard);
            record.plan.leaf_range(leaves.end - 1).end - record.plan.leaf_range(leaves.start).start
        };
        *paths.entry(batch.attestation.body.agent).or_default() +=
            batch.credited.iter().map(of_shard).sum::<u64>();
    }
    let provider = |(node, verified_paths)| Provider { node, verified_paths, reward_ucredits: 0 };
    paths.into_iter().map(provider).collect()
}

/// How the job was verified, from its record.
pub fn verification(record: &JobRecord) -> Verification {
    let counted = record.batches.iter().filter(|batch| !batch.credited.is_empty());
    let (mut leaves, mut checked, mut mismatches) = (0, 0, 0);
    let mut independence = Independence::SameOperator;
    for batch in counted {
        if let Some(run) = record.stage_run(batch.attestation.body.stage) {
            let of_shard = |shard: u64| {
                let range = run.stage.shard_leaves(shard);
                range.end - range.start
            };
            leaves += batch.credited.iter().map(of_shard).sum::<u64>();
        }
        match &batch.verdict {
            Some(verdict) => {
                // A stranger's bundle may say anything.
                checked = u64::saturating_add(checked, verdict.body.checked);
                mismatches += verdict.body.mismatches.len() as u64;
                if verdict.body.checker == batch.attestation.body.agent {
                    independence = Independence::SelfAttested;
                }
            }
            None => independence = Independence::SelfAttested,
        }
    }
    if checked == 0 {
        independence = Independence::SelfAttested;
    }
    Verification::new(record.terms.policy.verify, independence, leaves, checked, mismatches)
}

/// The receipt's statement: the same bytes whoever computes it, whenever. `job`: of the record's contract; `charter`: the
/// version that was in force.
pub fn statement(
    record: &JobRecord,
    job: &Job,
    result: Option<&FinalResult>,
    failure: Option<&Failure>,
    finished_ms: u64,
    charters: &Charters,
    charter: u64,
) -> Statement {
    let artifacts = result.map(|result| result.artifacts.clone()).unwrap_or_default();
    let subject = |artifact: &forgemesh_protocol::vote::Artifact| Subject {
        name: artifact.kind.file_name().to_owned(),
        digest: Digests { blake3: artifact.blake3, sha256: artifact.sha256 },
    };
    let mesh_id = charters.mesh();
    let amendments = charters.amendments().iter().take(usize::try_from(charter).unwrap_or(usize::MAX));
    let submission = &record.submission;
    let attestation = |batch: &crate::job::Batch| AttestationRef {
        agent: batch.attestation.body.agent,
        seq: batch.attestation.body.seq,
        digest: batch.digest,
    };
    Statement {
        statement_type: STATEMENT_TYPE.to_owned(),
        subject: artifacts.iter().map(subject).collect(),
        predicate_type: PREDICATE_TYPE.to_owned(),
        predicate: Predicate {
            build_definition: BuildDefinition {
                build_type: format!("urn:forgemesh:op:{}", record.contract.op),
                external_parameters: Parameters {
                    op: record.contract.op.clone(),
                    args: job.args_json(),
                    seed: record.contract.seed.clone(),
                    terms: record.terms.clone(),
                },
                internal_parameters: Derived {
                    contract_hash: record.plan.contract,
                    args_hash: record.contract.args_hash(),
                    root_seed: job.root_seed(),
                    numerics_id: job.numerics_id(),
                    reduction: REDUCTION.to_owned(),
                    replay_key: job.replay_key(),
                    plan_hash: record.plan.hash(),
                },
                resolved_dependencies: Vec::new(),
            },
            run_details: RunDetails {
                builder: Builder { id: format!("urn:forgemesh:mesh:{mesh_id}") },
                metadata: Metadata {
                    job_id: record.id,
                    submitter: submission.key,
                    signature: submission.signature,
                    nonce: submission.body.nonce.clone(),
                    expires_ms: submission.body.expires_ms,
                    offer: submission.body.offer.clone(),
                    accepted_ms: record.accepted_ms,
                    finished_ms,
                },
            },
            protocol: limits::PROTOCOL_VERSION,
            mesh: Mesh {
                id: mesh_id,
                genesis: Bytes(canon::to_bytes(charters.genesis())),
                amendments: amendments.map(|amendment| Bytes(canon::to_bytes(amendment))).collect(),
            },
            state: if failure.is_none() { State::Finalized } else { State::Failed },
            result: result.map(|r| ResultSummary { result_hash: r.result_hash, work: r.work.clone() }),
            failure: failure.cloned(),
            verification: verification(record),
            artifacts,
            attestations: record.batches.iter().filter(|b| !b.credited.is_empty()).map(attestation).collect(),
            evidence: record.hash(),
        },
    }
}
