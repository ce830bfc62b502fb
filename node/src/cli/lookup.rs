//! Jobs by the names that people give them, and as the rows of a list: the same for a closed data folder and for a node
//! that runs.

use forgemesh_protocol::id::JobId;
use forgemesh_storage::Storage;
use serde_json::{Value, json};

use super::error::CliError;
use crate::job_file::JobFile;

/// Jobs listed where nobody says how many.
pub const LISTED: usize = 200;
/// Jobs listed at most.
pub const LISTED_MOST: usize = 1_000;

/// What is said of what may change while nobody leads.
pub const AS_LAST_KNOWN: &str =
    "the hub has no leader that a majority follows; this is what the node last knew";

/// A job that is not final: its id, and its client's own name for it.
pub type OpenName = (JobId, Option<String>);

/// What a name stands for.
pub enum Which {
    Final(JobId),
    Open(JobId),
    Refused(Value),
}

/// By id, by the beginning of an id, or by the client's own name. The second is a note for people, if there is one.
pub fn which(storage: &Storage, open: &[OpenName], name: &str) -> Result<(Which, Option<String>), CliError> {
    let hex = is_prefix(name);
    let mut open: Vec<JobId> = open.iter().filter(|open| is_called(open, name)).map(|(id, _)| *id).collect();
    let (mut ids, mut note): (Vec<JobId>, _) = (Vec::new(), None);
    if hex {
        ids.extend(storage.jobs_by_prefix(name, 2)?.iter().map(|row| JobId(row.id)));
    }
    // A job may become final between the two looks.
    open.retain(|id| !ids.contains(id));
    if ids.is_empty() && open.is_empty() {
        let found = by_client_name(storage, name)?;
        ids.extend(found.map(|(id, _)| id));
        if found.is_some_and(|(_, others)| others) {
            note = Some(format!(
                "more than one job is called \"{name}\"; this is the newest (`forgemesh job ls --json` has the ids of all)"
            ));
        }
    }
    if ids.len() + open.len() > 1 {
        return Err(CliError::ManyJobs(name.to_owned()));
    }
    if let Some(id) = open.pop() {
        return Ok((Which::Open(id), None));
    }
    if let Some(id) = ids.pop() {
        return Ok((Which::Final(id), note));
    }
    let named = |id: String| hex && id.starts_with(name);
    let refused = storage.refusals(usize::MAX)?.into_iter().find(|row| named(row.id.to_string()));
    match refused.and_then(|row| serde_json::from_slice(&row.record).ok()) {
        Some(record) => Ok((Which::Refused(record), None)),
        None => Err(CliError::NoJob(name.to_owned())),
    }
}

/// May this be the beginning of an id?
fn is_prefix(name: &str) -> bool {
    name.len() >= 4 && name.len() <= 64 && name.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Does this name stand for that unfinished job?
pub fn is_called((id, client): &OpenName, name: &str) -> bool {
    (is_prefix(name) && id.to_string().starts_with(name)) || client.as_deref() == Some(name)
}

/// The newest final job that its client called so, and whether there are more of that name.
fn by_client_name(storage: &Storage, name: &str) -> Result<Option<(JobId, bool)>, CliError> {
    let (mut before, mut newest) = (None, None);
    loop {
        let page = storage.jobs(before, LISTED)?;
        let Some(last) = page.last() else { return Ok(newest.map(|id| (id, false))) };
        before = Some(last.seq);
        for row in page {
            let record = JobFile::decode(&row.record)?.finished.record;
            if record.terms.ctx.job_id.as_deref() != Some(name) {
                continue;
            }
            if let Some(newest) = newest {
                return Ok(Some((newest, true)));
            }
            newest = Some(record.id);
        }
    }
}

/// Jobs, newest first.
pub struct Listed {
    pub jobs: Vec<Value>,
    /// Whether there are older ones.
    pub more: bool,
}

/// So many of the newest final jobs.
pub fn final_jobs(storage: &Storage, limit: Option<usize>) -> Result<Listed, CliError> {
    let row = |file: JobFile| {
        let finished = &file.finished;
        json!({
            "job_id": finished.record.id, "client_job_id": finished.record.terms.ctx.job_id,
            "state": finished.record.state, "op": finished.record.contract.op.to_string(),
            "finished_ms": finished.entry.at_ms, "result_hash": finished.entry.result_hash,
            "failure": finished.failure,
        })
    };
    let limit = limit.unwrap_or(LISTED).min(LISTED_MOST);
    let files = storage.jobs(None, limit + 1)?;
    let rows = files.iter().take(limit).map(|file| Ok(row(JobFile::decode(&file.record)?)));
    Ok(Listed { jobs: rows.collect::<Result<_, CliError>>()?, more: files.len() > limit })
}

/// The newest refused envelopes.
pub fn refusals(storage: &Storage) -> Result<Vec<Value>, CliError> {
    let rows = storage.refusals(LISTED)?;
    Ok(rows.iter().filter_map(|row| serde_json::from_slice(&row.record).ok()).collect())
}
