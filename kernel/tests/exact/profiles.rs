//! The profiles' figures are those of all their paths, computed and sorted; and their corners do what they should.

use forgemesh_kernel::backend::Isa;
use forgemesh_kernel::job::Job;
use forgemesh_kernel::profile::Prepared;
use forgemesh_kernel::reduction::FinalOutput;
use forgemesh_protocol::failure::FailureCode;
use serde_json::{Value, json};

use crate::support::{
    Source, all_kept, below, execute, is_nearest, job, kept, parts, raa, slow_rank, slow_tail_mean,
};

const RESERVE_PILOT: u64 = 1 << 16;
const INSURANCE_PILOT: u64 = 1 << 20;

fn reserve(args: Value) -> Job {
    job("mc@1/reserve.v1", &args, "profiles")
}

fn insurance(args: Value) -> Job {
    job("mc@1/insurance.v1", &args, "profiles")
}

fn finished(job: &Job) -> FinalOutput {
    execute(job, Isa::best()).unwrap_or_else(|failure| panic!("{failure:?}"))
}

fn float(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("a number, found {value}"))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("a list, found {value}"))
}

fn ppb(level: &Value) -> u64 {
    (float(level) * 1e9).round() as u64
}

/// The value of an order statistic, in the unit of the output.
fn ranked(sorted: &[i64], ppb: u64, prepared: &dyn Prepared) -> f64 {
    let q = sorted[slow_rank(ppb, sorted.len() as u64) as usize - 1];
    q as f64 / prepared.shape().columns[0].scale.factor()
}

/// Every class holds as many values as it says, and no value is in none.
fn check_distribution(bins: &Value, sorted: &[i64], prepared: &dyn Prepared) {
    let factor = prepared.shape().columns[0].scale.factor();
    let mut at = 0;
    for bin in list(bins) {
        let (lower, upper) = (float(&bin["lower"]) * factor, float(&bin["upper"]) * factor);
        let inside = |q: &&i64| (**q as f64) < upper || (lower == upper && **q as f64 == lower);
        let members = sorted[at..].iter().take_while(inside).count();
        assert_eq!(bin["count"], members as u64, "{bin}");
        assert!(members == 0 || lower <= sorted[at] as f64, "{bin}");
        at += members;
    }
    assert_eq!(at, sorted.len(), "values in no class");
}

fn check_reserve(args: Value) {
    let job = reserve(args);
    let (prepared, _) = parts(&job);
    let output = finished(&job).output.json;
    let all = all_kept(&job, Isa::best());
    let rows = list(&job.args_json()["triangle"]).to_vec();
    let width = list(&rows[0]).len();
    let mut columns = vec![(0, &output)];
    for (row, origin) in rows.iter().zip(list(&output["by_origin"])) {
        if list(row).len() < width {
            columns.push((columns.len(), origin));
        } else {
            assert!(list(&origin["percentiles"]).iter().all(|p| p["value"] == 0.0));
            assert_eq!(origin["mean"], 0.0);
        }
    }
    assert_eq!(columns.len(), prepared.shape().columns.len());
    for (column, figures) in columns {
        let sorted = kept(&all, column);
        for percentile in list(&figures["percentiles"]) {
            let expected = ranked(sorted, ppb(&percentile["level"]), &*prepared);
            let found = float(&percentile["value"]);
            assert_eq!(found, expected, "{} paths, column {column}, {percentile}", all.paths);
        }
        check_distribution(&figures["loss_distribution"], sorted, &*prepared);
    }
}

#[test]
fn reserve_percentiles_are_those_of_all_paths_sorted() {
    for iterations in [2, 1_025, RESERVE_PILOT - 1, RESERVE_PILOT, RESERVE_PILOT + 1, 90_000] {
        check_reserve(json!({
            "triangle": raa(), "iterations": iterations, "levels": [0.001, 0.25, 0.5, 0.9, 0.995, 0.999999999]
        }));
    }
    check_reserve(json!({ "triangle": raa(), "iterations": 80_000, "process": "none" }));
}

#[test]
fn reserve_reads_ragged_triangles() {
    let ragged = [
        json!([[10, 20, 30, 33, 34], [12, 25, 31, 36], [9, 22, 28, 31], [14, 26], [13, 24], [11]]),
        json!([[10, 20], [12, 25], [9, 22], [14]]),
        json!([[10, 20, 30], [12, 25, 31], [9, 22, 28], [14]]),
        json!([[10, 20, 30], [-12, 25, 31], [9, 22], [14]]),
        // Fewer paths to a leaf, since there is more to do in each.
        json!(
            (0..30)
                .map(|i| (1..=30 - i).map(|j| 100 * j + (i * j) % 17).collect())
                .collect::<Vec<Vec<u64>>>()
        ),
    ];
    for triangle in ragged {
        for process in ["gamma", "none"] {
            check_reserve(json!({ "triangle": triangle, "iterations": 3_000, "process": process }));
        }
    }
}

