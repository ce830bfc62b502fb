//! `forgemesh job` and `forgemesh receipt`: what this node has done, and the evidence of it.

use std::path::PathBuf;

use clap::Subcommand;
use forgemesh_consensus::job::JobRecord;
use forgemesh_protocol::envelope::ArtifactKind;
use forgemesh_protocol::id::JobId;
use serde_json::{Value, json};

use super::error::CliError;
use super::home::{self, Home};
use super::reopen::surviving_io_errors;
use super::view::{self, JobView};
use super::{Common, cancel, embedded, print, print_json, render};
use crate::boot;
use crate::bundle;
use crate::job_file::JobFile;

/// Jobs listed at most.
const LISTED: usize = 200;

/// What to do with jobs.
#[derive(Subcommand)]
pub enum JobCommand {
    /// List jobs, newest first; unfinished ones above.
    Ls {
        /// List refused envelopes instead.
        #[arg(long)]
        refused: bool,
    },
    /// Everything about a job (or a refusal).
    Show {
        /// Its id, the beginning of it, or the `ctx.job_id` given by its client.
        job: String,
    },
    /// Its result.json.
    Result { job: String },
    /// Its executions.json: who executed which shard, from which seed, with which digest.
    Executions { job: String },
    /// Its receipt.json.
    Receipt { job: String },
    /// Finish every unfinished job.
    Resume,
    /// Give an unfinished job up.
    Cancel { job: String },
}

