//! A final job read from the data folder, in the forms that commands print and write.

use std::collections::BTreeMap;
use std::path::Path;

use forgemesh_consensus::settle;
use forgemesh_protocol::envelope::ArtifactKind;
use forgemesh_protocol::id::JobId;
use forgemesh_storage::Storage;
use serde_json::{Value, json};

use super::error::CliError;
use crate::bundle::RECEIPT;
use crate::job_file::{JobFile, pointer_key};
use crate::reduce;

/// A final job with its artifacts.
pub struct JobView {
    pub file: JobFile,
    pub artifacts: BTreeMap<ArtifactKind, Vec<u8>>,
}

impl JobView {
    /// Reads a final job; none if there is no such job in the books.
    pub fn read(storage: &Storage, id: &JobId) -> Result<Option<JobView>, CliError> {
        let Some(record) = storage.job(&id.0)? else { return Ok(None) };
        let file = JobFile::decode(&record)?;
        let mut artifacts = BTreeMap::new();
        for artifact in file.finished.result.iter().flat_map(|result| &result.artifacts) {
            if let Some(bytes) = storage.blob(&artifact.blake3)? {
                artifacts.insert(artifact.kind, bytes);
            }
        }
        Ok(Some(JobView { file, artifacts }))
    }

    /// The job's id.
    pub fn id(&self) -> JobId {
        self.file.finished.record.id
    }

    /// The bytes of an artifact.
    pub fn artifact(&self, kind: ArtifactKind) -> Result<&[u8], CliError> {
        let missing = CliError::NoArtifact { job: self.id(), name: kind.as_str() };
        self.artifacts.get(&kind).map(Vec::as_slice).ok_or(missing)
    }

    /// The result's JSON, if it is kept.
    pub fn result(&self) -> Option<Value> {
        serde_json::from_slice(self.artifacts.get(&ArtifactKind::ResultJson)?).ok()
    }

    /// One JSON object with everything about the job.
    pub fn json(&self, receipt_path: Option<&Path>) -> Result<Value, CliError> {
        let finished = &self.file.finished;
        let record = &finished.record;
        let (_, statement) = forgemesh_protocol::receipt::Receipt::decode(&self.file.receipt.to_bytes())
            .map_err(|error| CliError::Usage(error.to_string()))?;
        let derived = &statement.predicate.build_definition.internal_parameters;
        let namespace = &record.terms.artifacts.kv_namespace;
        let artifact = |artifact: &forgemesh_protocol::vote::Artifact| {
            let pointer = format!("kv://{namespace}/{}", pointer_key(&record.id, artifact.kind));
            let kv = record.terms.artifacts.persist.then_some(pointer);
            json!({
                "kind": artifact.kind, "bytes": artifact.bytes, "blob": artifact.blake3,
                "sha256": artifact.sha256, "kv": kv,
            })
        };
        let artifacts: Vec<Value> = finished.result.iter().flat_map(|r| &r.artifacts).map(artifact).collect();
        let rendered = self.result();
        let mut json = json!({
            "job_id": record.id,
            "client_job_id": record.terms.ctx.job_id,
            "state": record.state,
            "op": record.contract.op.to_string(),
            "contract_hash": derived.contract_hash,
            "result_hash": finished.result.as_ref().map(|result| result.result_hash),
            "replay_key": derived.replay_key,
            "root_seed": derived.root_seed,
            "receipt": {
                "digest": statement.digest(),
                "mesh_id": statement.predicate.mesh.id,
                "signers": self.file.receipt.signatures.iter().map(|s| s.keyid).collect::<Vec<_>>(),
                "ledger_seq": finished.entry.seq,
                "path": receipt_path.map(|path| path.display().to_string()),
            },
            "output": rendered.as_ref().map(|result| result["output"].clone()),
            "work": finished.result.as_ref().map(|result| &result.work),
            "verification": settle::verification(record),
            "checked_leaves": super::checks::json(record),
            "failure": finished.failure,
            "artifacts": artifacts,
        });
        if let Some(convergence) = rendered.and_then(|result| result.get("convergence").cloned()) {
            json["convergence"] = convergence;
        }
        Ok(json)
    }

    /// Writes receipt, artifacts and picture into a folder, each file whole or not at all.
    pub fn write(&self, folder: &Path) -> Result<(), CliError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| CliError::Write { path, source }
        };
        std::fs::create_dir_all(folder).map_err(failed(folder))?;
        let mut files: Vec<(String, Vec<u8>)> = vec![(RECEIPT.to_owned(), self.file.receipt.to_bytes())];
        for (kind, bytes) in &self.artifacts {
            files.push((kind.file_name().to_owned(), bytes.clone()));
        }
        if let Some(svg) = self.result().and_then(|result| super::render::picture(self, &result)) {
            files.push(("loss.png".to_owned(), crate::picture::png(&svg)?));
            files.push(("loss.svg".to_owned(), svg.into_bytes()));
        }
        for (name, bytes) in files {
            let (path, draft) = (folder.join(&name), folder.join(format!(".{name}.part")));
            std::fs::write(&draft, bytes).map_err(failed(&draft))?;
            std::fs::rename(&draft, &path).map_err(failed(&path))?;
        }
        Ok(())
    }
}

/// JSON for `--json` listings of a job that is not final.
pub fn open_job(record: &forgemesh_consensus::job::JobRecord) -> Value {
    json!({
        "job_id": record.id,
        "client_job_id": record.terms.ctx.job_id,
        "state": record.state,
        "op": record.contract.op.to_string(),
        "contract_hash": record.plan.contract,
        "accepted_ms": record.accepted_ms,
        "stage": record.run().number,
        "attested_shards": record.attested.len(),
        "shards": record.run().stage.shards(),
    })
}

/// Compact text of a JSON value, for tables.
pub fn pretty(value: &Value) -> String {
    String::from_utf8(reduce::pretty(value)).unwrap_or_default().trim_end().to_owned()
}
