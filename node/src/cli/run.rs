//! `forgemesh run`: one job, on the node that runs here or an embedded one, from submission to receipt.

use std::path::PathBuf;

use clap::Args;
use forgemesh_protocol::canon::{self, Bytes};
use forgemesh_protocol::hash::{Domain, Hash};
use forgemesh_protocol::id::JobId;
use forgemesh_protocol::keys::Signed;
use forgemesh_protocol::limits;
use forgemesh_protocol::problem::Problems;
use forgemesh_protocol::submission::Submission;
use forgemesh_storage::{Batch, Storage};
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;

use super::client::Client;
use super::embedded::{self, now_ms};
use super::error::CliError;
use super::home::{self, Home};
use super::input::{self, JobInput};
use super::progress::{Display, ProgressMode};
use super::reopen::surviving_io_errors;
use super::submit::{self, Wanted};
use super::view::JobView;
use super::{Common, print};
use crate::core::{Reply, Request};
use crate::driver::Handle;

/// Arguments of `run`.
#[derive(Args)]
pub struct RunArgs {
    #[command(flatten)]
    input: JobInput,
    /// Write result.json, executions.json, metrics.json, verification.json, receipt.json, loss.svg and loss.png here.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// What to show on standard error while the job runs.
    #[arg(long, value_enum, default_value = "auto", value_name = "WHAT")]
    progress: ProgressMode,
}

/// Runs the job, or goes on with the same job if it was interrupted.
pub fn run(common: &Common, args: RunArgs) -> Result<(), CliError> {
    let (envelope, offer) = (args.input.envelope()?, args.input.offer()?);
    let for_files = "run with --out DIR";
    let wanted = Wanted { out: args.out, progress: args.progress, for_files };
    if let Some(client) = Client::find(common)? {
        return submit::run_there(common, client, &envelope, offer, &wanted);
    }
    let home = home::open(common)?;
    let (job, terms) = match input::admit(&envelope, &offer) {
        Ok(admitted) => admitted,
        Err(problems) => return Err(refuse(&home.storage, &envelope, problems)),
    };
    if let Some(folder) = &wanted.out {
        let failed = |source| CliError::Write { path: folder.clone(), source };
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    let mut submission = Submission {
        envelope: Bytes(job.envelope(&terms)),
        offer,
        nonce: Bytes(home::random::<16>().map_err(CliError::Entropy)?.to_vec()),
        expires_ms: 0,
    };
    let mut display = Display::new(
        if common.json && wanted.progress == ProgressMode::Auto {
            ProgressMode::None
        } else {
            wanted.progress
        },
        job.plan().leaves(),
    );
    let mut accepted = None;
    let done = surviving_io_errors(common, home, |home| {
        live(common, home, &mut submission, &mut accepted, &mut display)
    });
    display.finish();
    let (home, id) = done?;
    let view = JobView::read(&home.storage, &id)?.ok_or(CliError::NoJob(id.to_string()))?;
    submit::show(common, &view, &wanted)
}

/// One life of the node: until the job is in the books.
fn live(
    common: &Common,
    home: &Home,
    submission: &mut Submission,
    accepted: &mut Option<JobId>,
    display: &mut Display,
) -> Result<JobId, CliError> {
    let driver = embedded::boot(common, home)?;
    let state = embedded::state(&driver);
    if submission.expires_ms == 0 {
        // Log time may be ahead of a clock that was set back.
        submission.expires_ms = now_ms().max(state.now_ms) + limits::SUBMISSION_TTL_MS;
    }
    let unfinished = state.open.values().find(|record| {
        let same = record.submission.body.work_hash() == submission.work_hash();
        same && record.submission.key == home.secret.public()
    });
    let unfinished = unfinished.map(|record| record.id);
    embedded::serve(driver, async |handle| {
        let mut reports = handle.watch();
        let id = match unfinished {
            Some(id) => id,
            // Asked again after an I/O error it is the same job, whether or not the first time was durable.
            None => submit(&handle, home, submission.clone()).await?,
        };
        if accepted.replace(id).is_none() {
            display.accepted(&id, unfinished.is_some());
            if !common.json {
                print(&format!("{} {id}", if unfinished.is_some() { "resumed" } else { "accepted" }));
            }
        }
        if home.storage.job(&id.0)?.is_some() {
            return Ok(id);
        }
        loop {
            tokio::select! {
                report = reports.recv() => match report {
                    Ok(report) if report.job == id => {
                        display.report(&report);
                        if report.recorded {
                            return Ok(id);
                        }
                    }
                    Ok(_) => {}
                    Err(RecvError::Lagged(_)) if home.storage.job(&id.0)?.is_some() => return Ok(id),
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return Err(CliError::Stopped(crate::driver::Stopped)),
                },
                _ = tokio::signal::ctrl_c() => return Err(CliError::Interrupted(id)),
            }
        }
    })
}

async fn submit(handle: &Handle, home: &Home, submission: Submission) -> Result<JobId, CliError> {
    let signed = Signed::new(submission, handle.mesh(), &home.secret);
    match handle.request(Request::Submit(Box::new(signed))).await? {
        Reply::Accepted(id) => Ok(id),
        other => Err(embedded::unexpected(other)),
    }
}

/// Keeps a record of a refused envelope: what it was, when, and why.
pub fn refuse(storage: &Storage, envelope: &[u8], problems: Problems) -> CliError {
    let id = Hash::of(Domain::REFUSAL, envelope);
    let problem = |p: &forgemesh_protocol::problem::Problem| json!(p);
    let record = json!({
        "refusal": id,
        "code": forgemesh_protocol::failure::FailureCode::InvalidRequest.as_str(),
        "at_ms": now_ms(),
        "bytes": envelope.len(),
        "problems": problems.iter().take(5).map(problem).collect::<Vec<_>>(),
    });
    let mut batch = Batch::new();
    batch.put_refusal(id, canon::to_json(&record));
    match storage.commit(&batch) {
        Ok(()) => CliError::Refused { problems, record: Some(id) },
        Err(error) => CliError::Commit(error),
    }
}
