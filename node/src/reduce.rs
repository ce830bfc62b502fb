//! Reduces a stage from the accumulators that the log's attestations name, and renders the artifacts.
//!
//! Every hub member runs this on the same record and must get the same bytes: nothing here may depend on the member,
//! the clock, or the order in which blobs were found.

use std::collections::{BTreeMap, BTreeSet};

use forgemesh_consensus::job::{JobRecord, SetAside};
use forgemesh_consensus::settle;
use forgemesh_kernel::accumulator::Accumulator;
use forgemesh_kernel::job::Job;
use forgemesh_kernel::reduction::{FinalOutput, Reducer, Reduction};
use forgemesh_protocol::attestation::{Claim, decode_claims};
use forgemesh_protocol::canon;
use forgemesh_protocol::envelope::ArtifactKind;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::NodeId;
use forgemesh_protocol::plan::StageRun;
use forgemesh_protocol::vote::{Artifact, FinalResult, Outcome};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::blobs::{BlobError, Blobs};
use crate::ports::Done;
use crate::prepared::Jobs;
use crate::reducers::{Merged, Reducers};

/// A credited shard with who executed it, with what, and under which attestation.
struct Execution {
    batch: Hash,
    claim: Claim,
    agent: NodeId,
    backend: String,
    stage: u64,
}

/// Why nothing was reduced.
enum NotReduced {
    /// These batches' blobs are not what was claimed, or are missing.
    Blobs(Bad),
    /// Anything else.
    Fault(String),
}

/// Batches that cannot be reduced, with the blobs at fault and what is wrong with the first.
#[derive(Default)]
struct Bad {
    unfit: BTreeMap<Hash, String>,
    lacking: BTreeMap<Hash, String>,
    blobs: Vec<Hash>,
}

impl Bad {
    /// The bytes at this address are not what the batch claims: no other copy would be.
    fn unfit(&mut self, batch: Hash, detail: String) {
        self.unfit.entry(batch).or_insert(detail);
    }

    /// There is no such blob here, or it has rotted.
    fn lacking(&mut self, batch: Hash, blob: Hash, detail: String) {
        self.lacking.entry(batch).or_insert(detail);
        self.blobs.push(blob);
    }

    fn into_result(self) -> Result<(), NotReduced> {
        if self.unfit.is_empty() && self.lacking.is_empty() { Ok(()) } else { Err(NotReduced::Blobs(self)) }
    }

    /// What is unfit comes first: nothing needs to be fetched to know it.
    fn into_done(self) -> Done {
        let of = |bad: BTreeMap<Hash, String>| {
            let detail = bad.values().next().cloned().unwrap_or_default();
            (bad.into_keys().collect(), detail)
        };
        if self.unfit.is_empty() {
            let (batches, detail) = of(self.lacking);
            return Done::Lacking { batches, blobs: self.blobs, detail };
        }
        let (batches, detail) = of(self.unfit);
        Done::Unfit { batches, detail }
    }
}

impl From<String> for NotReduced {
    fn from(detail: String) -> Self {
        NotReduced::Fault(detail)
    }
}

/// Reduces the current stage of `record`, and holds every stage before it against what follows from those before it: a
/// record that went on beyond its stop, or stopped before it, is refused.
pub fn reduce(
    record: &JobRecord,
    jobs: &Jobs,
    reducers: &Reducers,
    storage: &impl Blobs,
) -> Result<Done, String> {
    match try_reduce(record, jobs, reducers, storage) {
        Ok(done) => Ok(done),
        Err(NotReduced::Fault(detail)) => Err(detail),
        Err(NotReduced::Blobs(bad)) => Ok(bad.into_done()),
    }
}

