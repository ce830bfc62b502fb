//! `forgemesh job` and `forgemesh receipt`: what this node has done, and the evidence of it.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use forgemesh_protocol::envelope::ArtifactKind;
use forgemesh_protocol::id::JobId;
use serde_json::{Value, json};

use super::client::Client;
use super::error::CliError;
use super::home::{self, Home};
use super::lookup::{self, Listed};
use super::progress::ProgressMode;
use super::reopen::surviving_io_errors;
use super::source::{Found, Source};
use super::submit::{self, SubmitArgs};
use super::{Common, cancel, embedded, hint, overwrite, print, print_json, render, say, view};
use crate::bundle::RECEIPT;

/// What to do with jobs.
#[derive(Subcommand)]
pub enum JobCommand {
    /// Give a job to the running node.
    Submit(SubmitArgs),
    /// Show how a job of the running node goes on, until it is final.
    Watch {
        job: String,
        /// What to show on standard error meanwhile.
        #[arg(long, value_enum, default_value = "auto", value_name = "WHAT")]
        progress: ProgressMode,
    },
    /// Say what a job of the running node waits for, each constraint with its counts.
    WhyPending { job: String },
    /// List jobs, newest first; unfinished ones above.
    Ls {
        /// List refused envelopes instead.
        #[arg(long)]
        refused: bool,
        /// Final jobs to list, the newest ones; 1,000 at most.
        #[arg(long, value_name = "N", default_value_t = lookup::LISTED, value_parser = at_most_listed, conflicts_with = "refused")]
        limit: usize,
    },
    /// Everything about a job (or a refusal).
    Show {
        /// Its id, the beginning of it, or the `ctx.job_id` given by its client.
        job: String,
        /// Write the files of a finished job here, as `run --out` does.
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
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
        /// The file to write [default: the beginning of the job's id, and .bundle.tar].
        #[arg(long, short, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Write over a file that is there.
        #[arg(long)]
        force: bool,
    },
}

/// Does what was asked for.
pub fn job(common: &Common, command: JobCommand) -> Result<(), CliError> {
    match command {
        JobCommand::Submit(args) => submit::submit(common, args),
        JobCommand::Watch { job, progress } => submit::watch(common, &job, progress),
        JobCommand::WhyPending { job } => submit::why_pending(common, &job),
        JobCommand::Ls { refused: false, limit } => list(common, limit),
        JobCommand::Ls { refused: true, .. } => list_refused(common),
        JobCommand::Show { job, out } => show(common, &job, out.as_deref()),
        JobCommand::Result { job } => artifact(common, &job, ArtifactKind::ResultJson),
        JobCommand::Executions { job } => artifact(common, &job, ArtifactKind::ExecutionsJson),
        JobCommand::Receipt { job } => {
            let view = Source::open(common)?.require_final(&job)?;
            write_stdout(&view.file.receipt.to_bytes())
        }
        JobCommand::Resume => resume(common),
        JobCommand::Cancel { job } => cancel::cancel(common, &job),
    }
}

/// Packs a bundle.
pub fn receipt(common: &Common, command: &ReceiptCommand) -> Result<(), CliError> {
    let ReceiptCommand::Bundle { job, out, force } = command;
    let mut source = Source::open(common)?;
    let view = source.require_final(job)?;
    let path = out.clone().unwrap_or_else(|| PathBuf::from(format!("{}.bundle.tar", view.id().0.short())));
    overwrite::allowed(&path, *force)?;
    let bytes = source.bundle(job, &view)?;
    std::fs::write(&path, &bytes).map_err(|source| CliError::Write { path: path.clone(), source })?;
    if common.json {
        print_json(&json!({"job_id": view.id(), "path": path.display().to_string(), "bytes": bytes.len()}));
    } else {
        hint::print_whole(&format!(
            "{} ({} bytes); check it with `forgemesh verify {}`",
            path.display(),
            bytes.len(),
            path.display()
        ));
    }
    Ok(())
}

fn at_most_listed(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=lookup::LISTED_MOST).contains(number));
    number.ok_or_else(|| format!("a number from 1 to {}", lookup::LISTED_MOST))
}