#[test]
fn the_published_triangle_has_its_published_figures() {
    for (process, iterations) in [("gamma", 20_000), ("none", 2_000)] {
        let args = json!({ "triangle": raa(), "iterations": iterations, "process": process });
        let output = finished(&reserve(args)).output.json;
        let reserve = float(&output["chain_ladder_reserve"]);
        assert!((reserve - 52_135.23).abs() < 0.01, "{reserve}");
        let dispersion = float(&output["dispersion"]);
        assert!((dispersion - 983.635).abs() < 0.001, "{dispersion}");
    }
}

#[test]
fn a_triangle_that_fits_exactly_has_no_spread() {
    for process in ["gamma", "none"] {
        let triangle = json!([[100, 200, 400, 800], [50, 100, 200], [10, 20], [30]]);
        let args = json!({ "triangle": triangle, "iterations": 2_000, "process": process });
        let output = finished(&reserve(args)).output.json;
        assert_eq!((&output["dispersion"], &output["prediction_error"]), (&json!(0.0), &json!(0.0)));
        assert_eq!(output["mean"], output["chain_ladder_reserve"]);
        let means: Vec<f64> = list(&output["by_origin"]).iter().map(|o| float(&o["mean"])).collect();
        assert_eq!(means, [0.0, 200.0, 60.0, 210.0]);
    }
}

#[test]
fn a_triangle_whose_resamples_lose_a_column_fails_as_degenerate() {
    // Every fitted increment of the first column is 4, two residuals of eight are −2: one resample in sixteen has
    // an empty first column.
    let empty_column = json!([[2, 8, 16], [6, 8, 16], [3], [5]]);
    // The last origin is as large as the others' ultimates, and its factor a million: beyond 2^51 steps.
    let beyond = json!([[1, 1_000_000, 1_100_000], [1, 900_000, 1_200_000], [1, 800_000], [1_000_000]]);
    for (triangle, counter) in [(empty_column, " degenerate"), (beyond, " too large")] {
        for process in ["gamma", "none"] {
            for iterations in [3_000, RESERVE_PILOT + 1] {
                let args = json!({ "triangle": triangle, "iterations": iterations, "process": process });
                let failure = execute(&reserve(args), Isa::best()).err();
                let failure = failure.unwrap_or_else(|| panic!("{counter}: expected a failure"));
                assert_eq!(failure.code, FailureCode::NumericDegenerate);
                assert!(!failure.detail.contains(&format!(" 0{counter}")), "{}", failure.detail);
            }
        }
    }
}

/// Holds every figure against all paths; returns the output.
fn check_insurance(args: Value) -> Value {
    let job = insurance(args.clone());
    let (prepared, _) = parts(&job);
    let output = finished(&job).output.json;
    let all = all_kept(&job, Isa::best());
    let sorted = kept(&all, 0);
    let exponent = prepared.shape().columns[0].scale.exponent();
    for (name, ppb) in [("p50_loss", 500_000_000), ("p95_loss", 950_000_000), ("p99_loss", 990_000_000)] {
        assert_eq!(float(&output[name]), ranked(sorted, ppb, &*prepared), "{args}: {name}");
    }
    for point in list(&output["tail_exposure_surface"]) {
        let ppb = ppb(&point["level"]);
        assert_eq!(float(&point["var"]), ranked(sorted, ppb, &*prepared), "{args}: {point}");
        let (numerator, mut denominator) = slow_tail_mean(sorted, ppb);
        denominator <<= exponent.max(0);
        let numerator = numerator << (-exponent).max(0);
        assert!(is_nearest(float(&point["tvar"]), &numerator, &denominator), "{args}: {point}");
    }
    check_distribution(&output["loss_distribution"], sorted, &*prepared);
    let hits = all.tallies.iter().map(|hits| *hits as f64 / all.paths as f64);
    let shares = ["policy_limit_probability", "aggregate_limit_probability"].map(|name| float(&output[name]));
    assert!(hits.eq(shares), "{args}: {shares:?}");
    output
}

#[test]
fn insurance_percentiles_are_those_of_all_paths_sorted() {
    for iterations in [2, 65_537, INSURANCE_PILOT, INSURANCE_PILOT + 1, 1_300_000] {
        check_insurance(json!({ "iterations": iterations }));
    }
}

#[test]
fn insurance_has_exact_percentiles_with_atoms_at_zero_and_at_the_cap() {
    for iterations in [30_000, 1_150_000] {
        let half = check_insurance(json!({
            "iterations": iterations, "claim_freq": 0.5, "policy_limit": 700, "aggregate_limit": 1024
        }));
        assert_eq!((&half["p50_loss"], &half["p99_loss"]), (&json!(0.0), &json!(1024.0)));
        let tiny = check_insurance(json!({
            "iterations": iterations, "policy_limit": 1e-9, "aggregate_limit": 1e-9
        }));
        assert_eq!(tiny["p50_loss"], tiny["p99_loss"]);
        assert!((float(&tiny["p50_loss"]) - 1e-9).abs() < 1e-20);
        let years = float(&tiny["aggregate_limit_probability"]);
        let expected = 1.0 - 0.98 * (-2.0f64).exp();
        assert!((years - expected).abs() < 6.0 / f64::from(iterations).sqrt(), "{years} for {expected}");
    }
}

