//! `forgemesh job submit`, `watch` and `why-pending`: jobs of a node that runs.

use std::path::PathBuf;

use clap::Args;
use forgemesh_protocol::id::JobId;
use forgemesh_protocol::submission::Offer;
use serde_json::{Value, json};

use super::client::{self, Client};
use super::error::CliError;
use super::input::JobInput;
use super::interrupt::Interrupt;
use super::progress::{Display, ProgressMode};
use super::source::{Found, Source};
use super::view::JobView;
use super::{Common, hint, home, print, print_json, render};
use crate::bundle::RECEIPT;
use crate::core::Progress;
use crate::real::control::request::Request;

/// Arguments of `job submit`.
#[derive(Args)]
pub struct SubmitArgs {
    #[command(flatten)]
    input: JobInput,
    /// Wait until the job is final, and show its result.
    #[arg(long)]
    wait: bool,
    /// With --wait: write the result's files here.
    #[arg(long, value_name = "DIR", requires = "wait")]
    out: Option<PathBuf>,
    /// What to show on standard error while waiting.
    #[arg(long, value_enum, default_value = "auto", value_name = "WHAT")]
    progress: ProgressMode,
}

/// Gives a job to the running node.
pub fn submit(common: &Common, args: SubmitArgs) -> Result<(), CliError> {
    let mut client = Client::require(common)?;
    let (envelope, offer) = (args.input.envelope()?, args.input.offer()?);
    if args.wait {
        let for_files = "submit with --wait --out DIR";
        let wanted = Wanted { out: args.out, progress: args.progress, for_files };
        return run_there(common, client, &envelope, offer, &wanted);
    }
    let value = hand_in(&mut client, &envelope, offer)?;
    if common.json {
        print_json(&value);
    } else {
        let id = value["job_id"].as_str().unwrap_or_default();
        print(&format!("accepted {id}"));
        hint::print_whole(&format!("see it with `forgemesh job watch {}`", &id[..id.len().min(8)]));
    }
    Ok(())
}

/// What the user wants to see of a job, and have of it.
pub struct Wanted {
    pub out: Option<PathBuf>,
    pub progress: ProgressMode,
    /// What to do to have the files, too.
    pub for_files: &'static str,
}

