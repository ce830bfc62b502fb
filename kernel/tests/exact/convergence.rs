//! A job that may stop early stops at the same look with the same result, whatever the cut, the order, the threads and the
//! instruction sets; and it is the look and the result of a reference that keeps every path.

use forgemesh_kernel::accumulator::{Accumulator, Mode};
use forgemesh_kernel::backend::Isa;
use forgemesh_kernel::bracket::{Bracket, Brackets};
use forgemesh_kernel::job::Job;
use forgemesh_kernel::num::normal::inverse_cdf;
use forgemesh_kernel::profile::Prepared;
use forgemesh_kernel::reduction::{FinalOutput, Reducer, Reduction};
use forgemesh_protocol::canon::Bytes;
use forgemesh_protocol::contract::StopReason;
use forgemesh_protocol::failure::FailureCode;
use forgemesh_protocol::limits;
use forgemesh_protocol::plan::{Plan, StageInput, StageKind, StageRun};
use num_bigint::BigInt;
use serde_json::{Value, json};

use crate::shard_plans::{SEED, stage};
use crate::support::{Paths, Source, below, execute, is_nearest, job, kept, parts, slow_rank};

const RESERVE_PILOT: u64 = 1 << 16;
const INSURANCE_PILOT: u64 = 1 << 20;

/// Where a job ends that is looked at in this test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    InPilot,
    InMain,
    Budget,
}

/// Where the stages end, by the specification's words: first, then a quarter more, through the pilot's end, without short
/// rests.
fn checkpoints(leaves: u64, pilot: u64, first: u64) -> Vec<u64> {
    let mut ends = vec![0];
    while ends[ends.len() - 1] < leaves {
        let end = ends[ends.len() - 1];
        let quarter = |of: u64| of / 4 + u64::from(!of.is_multiple_of(4));
        let border = if end < pilot { pilot } else { leaves };
        let next = if end < first { first } else { end + quarter(end) };
        let passes = next >= border || 2 * (border - next) < quarter(next);
        ends.push(if passes { border } else { next });
    }
    ends.split_off(1)
}

/// The plan's stages by their kind and end, and its looks, as they must be.
fn check_plan(plan: &Plan, pilot_paths: u64, min_iterations: u64) {
    let leaves = plan.paths.div_ceil(plan.leaf_paths);
    let pilot = leaves.min(pilot_paths / plan.leaf_paths);
    let first = min_iterations.div_ceil(plan.leaf_paths).max(8).min(leaves);
    let expected = checkpoints(leaves, pilot, first);
    let found: Vec<u64> = plan.stages.iter().map(|stage| stage.end()).collect();
    assert_eq!(found, expected, "{} paths, from {min_iterations} on", plan.paths);
    assert_eq!(plan.stages[0].first_leaf, 0);
    assert!(plan.stages.windows(2).all(|pair| pair[0].end() == pair[1].first_leaf));
    for stage in &plan.stages {
        assert_eq!(stage.kind == StageKind::Pilot, stage.end() <= pilot, "{stage:?}");
        assert!(
            stage.shards() <= limits::STAGE_SHARDS
                && stage.leaves_per_shard <= limits::SHARD_LEAVES.max(1 << 20)
        );
    }
    let looks: Vec<u64> = expected.into_iter().filter(|end| *end >= first).collect();
    assert!(plan.looks().eq(looks.iter().copied()), "{looks:?}");
    assert!(
        looks.last() == Some(&leaves)
            && looks.iter().all(|look| look * plan.leaf_paths >= min_iterations.min(plan.paths))
    );
    // A repair may come on top.
    assert!((plan.stages.len() as u64) < limits::JOB_STAGES, "{} stages", plan.stages.len());
}

