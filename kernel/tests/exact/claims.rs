//! A job holds what others claim against what it computes itself: claims, openings, sums of stages.

use forgemesh_kernel::accumulator::{Accumulator, Mode, Shape};
use forgemesh_kernel::backend::Isa;
use forgemesh_kernel::job::{ClaimError, Job, RunError, ShardRun};
use forgemesh_kernel::num::chacha::Key;
use forgemesh_kernel::planner;
use forgemesh_kernel::reduction::{ReduceError, Reduction};
use forgemesh_protocol::attestation::Claim;
use forgemesh_protocol::challenge::MismatchKind;
use forgemesh_protocol::failure::FailureCode;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::limits;
use forgemesh_protocol::plan::{StageInput, StageKind, StageRun};
use serde_json::json;

use crate::support::{Paths, job, parts, raa, reduce};

fn mix() -> Job {
    job("diag@1/mix.v1", &json!({ "iterations": 500 }), "claims")
}

/// The first stage, in shards of five leaves.
fn first(job: &Job) -> StageRun {
    let stage = forgemesh_protocol::plan::Stage { leaves_per_shard: 5, ..job.plan().stages[0].clone() };
    StageRun { number: 0, stage, input: None }
}

fn claim(shard: u64, run: &ShardRun) -> Claim {
    let (tree, totals) = (run.root(), run.totals_digest());
    Claim { shard, task: run.task_hash(), tree, totals, blob: Hash::ZERO, wall_us: 0, cpu_us: 0 }
}

#[test]
fn an_honest_shard_passes_whichever_leaf_is_opened() {
    let (job, isas) = (mix(), Isa::available());
    let run = first(&job);
    for shard in 0..run.stage.shards() {
        let executed = job.run_shard(Isa::Portable, &run, shard).unwrap();
        let claim = claim(shard, &executed);
        for (leaf, isa) in run.stage.shard_leaves(shard).zip(isas.iter().cycle()) {
            let opening = executed.open(leaf).unwrap();
            assert_eq!(job.check_leaf(*isa, &run, &claim, leaf, &opening), Ok(Ok(())), "{isa}, leaf {leaf}");
        }
        let bytes = executed.totals().encode();
        assert_eq!(job.decode(&run, &claim, &bytes).as_ref(), Ok(executed.totals()));
    }
    let beyond = RunError::NoShard { stage: 0, shard: run.stage.shards() };
    assert_eq!(job.run_shard(Isa::Portable, &run, run.stage.shards()).err(), Some(beyond));
}

#[test]
fn every_dishonest_shard_is_named() {
    let job = mix();
    let run = first(&job);
    let honest: Vec<ShardRun> = (0..2).map(|s| job.run_shard(Isa::Portable, &run, s).unwrap()).collect();
    let claim = claim(1, &honest[1]);
    let kind = |claim: &Claim, leaf, opening: &[u8]| {
        let checked = job.check_leaf(Isa::Portable, &run, claim, leaf, opening).unwrap();
        checked.err().map(|(kind, _)| kind)
    };
    let opening = honest[1].open(7).unwrap();
    assert_eq!(kind(&claim, 7, &opening), None);
    let wrong = Some(MismatchKind::WrongOpening);
    assert_eq!(kind(&claim, 6, &opening), wrong, "another leaf");
    assert_eq!(kind(&claim, 2, &honest[0].open(2).unwrap()), wrong, "another shard's leaf");
    assert_eq!(kind(&claim, 7, &honest[0].open(2).unwrap()), wrong, "another shard's opening");
    assert_eq!(kind(&Claim { task: Hash::ZERO, ..claim.clone() }, 7, &opening), wrong, "another task");
    assert_eq!(kind(&Claim { tree: Hash::ZERO, ..claim.clone() }, 7, &opening), wrong, "another root");
    let forged = Some(MismatchKind::ForgedTotal);
    assert_eq!(kind(&Claim { totals: Hash::ZERO, ..claim.clone() }, 7, &opening), forged);
    for len in 0..opening.len() {
        assert_eq!(kind(&claim, 7, &opening[..len]), wrong, "cut to {len} bytes");
    }
    for bit in 0..8 * opening.len() {
        let mut changed = opening.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let found = kind(&claim, 7, &changed);
        assert!(found == wrong || found == forged, "bit {bit}: {found:?}");
    }
    // Another stage of the same leaves has another task.
    let later = StageRun { number: 1, ..run.clone() };
    let found = job.check_leaf(Isa::Portable, &later, &claim, 7, &opening).unwrap();
    assert_eq!(found.err().map(|(kind, _)| kind), wrong);
    // A job that differs in its seed alone: its leaves commit and sum well, and are not this job's.
    let other = self::job("diag@1/mix.v1", &json!({ "iterations": 500 }), "other");
    let place = forgemesh_kernel::tree::Place {
        task: claim.task,
        leaves: run.stage.shard_leaves(1),
        leaf_paths: job.plan().leaf_paths,
        paths: job.plan().paths,
    };
    let (prepared, key) = parts(&other);
    let leaves = place.leaves.clone().map(|leaf| leaf_of(&*prepared, &key, other.plan().leaf_range(leaf)));
    let tree = forgemesh_kernel::tree::Tree::build(place.clone(), leaves.collect()).unwrap();
    let lie = Claim { tree: tree.root(), totals: tree.totals_digest(), ..claim.clone() };
    for leaf in place.leaves.clone() {
        let found = kind(&lie, leaf, &tree.open(leaf).unwrap().encode());
        assert_eq!(found, Some(MismatchKind::LeafDiffers));
    }
}

