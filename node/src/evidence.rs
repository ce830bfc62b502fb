//! Checks a receipt, and whatever of its evidence is at hand, offline: no network, no clock, no trust in any node.
//!
//! Nothing that can be computed is believed. Every check has a name, and a failed one says where.

use std::collections::BTreeMap;

use forgemesh_kernel::job::Job;
use forgemesh_kernel::registry;
use forgemesh_protocol::canon::{self, Bytes};
use forgemesh_protocol::charter::{Amendment, Charters};
use forgemesh_protocol::contract::{ResultBody, Work};
use forgemesh_protocol::envelope::{ArtifactKind, Verify, canonical_json};
use forgemesh_protocol::genesis::Genesis;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::MeshId;
use forgemesh_protocol::json::Json;
use forgemesh_protocol::keys::Signed;
use forgemesh_protocol::limits;
use forgemesh_protocol::receipt::{Digests, Independence, Receipt, Statement, Subject, Verification};
use forgemesh_protocol::state::State;
use forgemesh_protocol::submission::Submission;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::stop;

/// What came of one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It holds.
    Ok,
    /// It does not.
    Failed,
    /// What it needs is not here.
    NotChecked,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Stable, for programs: `receipt.signatures`, `artifact.result.json`, ….
    pub name: String,
    pub status: Status,
    /// What was found, and where.
    pub detail: String,
}

/// All checks, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    pub checks: Vec<Check>,
}

impl Report {
    /// Notes a check.
    pub fn note(&mut self, name: impl Into<String>, status: Status, detail: impl Into<String>) {
        self.checks.push(Check { name: name.into(), status, detail: detail.into() });
    }

    /// Notes whether something holds.
    pub fn expect(
        &mut self,
        name: impl Into<String>,
        holds: bool,
        detail: impl Into<String>,
        otherwise: impl Into<String>,
    ) {
        if holds {
            self.note(name, Status::Ok, detail);
        } else {
            self.note(name, Status::Failed, otherwise);
        }
    }

    /// What failed, a line each.
    pub fn failures(&self) -> String {
        let failed = self.checks.iter().filter(|check| check.status == Status::Failed);
        failed.map(|check| format!("  {}: {}", check.name, check.detail)).collect::<Vec<_>>().join("\n")
    }

    /// Did no check fail?
    pub fn is_ok(&self) -> bool {
        self.checks.iter().all(|check| check.status != Status::Failed)
    }
}

/// A receipt that was read, and everything computed from it.
pub struct Examined {
    pub receipt: Receipt,
    pub statement: Statement,
    pub charters: Charters,
    pub job: Job,
}

/// Checks a receipt file by itself. `pinned` is the mesh that the reader trusts. None if it cannot even be read.
pub fn examine(file: &[u8], pinned: Option<MeshId>, report: &mut Report) -> Option<Examined> {
    let (receipt, statement) = match Receipt::decode(file) {
        Ok(parts) => parts,
        Err(error) => {
            report.note("receipt.encoding", Status::Failed, error.to_string());
            return None;
        }
    };
    report.note("receipt.encoding", Status::Ok, format!("canonical; receipt {}", statement.digest()));
    let charters = check_mesh(&statement, pinned, report)?;
    check_signatures(&receipt, &charters, report);
    let job = check_contract(&statement, report)?;
    check_submission(&statement, &job, report);
    check_story(&statement, &job, charters.genesis().parameters.spotcheck_ppm, report);
    Some(Examined { receipt, statement, charters, job })
}

