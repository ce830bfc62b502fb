//! `forgemesh plan`: how a job would be cut, and whether it could run here. Nothing is executed or recorded.

use clap::Args;
use serde_json::json;

use super::error::CliError;
use super::input::{self, JobInput};
use super::{Common, home, print, print_json};

/// Arguments of `plan`.
#[derive(Args)]
pub struct PlanArgs {
    #[command(flatten)]
    input: JobInput,
}

/// Prints stages, leaves, shards and the static estimate.
pub fn plan(common: &Common, args: &PlanArgs) -> Result<(), CliError> {
    let envelope = args.input.envelope()?;
    let (job, terms) =
        input::admit(&envelope).map_err(|problems| CliError::Refused { problems, record: None })?;
    let plan = job.plan();
    let threads = home::threads(common);
    let core_seconds = plan.estimate_ns as f64 / 1e9;
    if common.json {
        print_json(&json!({
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
        }));
        return Ok(());
    }
    print(&format!(
        "{}  {} paths in {} leaves of {}",
        job.contract().op,
        plan.paths,
        plan.leaves(),
        plan.leaf_paths
    ));
    for stage in &plan.stages {
        let kind = format!("{:?}", stage.kind).to_lowercase();
        print(&format!(
            "  {kind:<6} {:>8} leaves  {:>8} shards of {} leaves",
            stage.leaves,
            stage.shards(),
            stage.leaves_per_shard
        ));
    }
    let here = core_seconds / threads as f64;
    print(&format!(
        "  about {core_seconds:.2} core-seconds; {here:.2} s on {threads} threads (a static estimate)"
    ));
    print(&format!("  contract_hash {}", plan.contract));
    print(&format!("  replay_key    {}", job.replay_key()));
    Ok(())
}
