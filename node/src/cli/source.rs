//! Where commands read jobs from: the node that runs on the data folder, or the folder itself.

use std::collections::BTreeMap;

use forgemesh_consensus::job::JobRecord;
use forgemesh_protocol::envelope::ArtifactKind;
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{Answered, Client};
use super::error::CliError;
use super::home::{self, Home};
use super::lookup::{self, Listed, Which};
use super::view::{self, JobView};
use super::{Common, say};
use crate::boot;
use crate::bundle;
use crate::job_file::JobFile;
use crate::real::control::request::Request;

/// A node, or a folder that no node uses.
pub enum Source {
    Node(Client),
    Folder(Home),
}

/// A job that was found.
pub enum Found {
    Final(Box<JobView>),
    Open(Box<JobRecord>),
    Refused(Value),
}

/// What a node says of what it attaches, in this order: the record, then the artifacts.
#[derive(Deserialize)]
struct Fetched {
    kind: String,
    #[serde(default)]
    record: usize,
    #[serde(default)]
    artifacts: Vec<(ArtifactKind, usize)>,
    note: Option<String>,
    #[serde(default)]
    refusal: Value,
}

impl Source {
    /// The running node, else the data folder, which must be there.
    pub fn open(common: &Common) -> Result<Source, CliError> {
        match Client::find(common)? {
            Some(client) => Ok(Source::Node(client)),
            None => Ok(Source::Folder(home::open_existing(common)?)),
        }
    }

    /// Unfinished jobs, then final ones, newest first.
    pub fn jobs(&mut self, limit: usize) -> Result<Listed, CliError> {
        match self {
            Source::Node(client) => {
                let answered = client.ask(&Request::Jobs { limit: Some(limit) })?;
                let more = answered.value["more"] == Value::Bool(true);
                Ok(Listed { jobs: list(answered, "jobs"), more })
            }
            Source::Folder(home) => {
                let open = open_jobs(home)?;
                let done = lookup::final_jobs(&home.storage, Some(limit))?;
                let jobs = open.iter().map(view::open_job).chain(done.jobs).collect();
                Ok(Listed { jobs, more: done.more })
            }
        }
    }

    /// Refused envelopes.
    pub fn refusals(&mut self) -> Result<Vec<Value>, CliError> {
        match self {
            Source::Node(client) => Ok(list(client.ask(&Request::Refusals {})?, "refusals")),
            Source::Folder(home) => lookup::refusals(&home.storage),
        }
    }

    /// The job of that name.
    pub fn find(&mut self, name: &str) -> Result<Found, CliError> {
        let home = match self {
            Source::Node(client) => return fetched(client.ask(&Request::Fetch { job: name.to_owned() })?),
            Source::Folder(home) => home,
        };
        let mut open = open_jobs(home)?;
        let names: Vec<_> = open.iter().map(|job| (job.id, job.terms.ctx.job_id.clone())).collect();
        let (which, note) = lookup::which(&home.storage, &names, name)?;
        note.iter().for_each(|note| say(note));
        match which {
            Which::Refused(value) => Ok(Found::Refused(value)),
            Which::Open(id) => {
                open.retain(|job| job.id == id);
                open.pop().map(|job| Found::Open(Box::new(job))).ok_or(CliError::NoJob(name.to_owned()))
            }
            Which::Final(id) => {
                let view = JobView::read(&home.storage, &id)?.ok_or(CliError::NoJob(name.to_owned()))?;
                Ok(Found::Final(Box::new(view)))
            }
        }
    }

    /// A job that must be final.
    pub fn require_final(&mut self, name: &str) -> Result<JobView, CliError> {
        match self.find(name)? {
            Found::Final(view) => Ok(*view),
            Found::Open(record) => Err(CliError::NotFinal(record.id)),
            Found::Refused(_) => Err(CliError::NoJob(name.to_owned())),
        }
    }

    /// The bundle of a final job.
    pub fn bundle(&mut self, name: &str, view: &JobView) -> Result<Vec<u8>, CliError> {
        match self {
            Source::Node(client) => Ok(client.ask(&Request::Bundle { job: name.to_owned() })?.attached),
            Source::Folder(home) => Ok(bundle::pack(&home.storage, &view.file)?),
        }
    }
}

fn list(answered: Answered, name: &str) -> Vec<Value> {
    let Answered { mut value, .. } = answered;
    match value[name].take() {
        Value::Array(items) => items,
        _ => Vec::new(),
    }
}

/// The unfinished jobs of a data folder; none in the folder of a node that is no hub member.
pub fn open_jobs(home: &Home) -> Result<Vec<JobRecord>, CliError> {
    if home.is_guest()? {
        return Ok(Vec::new());
    }
    Ok(boot::hub(&home.storage, &home.secret)?
        .map(|hub| hub.state().open.values().cloned().collect())
        .unwrap_or_default())
}

fn fetched(answered: Answered) -> Result<Found, CliError> {
    let Answered { value, attached } = answered;
    let fetched: Fetched = serde_json::from_value(value).map_err(|_| CliError::Hung)?;
    fetched.note.iter().for_each(|note| say(note));
    let mut rest = &attached[..];
    let mut take = |length: usize| -> Result<&[u8], CliError> {
        let (head, tail) = rest.split_at_checked(length).ok_or(CliError::Hung)?;
        rest = tail;
        Ok(head)
    };
    match fetched.kind.as_str() {
        "final" => {
            let file = JobFile::decode(take(fetched.record)?)?;
            let mut artifacts = BTreeMap::new();
            for (kind, length) in fetched.artifacts {
                artifacts.insert(kind, take(length)?.to_vec());
            }
            Ok(Found::Final(Box::new(JobView { file, artifacts })))
        }
        "open" => Ok(Found::Open(Box::new(JobRecord::decode(take(fetched.record)?)?))),
        _ => Ok(Found::Refused(fetched.refusal)),
    }
}

/// The same, as the node's side says it: the object, and what is attached.
pub fn describe(found: &Found, note: Option<&str>) -> (Value, Vec<u8>) {
    match found {
        Found::Final(view) => {
            let mut attached = view.file.encode();
            let record = attached.len();
            let artifacts: Vec<_> = view.artifacts.iter().map(|(kind, bytes)| (kind, bytes.len())).collect();
            view.artifacts.values().for_each(|bytes| attached.extend_from_slice(bytes));
            (json!({ "kind": "final", "record": record, "artifacts": artifacts, "note": note }), attached)
        }
        Found::Open(job) => {
            let attached = job.encode();
            (json!({ "kind": "open", "record": attached.len(), "note": note }), attached)
        }
        Found::Refused(refusal) => (json!({ "kind": "refused", "refusal": refusal }), Vec::new()),
    }
}