fn check_mesh(statement: &Statement, pinned: Option<MeshId>, report: &mut Report) -> Option<Charters> {
    let mesh = &statement.predicate.mesh;
    let genesis = match Genesis::decode(&mesh.genesis.0) {
        Ok(genesis) => genesis,
        Err(error) => {
            report.note("receipt.genesis", Status::Failed, error.to_string());
            return None;
        }
    };
    let (id, builder) = (genesis.mesh_id(), &statement.predicate.run_details.builder.id);
    let same = id == mesh.id && *builder == format!("urn:forgemesh:mesh:{id}");
    report.expect(
        "receipt.genesis",
        same,
        format!("genesis of mesh {id} (\"{}\")", forgemesh_protocol::json::printable(&genesis.name)),
        format!("the genesis is that of mesh {id}, the receipt names {}", mesh.id),
    );
    match pinned {
        None => report.note(
            "authenticity",
            Status::NotChecked,
            format!("unpinned: anyone can make a mesh; compare the mesh id with one you trust, or give --mesh {id}"),
        ),
        Some(pinned) => report.expect(
            "authenticity",
            pinned == id,
            format!("pinned to mesh {id}"),
            format!("the receipt is of mesh {id}, not of the pinned mesh {pinned}"),
        ),
    }
    if !same {
        return None;
    }
    let read = |bytes: &Bytes| canon::from_bytes::<Amendment>(&bytes.0, limits::RECEIPT_BYTES);
    let amendments: Result<Vec<Amendment>, _> = mesh.amendments.iter().map(read).collect();
    let charters = match amendments {
        Ok(amendments) => Charters::read(genesis, amendments).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    let amended = mesh.amendments.len();
    if amended > 0 {
        let detail =
            format!("the hub's admitted keys after {amended} changes, each signed by those before it");
        report.expect(
            "receipt.charter",
            charters.is_ok(),
            detail,
            charters.as_ref().err().cloned().unwrap_or_default(),
        );
    }
    charters.ok()
}

fn check_signatures(receipt: &Receipt, charters: &Charters, report: &mut Report) {
    let message = receipt.signed_message();
    let mut signers = std::collections::BTreeSet::new();
    for signature in &receipt.signatures {
        let name = format!("receipt.signature.{}", signature.keyid.0.short());
        let Some(member) = charters.current().node(&signature.keyid) else {
            let detail = format!("key {} is not a hub member of this mesh", signature.keyid);
            report.note(name, Status::Failed, detail);
            continue;
        };
        match member.key.verify_raw(&message, &signature.sig) {
            Err(error) => report.note(name, Status::Failed, error.to_string()),
            Ok(()) if signers.insert(signature.keyid) => {
                report.note(name, Status::Ok, format!("signed by hub member {}", signature.keyid));
            }
            Ok(()) => report.note(name, Status::Failed, "one member signed twice"),
        }
    }
    let (count, members) = (signers.len(), charters.current().seats);
    report.expect(
        "receipt.quorum",
        count >= charters.current().quorum(),
        format!("{count} of {members} hub members signed"),
        format!("only {count} of {members} hub members signed validly; a majority is needed"),
    );
}

fn check_contract(statement: &Statement, report: &mut Report) -> Option<Job> {
    let definition = &statement.predicate.build_definition;
    let parameters = &definition.external_parameters;
    let json = canonical_json(&parameters.op, &parameters.args, &parameters.seed, &parameters.terms);
    let job = match Job::read(&canon::to_json(&json)) {
        Ok((job, terms)) if job.envelope(&terms) == canon::to_json(&json) => job,
        Ok(_) => {
            report.note("contract.canonical", Status::Failed, "the contract is not in its canonical form");
            return None;
        }
        Err(problems) => {
            report.note("contract.canonical", Status::Failed, problems.to_string());
            return None;
        }
    };
    let kind = format!("urn:forgemesh:op:{}", parameters.op);
    report.expect(
        "contract.canonical",
        definition.build_type == kind && definition.resolved_dependencies.is_empty(),
        format!("{} in canonical form", parameters.op),
        format!("the build type is not {kind}"),
    );
    let found = &definition.internal_parameters;
    let mut equal = |name: &str, computed: Hash, stated: Hash| {
        report.expect(
            format!("contract.{name}"),
            computed == stated,
            format!("{computed}, computed again"),
            format!("the receipt states {stated}, the contract gives {computed}"),
        );
    };
    equal("contract_hash", job.plan().contract, found.contract_hash);
    equal("args_hash", job.contract().args_hash(), found.args_hash);
    equal("root_seed", job.root_seed(), found.root_seed);
    equal("numerics_id", job.numerics_id(), found.numerics_id);
    equal("replay_key", job.replay_key(), found.replay_key);
    equal("plan_hash", job.plan().hash(), found.plan_hash);
    report.expect(
        "contract.reduction",
        found.reduction == forgemesh_protocol::receipt::REDUCTION,
        found.reduction.clone(),
        "another reduction than this program's",
    );
    Some(job)
}

fn check_submission(statement: &Statement, job: &Job, report: &mut Report) {
    let predicate = &statement.predicate;
    let metadata = &predicate.run_details.metadata;
    let body = Submission {
        envelope: Bytes(job.envelope(&predicate.build_definition.external_parameters.terms)),
        offer: metadata.offer.clone(),
        nonce: metadata.nonce.clone(),
        expires_ms: metadata.expires_ms,
    };
    let signed = Signed { body, key: metadata.submitter, signature: metadata.signature };
    let id = signed.job_id(predicate.mesh.id);
    report.expect(
        "submission.job_id",
        id == metadata.job_id,
        id.to_string(),
        format!("the receipt states {}, the submission gives {id}", metadata.job_id),
    );
    match signed.verify(predicate.mesh.id) {
        Ok(()) => {
            report.note("submission.signature", Status::Ok, format!("signed by {}", metadata.submitter.id()))
        }
        Err(error) => report.note("submission.signature", Status::Failed, error.to_string()),
    }
}

/// What the receipt tells must hang together.
fn check_story(statement: &Statement, job: &Job, ppm: u64, report: &mut Report) {
    let predicate = &statement.predicate;
    let metadata = &predicate.run_details.metadata;
    let outcome = match (predicate.state, &predicate.result, &predicate.failure) {
        (State::Finalized, Some(result), None) => {
            let (plan, work) = (job.plan(), &result.work);
            let whole = plan.is_stop(work.leaves) && work.iterations == plan.paths_before(work.leaves);
            let told = match stop::describe(plan, work, None) {
                Some(stopped) => format!("finalized, {stopped}"),
                None => "finalized".to_owned(),
            };
            (whole && work.excluded.total() <= work.iterations / 1_000).then_some(told)
        }
        (State::Failed, None, Some(failure)) => {
            (failure.phase == failure.code.phase()).then(|| format!("failed: {failure}"))
        }
        _ => None,
    };
    let times = metadata.accepted_ms <= metadata.finished_ms && metadata.accepted_ms < metadata.expires_ms;
    report.expect(
        "receipt.outcome",
        outcome.is_some() && times && predicate.protocol == forgemesh_protocol::limits::PROTOCOL_VERSION,
        outcome.clone().unwrap_or_default(),
        "state, result, failure and times contradict each other",
    );
    let found = &predicate.verification;
    let mode = predicate.build_definition.external_parameters.terms.policy.verify;
    let expected =
        Verification::new(mode, found.independence, found.leaves, found.checked_leaves, found.mismatches);
    let (leaves, checked) = (u128::from(found.leaves), u128::from(found.checked_leaves));
    let enough = match mode {
        Verify::None => checked == 0,
        Verify::Full => checked == leaves,
        Verify::Spotcheck => checked <= leaves && checked * 1_000_000 >= leaves * u128::from(ppm),
    };
    let reduced = predicate.result.as_ref().map_or(0, |result| result.work.leaves);
    let whole = found.leaves >= reduced && enough && found.mismatches == 0;
    let holds = expected == *found && (predicate.result.is_none() || whole);
    report.expect("receipt.verification", holds, told(found), "the verification record contradicts itself");
    let subject = |artifact: &forgemesh_protocol::vote::Artifact| Subject {
        name: artifact.kind.file_name().to_owned(),
        digest: Digests { blake3: artifact.blake3, sha256: artifact.sha256 },
    };
    let subjects: Vec<Subject> = predicate.artifacts.iter().map(subject).collect();
    report.expect(
        "receipt.subject",
        subjects == statement.subject,
        format!("{} artifacts", subjects.len()),
        "the subject does not name the artifacts",
    );
}

/// The verification record's sentence. Of a job that is self-attested the record does not say who checked what.
fn told(found: &Verification) -> String {
    let Verification { mode, independence, leaves, checked_leaves, .. } = found;
    match (mode, independence) {
        (Verify::Spotcheck | Verify::Full, Independence::SelfAttested) if *checked_leaves > 0 => format!(
            "self-attested: {checked_leaves} of {leaves} leaves were executed again, and not everything was checked by another \
             node; this finds faults, and protects against no one who runs a node that nobody else checked"
        ),
        _ => found.claim.clone(),
    }
}

/// Checks the artifacts that are at hand, by their file names, and the result hash if the result is among them.
pub fn check_artifacts(examined: &Examined, files: &BTreeMap<String, Vec<u8>>, report: &mut Report) {
    for artifact in &examined.statement.predicate.artifacts {
        let file_name = artifact.kind.file_name();
        let name = format!("artifact.{file_name}");
        let Some(bytes) = files.get(file_name) else {
            report.note(name, Status::NotChecked, "not beside the receipt");
            continue;
        };
        let (blake3, sha256) = (Hash::blob(bytes), Hash(Sha256::digest(bytes).into()));
        let detail = if bytes.len() as u64 != artifact.bytes {
            Some(format!("{} bytes, the receipt says {}", bytes.len(), artifact.bytes))
        } else if blake3 != artifact.blake3 {
            Some(format!("its blake3 is {blake3}, the receipt says {}", artifact.blake3))
        } else if sha256 != artifact.sha256 {
            Some(format!("its sha256 is {sha256}, the receipt says {}", artifact.sha256))
        } else {
            None
        };
        match detail {
            Some(detail) => report.note(name, Status::Failed, detail),
            None => {
                report.note(name, Status::Ok, format!("{} bytes, blake3 {}", bytes.len(), blake3.short()))
            }
        }
        if artifact.kind == ArtifactKind::ResultJson {
            check_result(examined, bytes, report);
        }
    }
}

fn check_result(examined: &Examined, bytes: &[u8], report: &mut Report) {
    let name = "result.result_hash";
    let Some(stated) = examined.statement.predicate.result.as_ref() else { return };
    let (body, mean) = match result_body(&examined.job, bytes) {
        Err(detail) => return report.note(name, Status::Failed, detail),
        Ok(read) => read,
    };
    let hash = body.hash();
    report.expect(
        name,
        hash == stated.result_hash,
        format!("{hash}, computed again from result.json"),
        format!("result.json gives {hash}, the receipt states {}", stated.result_hash),
    );
    let convergence = body.convergence.as_ref();
    match stop::contradiction(&examined.job, &body.work, convergence, mean) {
        Some(detail) => report.note("result.convergence", Status::Failed, detail),
        None => {
            if let Some(told) = stop::describe(examined.job.plan(), &body.work, convergence) {
                report.note("result.convergence", Status::Ok, told);
            }
        }
    }
}

/// What a rendered result is the rendering of, and the mean that it states, if it has one.
fn result_body(job: &Job, bytes: &[u8]) -> Result<(ResultBody, Option<f64>), String> {
    let mut json = Json::parse_value(bytes).map_err(|problems| format!("result.json: {problems}"))?;
    let profile = registry::find(&job.contract().op).ok_or("no such profile")?;
    let output = profile.encode_output(&json["output"]).map_err(|error| error.to_string())?;
    let mut take = |field: &str| json.get_mut(field).map(Value::take);
    let work: Work =
        serde_json::from_value(take("work").unwrap_or_default()).map_err(|error| format!("work: {error}"))?;
    let convergence = take("convergence").map(serde_json::from_value).transpose();
    let convergence = convergence.map_err(|error| format!("convergence: {error}"))?;
    let body = ResultBody { contract: job.plan().contract, output: Bytes(output), work, convergence };
    Ok((body, json["output"]["mean"].as_f64()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn that_nobody_else_checked_is_said_as_far_as_the_record_knows() {
        let record = |mode, independence, checked| Verification::new(mode, independence, 10, checked, 0);
        for (mode, checked) in [(Verify::Spotcheck, 4), (Verify::Full, 10)] {
            let text = told(&record(mode, Independence::SelfAttested, checked));
            let begins =
                format!("self-attested: {checked} of 10 leaves were executed again, and not everything was");
            assert!(text.starts_with(&begins), "{text}");
        }
        for (mode, independence, checked) in [
            (Verify::None, Independence::SelfAttested, 0),
            (Verify::Spotcheck, Independence::SelfAttested, 0),
            (Verify::Spotcheck, Independence::SameOperator, 4),
            (Verify::Full, Independence::DistinctOperators, 10),
        ] {
            let found = record(mode, independence, checked);
            assert_eq!(told(&found), found.claim, "nothing is left open");
        }
    }
}