#[test]
fn checkpoints_are_those_of_the_specification_and_few_enough() {
    let mut source = Source::new(0x5eed_0060);
    let wide: Vec<Vec<u64>> =
        (0..64).map(|i| (1..=64 - i).map(|j| 100 * j + (i * j) % 17).collect()).collect();
    let mut most = 0;
    for round in 0..400 {
        let bits = 4 + below(&mut source, 36);
        let budget = match round {
            0 => limits::JOB_PATHS,
            1 => 2,
            _ => 2 + below(&mut source, 1 << bits).min(limits::JOB_PATHS - 2),
        };
        let min = match below(&mut source, 3) {
            0 => 0,
            1 => below(&mut source, budget.min(1 << 21)),
            _ => below(&mut source, budget + 1).min(budget),
        };
        let criteria = json!({ "relative_half_width": 0.01, "min_iterations": min });
        let freq = [0.0, 2.0, 2.1, 77.0, 1000.0][below(&mut source, 5) as usize];
        let args = json!({ "iterations": budget, "claim_freq": freq, "convergence": criteria });
        let insurance = job("mc@1/insurance.v1", &args, "plans");
        check_plan(insurance.plan(), INSURANCE_PILOT, min);
        let triangle = if round % 2 == 0 { json!(wide) } else { json!([[100, 150, 175], [110, 168], [120]]) };
        let args = json!({ "iterations": budget, "triangle": triangle, "convergence": criteria });
        let reserve = job("mc@1/reserve.v1", &args, "plans");
        check_plan(reserve.plan(), RESERVE_PILOT, min);
        most = most.max(reserve.plan().stages.len()).max(insurance.plan().stages.len());
    }
    assert!(most > 80, "the largest plan had only {most} stages");
}

/// Every value of every column, leaf by leaf, from a single instruction set, as if every leaf were the pilot's.
fn every_path(job: &Job) -> Vec<Vec<Vec<i64>>> {
    let (prepared, key) = parts(job);
    let shape = prepared.shape();
    let leaf = |leaf: u64| {
        let mut sums = forgemesh_kernel::accumulator::LeafAccumulator::new(&shape, &Mode::Pilot);
        prepared.run(Isa::best(), &key, job.plan().leaf_range(leaf), &mut sums);
        let sums = sums.finish();
        (0..shape.columns.len()).map(|column| kept(&sums, column).to_vec()).collect()
    };
    (0..job.plan().leaves()).map(leaf).collect()
}

/// The double nearest to a quotient of big integers, found among its neighbours.
fn nearest(numerator: &BigInt, denominator: &BigInt) -> f64 {
    let rough = |value: &BigInt| value.to_string().parse::<f64>().expect("a whole number is a float");
    let mut x = rough(numerator) / rough(denominator);
    for _ in 0..64 {
        if is_nearest(x, numerator, denominator) {
            return x;
        }
        let above = is_nearest(x.next_up(), numerator, denominator);
        x = if above || rough(numerator) > x * rough(denominator) { x.next_up() } else { x.next_down() };
    }
    panic!("no double is near {numerator}/{denominator}")
}

/// What the reference sees at a look.
struct Seen {
    mean: f64,
    variance: f64,
    half_width: f64,
}

fn see(values: &[i64], prepared: &dyn Prepared, confidence: f64) -> Seen {
    let exponent = prepared.shape().columns[0].scale.exponent();
    let scaled = |value: BigInt, power: i32| (value, BigInt::from(1) << power.max(0), (-power).max(0));
    let n = BigInt::from(values.len());
    let sum: BigInt = values.iter().map(|&q| BigInt::from(q)).sum();
    let squares: BigInt = values.iter().map(|&q| BigInt::from(q) * q).sum();
    let quotient = |numerator: BigInt, denominator: BigInt, power: i32| {
        let (numerator, scale, up) = scaled(numerator, power);
        if numerator == BigInt::from(0) { 0.0 } else { nearest(&(numerator << up), &(denominator * scale)) }
    };
    let mean = quotient(sum.clone(), n.clone(), exponent);
    let variance = quotient(&n * squares - &sum * &sum, &n * (&n - 1), 2 * exponent);
    let z = inverse_cdf((1.0 + confidence) / 2.0);
    Seen { mean, variance, half_width: z * (variance.sqrt() / (values.len() as f64).sqrt()) }
}

fn number(value: &Value) -> Option<f64> {
    value.as_f64()
}