/// Has the running node execute a job, and shows its result.
pub fn run_there(
    common: &Common,
    mut client: Client,
    envelope: &[u8],
    offer: Offer,
    wanted: &Wanted,
) -> Result<(), CliError> {
    if let Some(folder) = &wanted.out {
        let failed = |source| CliError::Write { path: folder.clone(), source };
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    let value = hand_in(&mut client, envelope, offer)?;
    let id = value["job_id"].as_str().unwrap_or_default().to_owned();
    let interrupt = Interrupt::ending(&client)?;
    if !common.json {
        print(&format!("accepted {id}"));
    }
    let followed = follow(common, &mut client, &id, wanted.progress);
    interrupt.or_left(&id, followed)?;
    match Source::Node(client).find(&id)? {
        Found::Final(view) => show(common, &view, wanted),
        Found::Open(record) => Err(CliError::NotFinal(record.id)),
        Found::Refused(_) => Err(CliError::NoJob(id)),
    }
}

fn hand_in(client: &mut Client, envelope: &[u8], offer: Offer) -> Result<Value, CliError> {
    let text = std::str::from_utf8(envelope)
        .map_err(|_| CliError::Usage("a job file is UTF-8 text; save it as such".to_owned()))?;
    Ok(client.ask(&Request::Submit { envelope: text.to_owned(), regions: offer.regions })?.value)
}

/// Shows a job's steps until it is final.
fn follow(
    common: &Common,
    client: &mut Client,
    job: &str,
    progress: ProgressMode,
) -> Result<Value, CliError> {
    let quiet = common.json && progress == ProgressMode::Auto;
    let mut display: Option<Display> = None;
    let mode = if quiet { ProgressMode::None } else { progress };
    let answered = client.follow(&Request::Watch { job: Some(job.to_owned()) }, |event| {
        if let Some(step) = step(event) {
            let display = display.get_or_insert_with(|| {
                let display = Display::new(mode, step.leaves);
                display.accepted(&step.job, false);
                display
            });
            display.report(&step);
        }
    });
    display.iter().for_each(Display::finish);
    Ok(answered?.value)
}

fn step(event: &Value) -> Option<Progress> {
    Some(Progress {
        job: event["job_id"].as_str()?.parse::<JobId>().ok()?,
        state: serde_json::from_value(event["state"].clone()).ok()?,
        stage: event["stage"].as_u64()?,
        done_leaves: event["done_leaves"].as_u64()?,
        leaves: event["leaves"].as_u64()?,
        unverified: event["unverified"].as_u64()?,
        recorded: event["recorded"].as_bool()?,
    })
}

/// Prints a final job and writes its files.
pub fn show(common: &Common, view: &JobView, wanted: &Wanted) -> Result<(), CliError> {
    if let Some(folder) = &wanted.out {
        view.write(folder)?;
    }
    let receipt = wanted.out.as_ref().map(|folder| folder.join(RECEIPT));
    let failure = view.file.finished.failure.clone();
    if common.json && failure.is_none() {
        print_json(&view.json(receipt.as_deref())?);
    } else if failure.is_none() {
        let place = match &receipt {
            Some(path) => path.display().to_string(),
            None => {
                let command = hint::command(&format!("job receipt {}", view.id().0.short()));
                format!("{command} (or {})", wanted.for_files)
            }
        };
        print(&render::text(view, &place));
    }
    match failure {
        Some(failure) => Err(CliError::JobFailed { job: view.id(), failure: Box::new(failure) }),
        None => Ok(()),
    }
}

/// Follows a job of the running node to its end.
pub fn watch(common: &Common, job: &str, progress: ProgressMode) -> Result<(), CliError> {
    let value = match Client::find(common)? {
        Some(mut client) => {
            let interrupt = Interrupt::ending(&client)?;
            interrupt.or_left(job, follow(common, &mut client, job, progress))?
        }
        None => ended(common, job)?,
    };
    if common.json {
        print_json(&value);
    } else {
        let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
        print(&format!("job {} is {}", text("job_id"), text("state")));
    }
    Ok(())
}

/// A final job of a data folder on which no node runs; nothing happens to any other there.
fn ended(common: &Common, job: &str) -> Result<Value, CliError> {
    let folder = home::folder(common)?;
    if !home::may_have_mesh(&folder) {
        return Err(client::no_node(folder));
    }
    match Source::open(common)?.find(job)? {
        Found::Final(view) => Ok(json!({ "job_id": view.id(), "state": view.file.finished.record.state })),
        Found::Open(_) => Err(client::no_node(folder)),
        Found::Refused(_) => Err(CliError::NoJob(job.to_owned())),
    }
}

/// Says what a job waits for.
pub fn why_pending(common: &Common, job: &str) -> Result<(), CliError> {
    let value = Client::require(common)?.ask(&Request::WhyPending { job: job.to_owned() })?.value;
    if common.json {
        print_json(&value);
        return Ok(());
    }
    print(&format!("job {}", value["job_id"].as_str().unwrap_or_default()));
    print_reasons(&value);
    Ok(())
}

/// Prints the reasons that a node gave, one a line.
pub fn print_reasons(value: &Value) {
    let reasons = value["reasons"].as_array().map(Vec::as_slice).unwrap_or_default();
    if reasons.is_empty() {
        print("  nothing keeps it: it goes on");
    }
    for reason in reasons {
        hint::print_whole(&format!("  {}", reason["text"].as_str().unwrap_or_default()));
    }
}

/// A step of a job, as watchers see it.
pub fn event(progress: &Progress) -> Value {
    json!({
        "job_id": progress.job, "state": progress.state, "stage": progress.stage,
        "done_leaves": progress.done_leaves, "leaves": progress.leaves, "unverified": progress.unverified,
        "recorded": progress.recorded,
    })
}
