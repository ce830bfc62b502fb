//! One job, one result hash: whatever the cut, the order of arrival, the threads and the instruction sets.

use std::thread;

use forgemesh_kernel::accumulator::Accumulator;
use forgemesh_kernel::backend::Isa;
use forgemesh_kernel::job::Job;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::plan::{Stage, StageRun};
use serde_json::{Value, json};

use crate::support::{Source, below, execute, job, merge_randomly, raa, shuffle};

/// Runs one configuration again: `FORGEMESH_PLAN_SEED=<seed> cargo test -p forgemesh-kernel --test exact <test>`.
pub const SEED: &str = "FORGEMESH_PLAN_SEED";

/// The sum of a stage that is cut, executed and merged at random, partly by way of the encoded bytes.
pub fn stage(job: &Job, planned: &StageRun, source: &mut Source) -> Accumulator {
    let leaves_per_shard = 1 + below(source, planned.stage.leaves.min(40));
    let run = StageRun { stage: Stage { leaves_per_shard, ..planned.stage.clone() }, ..planned.clone() };
    let isas = Isa::available();
    let isa = |source: &mut Source| match below(source, 16) {
        // Without fused multiply-add in hardware the portable instance is slow, so it gets the smaller share.
        0 => Isa::Portable,
        _ => isas[isas.len() - 1 - below(source, isas.len().min(2) as u64) as usize],
    };
    let mut shards: Vec<(u64, Isa)> = (0..run.stage.shards()).map(|shard| (shard, isa(source))).collect();
    shuffle(source, &mut shards);
    let threads = 1 + below(source, 8) as usize;
    let by_tree = below(source, 2) == 0;
    let totals = |&(shard, isa): &(u64, Isa)| {
        if by_tree {
            let shard = job.run_shard(isa, &run, shard).expect("a shard of the stage");
            return shard.totals().clone();
        }
        job.shard_totals(isa, &run, shard).expect("a shard of the stage")
    };
    let parts: Vec<Accumulator> = thread::scope(|scope| {
        let workers: Vec<_> = shards
            .chunks(shards.len().div_ceil(threads))
            .map(|mine| scope.spawn(|| mine.iter().map(totals).collect::<Vec<_>>()))
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a worker that does not panic")).collect()
    });
    merge_randomly(parts, source)
}

fn result(job: &Job, source: &mut Source) -> Hash {
    let outcome = job.execute(|job, run| Ok(stage(job, run, source))).expect("stages that fit together");
    outcome.expect("a job that does not fail").body.hash()
}

/// `count` random configurations of the job.
fn check(test: &str, op: &str, args: Value, count: u64, seed: u64) {
    let job = job(op, &args, "plans");
    let expected = execute(&job, Isa::best()).expect("a job that does not fail").body.hash();
    let asked = std::env::var(SEED).ok().map(|text| text.parse().expect("a decimal seed"));
    let seeds: Vec<u64> = asked.map_or_else(|| (0..count).map(|i| seed << 32 | i).collect(), |s| vec![s]);
    for seed in seeds {
        let found = result(&job, &mut Source::new(seed));
        assert_eq!(
            found, expected,
            "seed {seed}; {SEED}={seed} cargo test -p forgemesh-kernel --test exact shard_plans::{test}"
        );
    }
}

#[test]
fn noop() {
    check("noop", "diag@1/noop.v1", json!({ "shards": 37 }), 400, 1);
}

#[test]
fn mix() {
    check("mix", "diag@1/mix.v1", json!({ "iterations": 1_003 }), 760, 2);
}

#[test]
fn insurance_with_many_claims() {
    let args = json!({ "iterations": 300, "claim_freq": 1000, "aggregate_limit": 700_000 });
    check("insurance_with_many_claims", "mc@1/insurance.v1", args, 200, 3);
}

#[test]
fn insurance_with_long_leaves() {
    let args = json!({ "iterations": 140_000, "claim_freq": 0, "cat_prob": 0.01 });
    check("insurance_with_long_leaves", "mc@1/insurance.v1", args, 60, 4);
}

#[test]
fn insurance_above_the_pilot() {
    let args = json!({ "iterations": 1_200_001, "claim_freq": 0.1 });
    check("insurance_above_the_pilot", "mc@1/insurance.v1", args, 6, 5);
}

#[test]
fn reserve_of_a_small_triangle() {
    let triangle = json!([[100, 150, 175], [110, 168], [120]]);
    let args = json!({ "triangle": triangle, "iterations": 3_500 });
    check("reserve_of_a_small_triangle", "mc@1/reserve.v1", args, 450, 6);
}

#[test]
fn reserve_above_the_pilot() {
    let triangle = json!([[100, 150, 175], [110, 168], [120]]);
    let args = json!({ "triangle": triangle, "iterations": 70_001, "process": "none" });
    check("reserve_above_the_pilot", "mc@1/reserve.v1", args, 64, 7);
}

#[test]
fn reserve_of_the_published_triangle() {
    let args = json!({ "triangle": raa(), "iterations": 2_100 });
    check("reserve_of_the_published_triangle", "mc@1/reserve.v1", args, 60, 8);
}