fn leaf_of(
    prepared: &dyn forgemesh_kernel::profile::Prepared,
    key: &Key,
    paths: std::ops::Range<u64>,
) -> Accumulator {
    let mut leaf = forgemesh_kernel::accumulator::LeafAccumulator::new(&prepared.shape(), &Mode::Plain);
    prepared.run(Isa::Portable, key, paths, &mut leaf);
    leaf.finish()
}

#[test]
fn claimed_sums_are_held_against_the_claim() {
    let job = mix();
    let run = first(&job);
    let executed = job.run_shard(Isa::Portable, &run, 0).unwrap();
    let claim = claim(0, &executed);
    let bytes = executed.totals().encode();
    let foreign = Claim { task: Hash::ZERO, ..claim.clone() };
    assert_eq!(job.decode(&run, &foreign, &bytes), Err(ClaimError::Task));
    let forged = Claim { totals: Hash::ZERO, ..claim.clone() };
    assert_eq!(job.decode(&run, &forged, &bytes), Err(ClaimError::Totals));
    let mut short = executed.totals().clone();
    short.paths -= 1;
    short.excluded[0] = 0;
    short.columns[0].moments.n -= 1;
    let brief = Claim { totals: short.digest(), ..claim.clone() };
    let found = job.decode(&run, &brief, &short.encode());
    assert_eq!(found, Err(ClaimError::Paths { expected: 80, found: 79 }));
    assert!(matches!(job.decode(&run, &claim, &bytes[1..]), Err(ClaimError::Decode(_))));
}

/// A sum of a stage that could be one: these values, in the job's own shape.
fn sum(shape: &Shape, mode: &Mode, value: f64, count: usize) -> Accumulator {
    let paths =
        Paths { columns: vec![vec![value; count]; shape.columns.len()], degenerate: vec![false; count] };
    paths.leaf(shape, mode, 0..count)
}

/// The plan has these stages, and none that differs from one of them in a number.
fn only_these_are_planned(job: &Job, runs: &[StageRun]) {
    let changes: [fn(&mut StageRun); 6] = [
        |run| run.number += 1,
        |run| run.number = u64::MAX,
        |run| run.stage.first_leaf += 1,
        |run| run.stage.leaves -= 1,
        |run| run.stage.leaves_per_shard *= 2,
        |run| run.stage.leaves_per_shard = 0,
    ];
    for run in runs {
        assert!(planner::has(job.plan(), run), "{run:?}");
        for change in changes {
            let mut other = run.clone();
            change(&mut other);
            assert!(!planner::has(job.plan(), &other), "{other:?}");
        }
    }
}