/// What to do with receipts.
#[derive(Subcommand)]
pub enum ReceiptCommand {
    /// Pack everything an auditor needs into one file.
    Bundle {
        /// The job's id, or the beginning of it.
        job: String,
        /// The file to write.
        #[arg(long, short, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

/// A job that was found.
enum Found {
    Final(Box<JobView>),
    Open(Box<JobRecord>),
    Refused(Value),
}

/// Does what was asked for.
pub fn job(common: &Common, command: &JobCommand) -> Result<(), CliError> {
    let home = home::open_existing(common)?;
    match command {
        JobCommand::Ls { refused: false } => list(common, &home),
        JobCommand::Ls { refused: true } => list_refused(common, &home),
        JobCommand::Show { job } => show(common, &home, job),
        JobCommand::Result { job } => artifact(&home, job, ArtifactKind::ResultJson),
        JobCommand::Executions { job } => artifact(&home, job, ArtifactKind::ExecutionsJson),
        JobCommand::Receipt { job } => {
            let view = require_final(&home, job)?;
            write_stdout(&view.file.receipt.to_bytes())
        }
        JobCommand::Resume => resume(common, home),
        JobCommand::Cancel { job } => match find(&home, job)? {
            Found::Open(record) => cancel::cancel(common, &home, record.id),
            Found::Final(view) => Err(CliError::Final(view.id())),
            Found::Refused(_) => Err(CliError::NoJob(job.clone())),
        },
    }
}

/// Packs a bundle.
pub fn receipt(common: &Common, command: &ReceiptCommand) -> Result<(), CliError> {
    let ReceiptCommand::Bundle { job, out } = command;
    let home = home::open_existing(common)?;
    let view = require_final(&home, job)?;
    let bytes = bundle::pack(&home.storage, &view.file)?;
    let path = out.clone().unwrap_or_else(|| PathBuf::from(format!("{}.bundle.tar", view.id().0.short())));
    std::fs::write(&path, &bytes).map_err(|source| CliError::Write { path: path.clone(), source })?;
    if common.json {
        print_json(&json!({"job_id": view.id(), "path": path.display().to_string(), "bytes": bytes.len()}));
    } else {
        print(&format!(
            "{} ({} bytes); check it with `forgemesh verify {}`",
            path.display(),
            bytes.len(),
            path.display()
        ));
    }
    Ok(())
}

fn open_jobs(home: &Home) -> Result<Vec<JobRecord>, CliError> {
    Ok(boot::hub(&home.storage, &home.secret)?
        .map(|hub| hub.state().open.values().cloned().collect())
        .unwrap_or_default())
}

fn list(common: &Common, home: &Home) -> Result<(), CliError> {
    let open = open_jobs(home)?;
    let rows = home.storage.jobs(None, LISTED)?;
    let files = rows.iter().map(|row| JobFile::decode(&row.record)).collect::<Result<Vec<_>, _>>()?;
    if common.json {
        let done = |file: &JobFile| {
            let finished = &file.finished;
            json!({
                "job_id": finished.record.id, "client_job_id": finished.record.terms.ctx.job_id,
                "state": finished.record.state, "op": finished.record.contract.op.to_string(),
                "finished_ms": finished.entry.at_ms, "result_hash": finished.entry.result_hash,
                "failure": finished.failure,
            })
        };
        let jobs: Vec<Value> = open.iter().map(view::open_job).chain(files.iter().map(done)).collect();
        print_json(&json!({ "jobs": jobs }));
        return Ok(());
    }
    if open.is_empty() && files.is_empty() {
        print("no jobs yet; try `forgemesh run mc@1/insurance.v1`");
    }
    for record in &open {
        let (done, all) = (record.attested.len(), record.run().stage.shards());
        print(&format!(
            "{}  {:<11} {:<20} {done} of {all} shards",
            record.id.0.short(),
            render::UNFINISHED,
            record.contract.op.to_string()
        ));
    }
    for file in &files {
        let record = &file.finished.record;
        let what = match (&file.finished.entry.result_hash, &file.finished.failure) {
            (Some(hash), _) => format!("result {}", hash.short()),
            (None, Some(failure)) => failure.code.as_str().to_owned(),
            (None, None) => String::new(),
        };
        let state = record.state.as_str();
        print(&format!("{}  {state:<11} {:<20} {what}", record.id.0.short(), record.contract.op.to_string()));
    }
    Ok(())
}

fn list_refused(common: &Common, home: &Home) -> Result<(), CliError> {
    let rows = home.storage.refusals(LISTED)?;
    let records: Vec<Value> =
        rows.iter().filter_map(|row| serde_json::from_slice(&row.record).ok()).collect();
    if common.json {
        print_json(&json!({ "refusals": records }));
        return Ok(());
    }
    for record in &records {
        let id = record["refusal"].as_str().unwrap_or_default();
        let problem = &record["problems"][0];
        let text = |key: &str| problem[key].as_str().unwrap_or_default().to_owned();
        print(&format!(
            "{}  {} at {}: {}",
            id.get(..8).unwrap_or_default(),
            text("code"),
            text("path"),
            text("message")
        ));
    }
    Ok(())
}

fn show(common: &Common, home: &Home, name: &str) -> Result<(), CliError> {
    match find(home, name)? {
        Found::Final(view) if common.json => print_json(&view.json(None)?),
        Found::Final(view) => {
            print(&format!("job {}", view.id()));
            print(&render::text(&view, &format!("forgemesh job receipt {}", view.id().0.short())));
        }
        Found::Open(record) if common.json => print_json(&view::open_job(&record)),
        Found::Open(record) => {
            print(&format!("job {}", record.id));
            print(&render::unfinished(&record));
        }
        Found::Refused(value) if common.json => print_json(&value),
        Found::Refused(value) => print(&view::pretty(&value)),
    }
    Ok(())
}

fn artifact(home: &Home, name: &str, kind: ArtifactKind) -> Result<(), CliError> {
    let view = require_final(home, name)?;
    write_stdout(view.artifact(kind)?)
}

fn write_stdout(bytes: &[u8]) -> Result<(), CliError> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    // A reader that has gone away has what it wanted.
    let _ = out.write_all(bytes).and_then(|()| out.flush());
    Ok(())
}

fn require_final(home: &Home, name: &str) -> Result<JobView, CliError> {
    match find(home, name)? {
        Found::Final(view) => Ok(*view),
        Found::Open(record) => Err(CliError::NotFinal(record.id)),
        Found::Refused(_) => Err(CliError::NoJob(name.to_owned())),
    }
}

/// By id, by the beginning of an id, or by the client's own name.
fn find(home: &Home, name: &str) -> Result<Found, CliError> {
    let hex = name.len() >= 4 && name.len() <= 64 && name.bytes().all(|b| b.is_ascii_hexdigit());
    let mut open: Vec<JobRecord> = open_jobs(home)?;
    open.retain(|record| {
        (hex && record.id.to_string().starts_with(name)) || record.terms.ctx.job_id.as_deref() == Some(name)
    });
    let mut ids: Vec<JobId> = Vec::new();
    if hex {
        ids.extend(home.storage.jobs_by_prefix(name, 2)?.iter().map(|row| JobId(row.id)));
    }
    if ids.is_empty() && open.is_empty() {
        ids.extend(by_client_name(home, name)?);
    }
    if ids.len() + open.len() > 1 {
        return Err(CliError::ManyJobs(name.to_owned()));
    }
    if let Some(record) = open.pop() {
        return Ok(Found::Open(Box::new(record)));
    }
    if let Some(id) = ids.pop()
        && let Some(view) = JobView::read(&home.storage, &id)?
    {
        return Ok(Found::Final(Box::new(view)));
    }
    let refused = home
        .storage
        .refusals(usize::MAX)?
        .into_iter()
        .find(|row| hex && row.id.to_string().starts_with(name));
    match refused.and_then(|row| serde_json::from_slice(&row.record).ok()) {
        Some(record) => Ok(Found::Refused(record)),
        None => Err(CliError::NoJob(name.to_owned())),
    }
}

/// The newest final job that its client called so; says so if there are more of that name.
fn by_client_name(home: &Home, name: &str) -> Result<Option<JobId>, CliError> {
    let (mut before, mut newest) = (None, None);
    loop {
        let page = home.storage.jobs(before, LISTED)?;
        let Some(last) = page.last() else { return Ok(newest) };
        before = Some(last.seq);
        for row in page {
            let record = JobFile::decode(&row.record)?.finished.record;
            if record.terms.ctx.job_id.as_deref() != Some(name) {
                continue;
            }
            if newest.is_some() {
                eprintln!(
                    "forgemesh: more than one job is called \"{name}\"; this is the newest (`forgemesh job ls --json` \
                     has the ids of all)"
                );
                return Ok(newest);
            }
            newest = Some(record.id);
        }
    }
}

fn resume(common: &Common, home: Home) -> Result<(), CliError> {
    let mut all: Option<Vec<JobId>> = None;
    let (_, ()) = surviving_io_errors(common, home, |home| finish_open(common, home, &mut all))?;
    let all = all.unwrap_or_default();
    if common.json {
        print_json(&json!({ "finished": all }));
    } else if all.is_empty() {
        print("nothing to resume: every job is final");
    } else {
        all.iter().for_each(|id| print(&format!("finished {id}")));
    }
    Ok(())
}

/// One life of the node: until every open job is in the books. `all`: those that were open at first.
fn finish_open(common: &Common, home: &Home, all: &mut Option<Vec<JobId>>) -> Result<(), CliError> {
    let driver = embedded::boot(common, home)?;
    let mut waiting: Vec<JobId> = embedded::state(&driver).open.keys().copied().collect();
    all.get_or_insert_with(|| waiting.clone());
    if !waiting.is_empty() {
        embedded::serve(driver, async |handle| {
            let mut reports = handle.watch();
            while !waiting.is_empty() {
                tokio::select! {
                    report = reports.recv() => match report {
                        Ok(report) if report.recorded => waiting.retain(|id| *id != report.job),
                        Ok(_) => {}
                        Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => {
                            let mut left = Vec::new();
                            for id in &waiting {
                                if home.storage.job(&id.0)?.is_none() {
                                    left.push(*id);
                                }
                            }
                            waiting = left;
                        }
                        Err(_) => return Err(CliError::Stopped(crate::driver::Stopped)),
                    },
                    _ = tokio::signal::ctrl_c() => return Err(CliError::Interrupted(waiting[0])),
                }
            }
            Ok(())
        })?;
    }
    Ok(())
}