/// The looks of a job until it stops, from all its paths; the leaves up to the stop, and whether it converged.
fn reference(job: &Job, all: &[Vec<Vec<i64>>]) -> (Vec<Seen>, u64, bool) {
    let (prepared, _) = parts(job);
    let asked = &job.args_json()["convergence"];
    let confidence = number(&asked["confidence"]).expect("a default");
    let pilot = if job.contract().op.profile == "reserve.v1" { RESERVE_PILOT } else { INSURANCE_PILOT };
    let leaves = all.len() as u64;
    let first = asked["min_iterations"].as_u64().expect("a default").div_ceil(job.plan().leaf_paths);
    let first = first.max(8).min(leaves);
    let mut seen: Vec<Seen> = Vec::new();
    for end in checkpoints(leaves, leaves.min(pilot / job.plan().leaf_paths), first) {
        if end < first {
            continue;
        }
        let values: Vec<i64> = all[..end as usize].iter().flat_map(|leaf| leaf[0].iter().copied()).collect();
        seen.push(see(&values, &*prepared, confidence));
        let here = &seen[seen.len() - 1];
        let absolute = number(&asked["absolute_half_width"]).is_none_or(|most| here.half_width <= most);
        let relative = number(&asked["relative_half_width"])
            .is_none_or(|most| here.half_width <= most * here.mean.abs());
        let steady = asked["variance_window"].as_u64().is_none_or(|window| {
            let mut last: Vec<f64> =
                seen.iter().rev().take(window as usize).map(|look| look.variance).collect();
            last.sort_by(f64::total_cmp);
            let tolerance = number(&asked["variance_tolerance"]).expect("with a window");
            last.len() as u64 == window && last[last.len() - 1] - last[0] <= tolerance * here.variance
        });
        if here.variance > 0.0 && absolute && relative && steady {
            return (seen, end, true);
        }
    }
    (seen, leaves, false)
}

/// Holds a result against all paths before the reference's stop.
fn check_result(job: &Job, result: &FinalOutput, end: End) {
    let all = every_path(job);
    let (seen, stop, converged) = reference(job, &all);
    let found = result.body.convergence.as_ref().expect("a contract with convergence");
    let last = &seen[seen.len() - 1];
    assert_eq!((result.body.work.leaves, found.looks), (stop, seen.len() as u64), "{found:?}");
    assert_eq!(found.reason, if converged { StopReason::Converged } else { StopReason::Budget });
    assert_eq!(found.half_width.get(), last.half_width);
    let paths = (stop * job.plan().leaf_paths).min(job.plan().paths);
    assert_eq!((result.body.work.iterations, result.body.work.excluded.total()), (paths, 0));
    let pilot = job
        .plan()
        .stages
        .iter()
        .filter(|stage| stage.kind == StageKind::Pilot)
        .map(|stage| stage.end())
        .max();
    let found = match (converged, Some(stop) <= pilot) {
        (false, _) => End::Budget,
        (true, true) => End::InPilot,
        (true, false) => End::InMain,
    };
    assert_eq!(found, end, "stopped at {stop} of {} leaves", all.len());
    let mut sorted: Vec<i64> = all[..stop as usize].iter().flat_map(|leaf| leaf[0].iter().copied()).collect();
    sorted.sort_unstable();
    let factor = parts(job).0.shape().columns[0].scale.factor();
    let output = &result.output.json;
    let std = output.get("std").unwrap_or(&output["prediction_error"]);
    assert_eq!((number(&output["mean"]), number(std)), (Some(last.mean), Some(last.variance.sqrt())));
    let points = output.get("percentiles").unwrap_or(&output["tail_exposure_surface"]);
    for point in points.as_array().expect("a list") {
        let ppb = (number(&point["level"]).expect("a level") * 1e9).round() as u64;
        let expected = sorted[slow_rank(ppb, sorted.len() as u64) as usize - 1] as f64 / factor;
        assert_eq!(number(point.get("var").unwrap_or(&point["value"])), Some(expected), "{point}");
    }
}