#[test]
fn a_missed_bracket_leads_to_a_repair_within_the_bounds_of_a_stage() {
    // So many leaves that the main stage has as many shards as a stage may have.
    let iterations = (1 << 16) + 1024 * 8 * limits::STAGE_SHARDS;
    let job = job("mc@1/reserve.v1", &json!({ "triangle": raa(), "iterations": iterations }), "repair");
    let [pilot, main] = &job.plan().stages[..] else { panic!("pilot and main") };
    assert_eq!(main.shards(), limits::STAGE_SHARDS);
    let shape = parts(&job).0.shape();
    let pilot = StageRun { number: 0, stage: pilot.clone(), input: None };
    let mut stages = vec![(pilot, sum(&shape, &Mode::Pilot, 1.0, 2_000))];
    let Ok(Reduction::Next(main)) = reduce(&job, &stages) else { panic!("a main stage") };
    assert_eq!((main.number, main.stage.kind), (1, StageKind::Main));
    let mode = bracketed(&main, &shape);
    stages.push((main, sum(&shape, &mode, 5_000.0, 9_000)));
    let Ok(Reduction::Next(repair)) = reduce(&job, &stages) else { panic!("a repair") };
    let missed = stages[1].clone();
    assert_eq!((repair.number, repair.stage.kind), (2, StageKind::Repair));
    assert_eq!((repair.stage.first_leaf, repair.stage.leaves), (0, job.plan().leaves()));
    assert!(repair.stage.shards() <= limits::STAGE_SHARDS, "{} shards", repair.stage.shards());
    only_these_are_planned(&job, &[stages[0].0.clone(), stages[1].0.clone(), repair.clone()]);
    let mode = bracketed(&repair, &shape);
    let mut total = sum(&shape, &mode, 1.0, 2_000);
    total.merge(&sum(&shape, &mode, 5_000.0, 9_000)).unwrap();
    let mut repaired = stages.clone();
    repaired.push((repair.clone(), total));
    let Ok(Reduction::Final(result)) = reduce(&job, &repaired) else { panic!("a result") };
    assert_eq!(result.output.json["percentiles"][0]["value"], 5_000.0);
    repaired.push(repaired[2].clone());
    assert_eq!(reduce(&job, &repaired).err(), Some(ReduceError::Over(2)));
    // Sums that a repair cannot come to: evidence that does not fit together.
    let mut differs = stages.clone();
    differs.push((repair.clone(), sum(&shape, &mode, 77.0, 11_000)));
    assert_eq!(reduce(&job, &differs).err(), Some(ReduceError::RepairDiffers));
    // The brackets that were missed already.
    let mut total = stages[0].1.reclassify(&bracketed(&missed.0, &shape)).unwrap();
    total.merge(&missed.1).unwrap();
    stages.push((StageRun { input: missed.0.input, ..repair }, total));
    assert_eq!(reduce(&job, &stages).err(), Some(ReduceError::RepairMissed));
}

fn bracketed(run: &StageRun, shape: &Shape) -> Mode {
    let input = run.input.as_ref().expect("a stage with brackets");
    let brackets = forgemesh_kernel::bracket::Brackets::decode(&input.brackets.0, shape);
    Mode::Bracketed(std::sync::Arc::new(brackets.expect("our own brackets")))
}

#[test]
fn more_than_one_excluded_path_in_a_thousand_fails_the_job() {
    let job = mix();
    let run = first(&job);
    let shape = parts(&job).0.shape();
    for (count, excluded, fails) in [(999, 0, false), (999, 1, true), (2_000, 2, false), (2_000, 3, true)] {
        let mut paths = Paths { columns: vec![vec![1.0; count]], degenerate: vec![false; count] };
        paths.columns[0][..excluded].fill(f64::NAN);
        let total = paths.leaf(&shape, &Mode::Plain, 0..count);
        match reduce(&job, &[(run.clone(), total)]).unwrap() {
            Reduction::Failed(failure) => {
                assert!(fails, "{excluded} of {count}");
                assert_eq!(failure.code, FailureCode::NumericDegenerate);
            }
            Reduction::Final(result) => {
                assert!(!fails, "{excluded} of {count}");
                assert_eq!(result.body.work.excluded.nan, excluded as u64);
            }
            Reduction::Next(_) => panic!("one stage is enough"),
        }
    }
}

#[test]
fn a_stage_without_its_brackets_or_with_bad_ones_is_refused() {
    let args = json!({ "triangle": raa(), "iterations": 70_000 });
    let job = job("mc@1/reserve.v1", &args, "input");
    let mut run = StageRun { number: 1, stage: job.plan().stages[1].clone(), input: None };
    assert_eq!(job.run_shard(Isa::Portable, &run, 0).err(), Some(RunError::NoInput));
    for brackets in [&b""[..], b"FMBR\x01", b"FMBR\x01\xff\xff\xff\xff"] {
        let brackets = forgemesh_protocol::canon::Bytes(brackets.to_vec());
        run.input = Some(StageInput { source: Hash::ZERO, brackets });
        assert!(matches!(job.run_shard(Isa::Portable, &run, 0), Err(RunError::Input(_))));
    }
}