#[test]
fn insurance_without_claims_or_with_certain_catastrophes() {
    let nothing = check_insurance(json!({ "iterations": 70_000, "claim_freq": 0, "cat_prob": 0 }));
    for name in ["mean", "std", "std_error", "p50_loss", "p99_loss"] {
        assert_eq!(nothing[name], 0.0, "{name}");
    }
    assert_eq!(list(&nothing["loss_distribution"]).len(), 1);
    let always = check_insurance(json!({
        "iterations": 70_000, "claim_freq": 0, "cat_prob": 1, "cat_sig": 0, "cat_mu": 3
    }));
    assert_eq!((&always["std"], &always["p50_loss"]), (&json!(0.0), &always["p99_loss"]));
    assert!((float(&always["mean"]) - 3f64.exp()).abs() < 1e-6);
    // Sizes beyond every float still cost no more than the limit.
    let huge = check_insurance(json!({
        "iterations": 70_000, "cat_prob": 1, "cat_mu": 100, "cat_sig": 20, "claim_severity_mu": 100,
        "claim_severity_sig": 20, "policy_limit": 1e15, "aggregate_limit": 1e15
    }));
    assert!(float(&huge["p99_loss"]) <= 1e15);
    let many = check_insurance(json!({ "iterations": 1_000, "claim_freq": 1000, "aggregate_limit": 1e6 }));
    let mean = 1000.0 * (6.5f64).exp() + 0.02 * (10.0 + 1.125f64).exp();
    assert!((float(&many["mean"]) / mean - 1.0).abs() < 0.02, "{}", many["mean"]);
}

/// Refused, failed, or done: no valid-looking argument makes a path panic, on any instruction set.
fn survives(op: &str, args: &Value) -> bool {
    let (family, profile) = op.split_once("@1/").expect("family@1/profile");
    let envelope = json!({
        "op": { "name": family, "version": 1, "profile": profile }, "args": args,
        "seed": { "mode": "explicit", "value": "extremes" },
    });
    let Ok((job, _)) = Job::read(&serde_json::to_vec(&envelope).expect("an envelope is JSON")) else {
        return false;
    };
    let outcome = |isa| execute(&job, isa).map(|result| result.body.hash());
    let expected = outcome(Isa::Portable);
    for isa in Isa::available() {
        assert_eq!(outcome(isa), expected, "{op} {args}, {isa}");
    }
    expected.is_ok()
}

#[test]
fn extreme_triangles_are_refused_or_run() {
    let mut source = Source::new(0x5eed_0050);
    let (mut done, rounds) = (0, 3_000);
    for round in 0..rounds {
        let width = 2 + below(&mut source, 4) as usize;
        let mut known = width;
        let mut triangle: Vec<Vec<f64>> = Vec::new();
        for _ in 0..3 + below(&mut source, 4) {
            let cell = |source: &mut Source| match below(source, if round % 2 == 0 { 4 } else { 12 }) {
                0..2 => source.between(1.0, 1e3),
                2 => below(source, 4) as f64,
                3 => source.between(1e5, 1e6),
                4 => 0.0,
                5 => 1e15,
                6 => -1e15,
                7 => 5e-324,
                8 => 1e-300,
                9 => source.between(-1e3, 1e3),
                10 => 1e-9,
                _ => 1.0,
            };
            triangle.push((0..known).map(|_| cell(&mut source)).collect());
            known = (known - below(&mut source, 2) as usize).max(1);
        }
        let process = if below(&mut source, 2) == 0 { "gamma" } else { "none" };
        let args = json!({ "triangle": triangle, "iterations": 20, "process": process });
        done += u64::from(survives("mc@1/reserve.v1", &args));
    }
    assert!(done > rounds / 10, "only {done} of {rounds} triangles gave a result");
}

#[test]
fn extreme_portfolios_give_the_same_result_everywhere() {
    let mut source = Source::new(0x5eed_0051);
    for _ in 0..400 {
        let mut any = |ends: &[f64]| {
            let (low, high) = (ends[0], ends[ends.len() - 1]);
            match below(&mut source, 3) {
                0 => source.between(low, high),
                _ => ends[below(&mut source, ends.len() as u64) as usize],
            }
        };
        let args = json!({
            "iterations": 20,
            "claim_freq": any(&[0.0, 5e-324, 1e-9, 0.5, 2.0, 30.0]),
            "claim_severity_mu": any(&[-100.0, 0.0, 6.0, 100.0]),
            "claim_severity_sig": any(&[0.0, 1.0, 20.0]),
            "cat_prob": any(&[0.0, 5e-324, 0.5, 1.0]),
            "cat_mu": any(&[-100.0, 10.0, 100.0]),
            "cat_sig": any(&[0.0, 1.5, 20.0]),
            "policy_limit": any(&[1e-9, 1.0, 1e15]),
            "aggregate_limit": any(&[1e-9, 1.0, 1e15]),
        });
        assert!(survives("mc@1/insurance.v1", &args), "{args}");
    }
}