/// Brackets that hold no value, so that every rank is missed.
fn nowhere(job: &Job) -> Option<StageInput> {
    let shape = parts(job).0.shape();
    let bracket = Bracket { lo: i64::MAX - 1, hi: i64::MAX - 1 };
    let columns = shape.columns.iter().map(|column| vec![bracket; column.levels.len()]);
    let brackets = Bytes(Brackets(columns.collect()).encode());
    Some(StageInput { source: forgemesh_protocol::hash::Hash::ZERO, brackets })
}

/// Executes the job stage after stage; with `missed`, against brackets that hold nothing. Gives the stages' kinds, too.
fn run(
    job: &Job,
    missed: bool,
    mut stage: impl FnMut(&Job, &StageRun) -> Accumulator,
) -> (FinalOutput, Vec<StageKind>) {
    let (mut run, mut reducer, mut kinds) = (job.first_run(), Reducer::default(), Vec::new());
    loop {
        if missed && run.stage.kind == StageKind::Main {
            run.input = nowhere(job);
        }
        kinds.push(run.stage.kind);
        match reducer.push(job, &run, stage(job, &run)).expect("stages that fit together") {
            Reduction::Next(next) => run = next,
            Reduction::Final(result) => return (*result, kinds),
            Reduction::Failed(failure) => panic!("{failure}"),
        }
    }
}

/// `count` random schedules of the job, all with the result that the reference confirms.
fn check(test: &str, op: &str, args: Value, end: End, count: u64, seed: u64) {
    let job = job(op, &args, "convergence");
    let expected = execute(&job, Isa::best()).expect("a job that does not fail");
    check_result(&job, &expected, end);
    let found = expected.body.convergence.as_ref();
    println!("{test}: {} leaves, {found:?}; schedules {count} from {seed} << 32", expected.body.work.leaves);
    let asked = std::env::var(SEED).ok().map(|text| text.parse().expect("a decimal seed"));
    let seeds: Vec<u64> = asked.map_or_else(|| (0..count).map(|i| seed << 32 | i).collect(), |s| vec![s]);
    for seed in seeds {
        let mut source = Source::new(seed);
        // Every other one misses its brackets, if it has any.
        let missed = below(&mut source, 2) == 0;
        let (found, kinds) = run(&job, missed, |job, run| stage(job, run, &mut source));
        let repaired = missed && kinds.contains(&StageKind::Main);
        assert_eq!(kinds.last() == Some(&StageKind::Repair), repaired, "seed {seed}: {kinds:?}");
        assert_eq!(
            found.body, expected.body,
            "seed {seed}; {SEED}={seed} cargo test -p forgemesh-kernel --test exact convergence::{test}"
        );
    }
}

fn reserve(iterations: u64, convergence: Value) -> Value {
    let triangle = json!([[100, 150, 175], [110, 168], [120]]);
    json!({ "triangle": triangle, "iterations": iterations, "convergence": convergence })
}

#[test]
fn reserve_converges_at_its_first_look() {
    let args = reserve(60_000, json!({ "relative_half_width": 0.02 }));
    check("reserve_converges_at_its_first_look", "mc@1/reserve.v1", args, End::InPilot, 550, 20);
}

#[test]
fn reserve_converges_in_its_pilot() {
    let args = reserve(90_000, json!({ "relative_half_width": 0.0004, "confidence": 0.9 }));
    check("reserve_converges_in_its_pilot", "mc@1/reserve.v1", args, End::InPilot, 350, 21);
}

#[test]
fn reserve_converges_with_a_steady_variance() {
    let criteria = json!({ "variance_window": 4, "variance_tolerance": 0.02, "absolute_half_width": 2 });
    check(
        "reserve_converges_with_a_steady_variance",
        "mc@1/reserve.v1",
        reserve(70_000, criteria),
        End::InPilot,
        250,
        22,
    );
}

#[test]
fn reserve_converges_in_its_main_stages() {
    let args = reserve(200_000, json!({ "relative_half_width": 0.00026 }));
    check("reserve_converges_in_its_main_stages", "mc@1/reserve.v1", args, End::InMain, 120, 23);
}

#[test]
fn reserve_looks_late() {
    let args = reserve(120_000, json!({ "relative_half_width": 0.5, "min_iterations": 66_000 }));
    check("reserve_looks_late", "mc@1/reserve.v1", args, End::InMain, 80, 24);
}