fn try_reduce(
    record: &JobRecord,
    jobs: &Jobs,
    reducers: &Reducers,
    storage: &impl Blobs,
) -> Result<Done, NotReduced> {
    let job = jobs.get(&record.contract).map_err(|error| error.to_string())?;
    let executions = executions(record, storage)?;
    let outcome = match reduce_stages(record, &job, &executions, reducers, storage)? {
        Reduction::Failed(failure) => {
            return Ok(Done::Reduced { outcome: Outcome::Failed(failure), artifacts: Vec::new() });
        }
        Reduction::Next(run) => {
            return Ok(Done::Reduced { outcome: Outcome::Next(run), artifacts: Vec::new() });
        }
        Reduction::Final(outcome) => outcome,
    };
    let result_hash = outcome.body.hash();
    let render = |kind: &ArtifactKind| match kind {
        ArtifactKind::ResultJson => job.result_json(&outcome),
        ArtifactKind::ExecutionsJson => executions_json(record, &job, &executions),
        ArtifactKind::MetricsJson => metrics_json(record, &executions, &outcome),
        ArtifactKind::VerificationJson => verification_json(record),
    };
    let rendered: Vec<(ArtifactKind, Vec<u8>)> =
        record.terms.artifacts.include.iter().map(|kind| (*kind, pretty(&render(kind)))).collect();
    let artifact = |(kind, bytes): &(ArtifactKind, Vec<u8>)| Artifact {
        kind: *kind,
        bytes: bytes.len() as u64,
        blake3: Hash::blob(bytes),
        sha256: Hash(Sha256::digest(bytes).into()),
    };
    let result = FinalResult {
        stop_leaf: outcome.body.work.leaves,
        result_hash,
        work: outcome.body.work.clone(),
        artifacts: rendered.iter().map(artifact).collect(),
    };
    let artifacts = rendered.into_iter().map(|(_, bytes)| bytes).collect();
    Ok(Done::Reduced { outcome: Outcome::Final(result), artifacts })
}

fn reduce_stages(
    record: &JobRecord,
    job: &Job,
    executions: &[Execution],
    reducers: &Reducers,
    storage: &impl Blobs,
) -> Result<Reduction, NotReduced> {
    let last = record.runs.len() - 1;
    let (mut reducer, mut next, first) = match reducers.take(&key(record, executions, last)) {
        Some(merged) => (merged.reducer, merged.next, last),
        None => (Reducer::default(), job.first_run(), 0),
    };
    for (i, run) in record.runs.iter().enumerate().skip(first) {
        if *run != next {
            return Err(format!("stage {i} is not the one that follows from the stages before it").into());
        }
        let of_stage = executions.iter().filter(|execution| execution.stage == run.number);
        let total = merge(job, run, of_stage, storage)?;
        next = match reducer.push(job, run, total).map_err(|error| error.to_string())? {
            Reduction::Next(next) => next,
            end if i == last => return Ok(end),
            _ => return Err(format!("the job ends with stage {i}, and more stages were executed").into()),
        };
    }
    reducers.keep(key(record, executions, last + 1), Merged { reducer, next: next.clone() });
    Ok(Reduction::Next(next))
}

/// What the first so many stages of a job were merged from.
fn key(record: &JobRecord, executions: &[Execution], stages: usize) -> Hash {
    let of_stages = executions.iter().filter(|execution| execution.stage < stages as u64);
    let merged: Vec<_> = of_stages.map(|e| (e.stage, e.claim.shard, e.claim.totals, e.claim.blob)).collect();
    Hash::blob(&canon::to_bytes(&(record.plan.contract, &record.runs[..stages], merged)))
}

/// JSON for people: indented, keys sorted, a line feed at the end.
pub fn pretty(value: &Value) -> Vec<u8> {
    let mut bytes =
        serde_json::to_vec_pretty(value).expect("invariant: artifacts have text keys and finite numbers");
    bytes.push(b'\n');
    bytes
}

fn executions(record: &JobRecord, storage: &impl Blobs) -> Result<Vec<Execution>, NotReduced> {
    let (mut out, mut bad) = (Vec::new(), Bad::default());
    for batch in &record.batches {
        let attestation = &batch.attestation.body;
        let members = attestation.members;
        let claims = match storage.blob(&members) {
            Ok(bytes) => decode_claims(&bytes),
            Err(BlobError::Disk(detail)) => return Err(NotReduced::Fault(detail)),
            Err(gone) => {
                bad.lacking(batch.digest, members, gone.to_string());
                continue;
            }
        };
        let claims = match claims {
            Ok(claims) => claims,
            Err(error) => {
                bad.unfit(batch.digest, format!("the claims blob: {error}"));
                continue;
            }
        };
        let credited: BTreeSet<u64> = batch.credited.iter().collect();
        for claim in claims.into_iter().filter(|claim| credited.contains(&claim.shard)) {
            let (agent, backend) = (attestation.agent, attestation.backend.clone());
            out.push(Execution { batch: batch.digest, claim, agent, backend, stage: attestation.stage });
        }
    }
    bad.into_result()?;
    out.sort_by_key(|execution| (execution.stage, execution.claim.shard));
    Ok(out)
}