fn list(common: &Common, limit: usize) -> Result<(), CliError> {
    let Listed { jobs, more } = Source::open(common)?.jobs(limit)?;
    if common.json {
        print_json(&json!({ "jobs": jobs, "more": more }));
        return Ok(());
    }
    if jobs.is_empty() {
        hint::print_whole("no jobs yet; try `forgemesh run mc@1/insurance.v1`");
    }
    for job in &jobs {
        let text = |key: &str| job[key].as_str().unwrap_or_default().to_owned();
        let short = |text: String| text.get(..8).unwrap_or_default().to_owned();
        let (state, what) = match (&job["shards"], &job["result_hash"], &job["failure"]) {
            (Value::Number(all), _, _) => {
                (render::UNFINISHED.to_owned(), format!("{} of {all} shards", job["attested_shards"]))
            }
            (_, Value::String(hash), _) => (text("state"), format!("result {}", short(hash.clone()))),
            (_, _, failure) => (text("state"), failure["code"].as_str().unwrap_or_default().to_owned()),
        };
        print(&format!("{}  {state:<11} {:<20} {what}", short(text("job_id")), text("op")));
    }
    if more && limit < lookup::LISTED_MOST {
        hint::print_whole(&format!(
            "older jobs are not listed; `forgemesh job ls --limit {}` lists more",
            lookup::LISTED_MOST
        ));
    } else if more {
        hint::print_whole("older jobs are not listed; `forgemesh job show ID` finds each of them");
    }
    Ok(())
}

fn list_refused(common: &Common) -> Result<(), CliError> {
    let records = Source::open(common)?.refusals()?;
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

fn show(common: &Common, name: &str, out: Option<&Path>) -> Result<(), CliError> {
    let mut source = Source::open(common)?;
    let found = source.find(name)?;
    let runs = matches!(source, Source::Node(_));
    let receipt = out.map(|folder| folder.join(RECEIPT));
    match (&found, out) {
        (Found::Final(view), Some(folder)) => view.write(folder)?,
        (Found::Open(record), Some(_)) => return Err(CliError::NotFinal(record.id)),
        (Found::Refused(_), Some(_)) => say("the job was refused: it has no files, and none are written"),
        _ => {}
    }
    match found {
        Found::Final(view) if common.json => print_json(&view.json(receipt.as_deref())?),
        Found::Final(view) => {
            print(&format!("job {}", view.id()));
            let command = || hint::command(&format!("job receipt {}", view.id().0.short()));
            let receipt = receipt.map_or_else(command, |path| path.display().to_string());
            print(&render::text(&view, &receipt));
        }
        Found::Open(record) if common.json => print_json(&view::open_job(&record)),
        Found::Open(record) => {
            print(&format!("job {}", record.id));
            print(&render::unfinished(&record, runs));
        }
        Found::Refused(value) if common.json => print_json(&value),
        Found::Refused(value) => print(&view::pretty(&value)),
    }
    Ok(())
}

fn artifact(common: &Common, name: &str, kind: ArtifactKind) -> Result<(), CliError> {
    let view = Source::open(common)?.require_final(name)?;
    write_stdout(view.artifact(kind)?)
}

fn write_stdout(bytes: &[u8]) -> Result<(), CliError> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    // A reader that has gone away has what it wanted.
    let _ = out.write_all(bytes).and_then(|()| out.flush());
    Ok(())
}

fn resume(common: &Common) -> Result<(), CliError> {
    if Client::find(common)?.is_some() {
        let text =
            "the node that runs here finishes every job by itself; `forgemesh job ls` shows how far they are";
        return Err(CliError::Usage(text.to_owned()));
    }
    let home = home::open_existing(common)?;
    let mut all: Option<Vec<JobId>> = None;
    let (_, ()) = surviving_io_errors(common, home, |home| finish_open(common, home, &mut all))?;
    let all = all.unwrap_or_default();
    if common.json {
        print_json(&json!({ "finished": all }));
    } else if all.is_empty() {
        print("nothing to resume: every job is final");
    } else {
        for id in &all {
            let short = id.0.short();
            print(&format!("finished {id}"));
            hint::print_whole(&format!(
                "  `forgemesh job show {short}` shows it, and with --out DIR writes its files there"
            ));
        }
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
