//! `forgemesh replay`: executes a receipt's contract again, here, and compares bits.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use clap::Args;
use forgemesh_kernel::accumulator::Accumulator;
use forgemesh_kernel::backend::Isa;
use forgemesh_kernel::job::Job;
use forgemesh_kernel::reduction::ReduceError;
use forgemesh_protocol::plan::StageRun;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::error::CliError;
use super::verify::{examine, pin};
use super::{Common, home, print, print_json};
use crate::evidence::Report;
use crate::stop;

/// Arguments of `replay`.
#[derive(Args)]
pub struct ReplayArgs {
    /// A receipt, or a bundle.
    #[arg(value_name = "RECEIPT")]
    receipt: PathBuf,
    /// The mesh you trust.
    #[arg(long, value_name = "ID")]
    mesh: Option<String>,
}

/// Verifies, executes, compares; exit code 3 if anything differs.
pub fn replay(common: &Common, args: &ReplayArgs) -> Result<(), CliError> {
    let mut report = Report::default();
    let examined = examine(&args.receipt, pin(args.mesh.as_deref())?, &mut report)?;
    let what = args.receipt.display().to_string();
    let Some(examined) = examined.filter(|_| report.is_ok()) else {
        return Err(CliError::Verification { what, failures: report.failures() });
    };
    let predicate = &examined.statement.predicate;
    let Some(result) = &predicate.result else {
        let text = "the job failed: there is no result to compare with".to_owned();
        return Err(CliError::Usage(text));
    };
    let (isa, threads, started) = (home::isa()?, home::threads(common), Instant::now());
    let bar = bar(common, &examined.job);
    let again = examined.job.execute(|job, run| stage(job, run, isa, threads, &bar));
    bar.finish_and_clear();
    let again =
        again.map_err(|error| CliError::Replay(format!("the contract cannot be executed: {error}")))?;
    let seconds = started.elapsed().as_secs_f64();
    let body = again.map(|output| output.body).map_err(|failure| CliError::ReplayDiffers {
        what: what.clone(),
        detail: format!("executing it again fails: {failure}"),
    })?;
    let hash = body.hash();
    if hash != result.result_hash {
        let detail = format!("executing it again gives {hash}, the receipt states {}", result.result_hash);
        return Err(CliError::ReplayDiffers { what, detail });
    }
    if common.json {
        let mut json = json!({
            "ok": true, "result_hash": hash, "replay_key": examined.job.replay_key(), "isa": isa.to_string(),
            "threads": threads, "seconds": seconds,
        });
        if let Some(convergence) = &body.convergence {
            json["convergence"] = json!(convergence);
        }
        print_json(&json);
    } else {
        let paths = result.work.iterations;
        print(&format!("replayed {paths} paths on {threads} threads ({isa}) in {seconds:.2} s"));
        if let Some(told) = stop::describe(examined.job.plan(), &body.work, body.convergence.as_ref()) {
            print(&told);
        }
        print(&format!("identical: result_hash {hash}"));
    }
    Ok(())
}

fn bar(common: &Common, job: &Job) -> ProgressBar {
    if common.json {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(job.plan().stages.iter().map(|stage| stage.shards()).sum());
    let style = ProgressStyle::with_template("replaying    [{bar:32}] {percent:>3} %  {elapsed} (eta {eta})");
    if let Ok(style) = style {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

/// All shards of a stage, on all threads; the sum does not depend on who took which.
fn stage(
    job: &Job,
    run: &StageRun,
    isa: Isa,
    threads: usize,
    bar: &ProgressBar,
) -> Result<Accumulator, ReduceError> {
    let next = AtomicU64::new(0);
    let sums = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let shards = std::iter::from_fn(|| {
                    let shard = next.fetch_add(1, Ordering::Relaxed);
                    (shard < run.stage.shards()).then_some(shard)
                });
                for shard in shards {
                    let sum = job.shard_totals(isa, run, shard);
                    let failed = sum.is_err();
                    sums.lock().unwrap_or_else(PoisonError::into_inner).push(sum);
                    bar.inc(1);
                    if failed {
                        return;
                    }
                }
            });
        }
    });
    let sums = sums.into_inner().unwrap_or_else(PoisonError::into_inner);
    let sums = sums.into_iter().collect::<Result<Vec<_>, _>>()?;
    Ok(Accumulator::merge_all(job.empty(run)?, sums)?)
}