fn merge<'a>(
    job: &Job,
    run: &StageRun,
    executions: impl Iterator<Item = &'a Execution>,
    storage: &impl Blobs,
) -> Result<Accumulator, NotReduced> {
    let (mut bad, mut fault) = (Bad::default(), None);
    let mut shard = |execution: &Execution| {
        let claim = &execution.claim;
        let shard = claim.shard;
        match storage.blob(&claim.blob) {
            Ok(bytes) => {
                let decoded = job.decode(run, claim, &bytes);
                decoded.map_err(|error| bad.unfit(execution.batch, format!("shard {shard}: {error}"))).ok()
            }
            Err(BlobError::Disk(detail)) => {
                fault.get_or_insert(detail);
                None
            }
            Err(gone) => {
                bad.lacking(execution.batch, claim.blob, format!("shard {shard}: {gone}"));
                None
            }
        }
    };
    let empty = job.empty(run).map_err(|error| error.to_string())?;
    let total = Accumulator::merge_all(empty, executions.filter_map(&mut shard));
    if let Some(detail) = fault {
        return Err(NotReduced::Fault(detail));
    }
    bad.into_result()?;
    Ok(total.map_err(|error| error.to_string())?)
}

fn executions_json(record: &JobRecord, job: &Job, executions: &[Execution]) -> Value {
    let execution = |execution: &Execution| {
        let claim = &execution.claim;
        let run = record.stage_run(execution.stage)?;
        let task = job.task(run, claim.shard).ok()?;
        Some(json!({
            "agent_id": execution.agent,
            "stage": execution.stage,
            "shard_id": claim.shard,
            "first_path": task.paths.start,
            "paths": task.paths.end - task.paths.start,
            "seed": job.shard_seed(&task),
            "result_hash": claim.shard_digest(),
            "backend": execution.backend,
            "wall_us": claim.wall_us,
            "cpu_us": claim.cpu_us,
        }))
    };
    executions.iter().filter_map(execution).collect()
}

fn metrics_json(record: &JobRecord, executions: &[Execution], result: &FinalOutput) -> Value {
    let sum = |of: fn(&Claim) -> u64| executions.iter().map(|execution| of(&execution.claim)).sum::<u64>();
    let cpu_us = sum(|claim| claim.cpu_us);
    json!({
        "job_id": record.id,
        "accepted_ms": record.accepted_ms,
        "stages": record.runs.len(),
        "shards": executions.len(),
        "attestations": record.batches.len(),
        "iterations": result.body.work.iterations,
        "shard_wall_us": sum(|claim| claim.wall_us),
        "shard_cpu_us": cpu_us,
        "estimate_us": record.plan.estimate_ns / 1000,
        "note": "observations of the executing nodes: they decide no bit of the result",
    })
}

fn verification_json(record: &JobRecord) -> Value {
    let batch = |batch: &forgemesh_consensus::job::Batch| {
        json!({
            "attestation": batch.digest,
            "agent_id": batch.attestation.body.agent,
            "seq": batch.attestation.body.seq,
            "stage": batch.attestation.body.stage,
            "shards": batch.credited,
            "beacon": batch.reveal.as_ref().map(|reveal| reveal.value),
            "checker": batch.verdict.as_ref().map(|verdict| verdict.body.checker),
            "checked_leaves": batch.verdict.as_ref().map(|verdict| verdict.body.checked),
            "mismatches": batch.verdict.as_ref().map(|verdict| &verdict.body.mismatches),
        })
    };
    let mut value =
        serde_json::to_value(settle::verification(record)).expect("invariant: text keys, no floats");
    value["batches"] = record.batches.iter().map(batch).collect();
    if !record.set_aside.is_empty() {
        let set_aside = |aside: &SetAside| {
            let mut value = batch(&aside.batch);
            value["reason"] = json!(aside.reason);
            value
        };
        value["set_aside"] = record.set_aside.iter().map(set_aside).collect();
        value["convicted"] = json!(record.convicted);
    }
    value
}