#[test]
fn reserve_uses_up_its_budget_within_the_pilot() {
    let args = reserve(13_001, json!({ "relative_half_width": 1e-6 }));
    check("reserve_uses_up_its_budget_within_the_pilot", "mc@1/reserve.v1", args, End::Budget, 250, 25);
}

#[test]
fn reserve_uses_up_its_budget_beyond_the_pilot() {
    let args = reserve(70_001, json!({ "absolute_half_width": 1e-6, "relative_half_width": 1 }));
    check("reserve_uses_up_its_budget_beyond_the_pilot", "mc@1/reserve.v1", args, End::Budget, 100, 26);
}

#[test]
fn insurance_converges_in_its_pilot() {
    let args = json!({
        "iterations": 20_000, "claim_freq": 1000, "aggregate_limit": 900_000,
        "convergence": { "relative_half_width": 0.0032 },
    });
    check("insurance_converges_in_its_pilot", "mc@1/insurance.v1", args, End::InPilot, 300, 27);
}

#[test]
fn insurance_uses_up_its_budget() {
    let args = json!({
        "iterations": 2_000, "claim_freq": 900, "convergence": { "absolute_half_width": 1 },
    });
    check("insurance_uses_up_its_budget", "mc@1/insurance.v1", args, End::Budget, 200, 28);
}

#[test]
fn insurance_converges_in_its_main_stages() {
    let args = json!({
        "iterations": 2_000_000, "claim_freq": 0.1, "cat_prob": 0,
        "convergence": { "relative_half_width": 0.0082 },
    });
    check("insurance_converges_in_its_main_stages", "mc@1/insurance.v1", args, End::InMain, 12, 29);
}

#[test]
fn without_spread_a_job_goes_on_to_its_budget() {
    let args = json!({
        "iterations": 600_000, "claim_freq": 0, "cat_prob": 0, "convergence": { "absolute_half_width": 1e15 },
    });
    check("without_spread_a_job_goes_on_to_its_budget", "mc@1/insurance.v1", args, End::Budget, 4, 30);
}

#[test]
fn excluded_paths_fail_a_job_at_the_pilots_end_or_its_stop_and_not_by_chance_before() {
    let asks = |width: f64| {
        job("mc@1/reserve.v1", &reserve(100_000, json!({ "absolute_half_width": width })), "excluded")
    };
    let (never, soon) = (asks(1e-9), asks(1e12));
    let shape = parts(&never).0.shape();
    let count = 1_000;
    let sum = |bad: usize, mode: &Mode| {
        let column: Vec<f64> = (0..count).map(|i| if i < bad { f64::NAN } else { (i % 50) as f64 }).collect();
        let paths = Paths { columns: vec![column; shape.columns.len()], degenerate: vec![false; count] };
        paths.leaf(&shape, mode, 0..count)
    };
    // So many excluded of each thousand, stage by stage; the stage at which the job fails.
    let pilot_stages = never.plan().stages.iter().filter(|stage| stage.kind == StageKind::Pilot).count();
    let made_up: Vec<usize> = (0..pilot_stages).map(|i| if i == 0 { pilot_stages } else { 0 }).collect();
    let too_many: Vec<usize> = (0..pilot_stages).map(|i| if i == 0 { pilot_stages + 1 } else { 0 }).collect();
    for (job, bad, fails_at) in
        [(&never, &made_up, None), (&never, &too_many, Some(pilot_stages - 1)), (&soon, &made_up, Some(0))]
    {
        let (mut run, mut reducer) = (job.first_run(), Reducer::default());
        let mut failed_at = None;
        for (i, bad) in bad.iter().enumerate() {
            match reducer.push(job, &run, sum(*bad, &Mode::Pilot)).expect("sums of one job") {
                Reduction::Next(next) => run = next,
                Reduction::Failed(failure) => {
                    assert_eq!(failure.code, FailureCode::NumericDegenerate);
                    failed_at = Some(i);
                    break;
                }
                Reduction::Final(_) => panic!("stage {i} was the last"),
            }
        }
        assert_eq!(failed_at, fails_at, "{bad:?}");
    }
}
