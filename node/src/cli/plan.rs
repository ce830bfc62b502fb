//! `forgemesh plan`: how a job would be cut, and whether it could run here. Nothing is executed or recorded.

use clap::Args;
use forgemesh_protocol::plan::{Plan, Stage, StageKind};
use serde_json::json;

use super::error::CliError;
use super::input::{self, JobInput};
use super::{Common, home, print, print_json};
use crate::stop;

/// So that a line fits a terminal of 80 columns.
const LOOKS_A_LINE: usize = 4;

/// Arguments of `plan`.
#[derive(Args)]
pub struct PlanArgs {
    #[command(flatten)]
    input: JobInput,
}

/// Prints stages, leaves, shards and the static estimate.
pub fn plan(common: &Common, args: &PlanArgs) -> Result<(), CliError> {
    let envelope = args.input.envelope()?;
    let (job, terms) = input::admit(&envelope, &args.input.offer()?)
        .map_err(|problems| CliError::Refused { problems, record: None })?;
    let plan = job.plan();
    let threads = home::threads(common);
    let core_seconds = plan.estimate_ns as f64 / 1e9;
    let looks: Vec<u64> = plan.looks().map(|end| plan.paths_before(end)).collect();
    if common.json {
        let mut json = json!({
            "op": job.contract().op.to_string(),
            "contract_hash": plan.contract,
            "plan_hash": plan.hash(),
            "root_seed": job.root_seed(),
            "replay_key": job.replay_key(),
            "verify": terms.policy.verify,
            "paths": plan.paths,
            "leaf_paths": plan.leaf_paths,
            "leaves": plan.leaves(),
            "stages": plan.stages.iter().map(|stage| json!({
                "kind": stage.kind, "first_leaf": stage.first_leaf, "leaves": stage.leaves,
                "leaves_per_shard": stage.leaves_per_shard, "shards": stage.shards(),
            })).collect::<Vec<_>>(),
            "estimate": {"core_seconds": core_seconds, "seconds_here": core_seconds / threads as f64},
        });
        if !looks.is_empty() {
            json["looks"] = json!(looks);
        }
        print_json(&json);
        return Ok(());
    }
    print(&format!(
        "{}  {} paths in {} leaves of {}",
        job.contract().op,
        plan.paths,
        plan.leaves(),
        plan.leaf_paths
    ));
    if looks.is_empty() {
        plan.stages.iter().for_each(print_stage);
    } else {
        print_looks(plan, &looks);
    }
    let here = core_seconds / threads as f64;
    print(&format!(
        "  about {core_seconds:.2} core-seconds{}; {here:.2} s on {threads} threads (a static estimate)",
        if looks.is_empty() { "" } else { " to its last look" }
    ));
    print(&format!("  contract_hash {}", plan.contract));
    print(&format!("  replay_key    {}", job.replay_key()));
    Ok(())
}

fn print_stage(stage: &Stage) {
    let kind = format!("{:?}", stage.kind).to_lowercase();
    print(&format!(
        "  {kind:<6} {:>8} leaves  {:>8} shards of {} leaves",
        stage.leaves,
        stage.shards(),
        stage.leaves_per_shard
    ));
}

/// A job that may stop early has too many stages for a line each.
fn print_looks(plan: &Plan, looks: &[u64]) {
    for kind in [StageKind::Pilot, StageKind::Main] {
        let stages = || plan.stages.iter().filter(|stage| stage.kind == kind);
        let leaves: u64 = stages().map(|stage| stage.leaves).sum();
        let shards: u64 = stages().map(Stage::shards).sum();
        if leaves > 0 {
            let name = format!("{kind:?}").to_lowercase();
            print(&format!(
                "  {name:<6} {leaves:>8} leaves  {shards:>8} shards in {} stages",
                stages().count()
            ));
        }
    }
    print(&format!("  may stop early; {} looks, after so many iterations:", looks.len()));
    for line in looks.chunks(LOOKS_A_LINE) {
        let line: Vec<String> = line.iter().map(|&paths| format!("{:>17}", stop::count(paths))).collect();
        print(&format!("  {}", line.join(" ")));
    }
}
