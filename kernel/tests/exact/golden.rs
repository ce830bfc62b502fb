//! Golden results of small jobs of every profile, committed under `kernel/vectors/profiles` and compared on every
//! instruction set.
//!
//! `FORGEMESH_BLESS=1` writes the files. They are frozen with the profiles: a difference is a defect of the code.

use std::path::PathBuf;

use forgemesh_kernel::backend::Isa;
use forgemesh_kernel::job::Job;
use forgemesh_kernel::registry;
use serde_json::{Value, json};

use crate::support::{execute, job, raa};

/// What a job comes to on one instruction set; figures by JSON pointer, floats as the hex of their bits.
fn vector(job: &Job, isa: Isa, figures: &[&str]) -> Value {
    let result = execute(job, isa).unwrap_or_else(|failure| panic!("{failure:?}"));
    let profile = registry::find(&job.contract().op).expect("a registered profile");
    let rendered = profile.encode_output(&result.output.json).expect("an output of the profile");
    assert_eq!(rendered, result.body.output.0, "the rendered output is the hashed one");
    let figure = |pointer: &&str| {
        let value = result.output.json.pointer(pointer).unwrap_or_else(|| panic!("no {pointer}"));
        let shown = match value {
            Value::Number(number) if number.is_f64() => {
                Value::from(format!("{:016x}", number.as_f64().expect("a float").to_bits()))
            }
            other => other.clone(),
        };
        ((*pointer).to_owned(), shown)
    };
    let contract = job.contract();
    let mut vector = json!({
        "op": contract.op.to_string(),
        "args": job.args_json(),
        "seed": contract.seed,
        "contract_hash": contract.hash(),
        "root_seed": job.root_seed(),
        "result_hash": result.body.hash(),
        "figures": figures.iter().map(figure).collect::<serde_json::Map<_, _>>(),
    });
    if let Some(convergence) = &result.body.convergence {
        let half_width = format!("{:016x}", convergence.half_width.get().to_bits());
        vector["stop"] = json!({
            "leaves": result.body.work.leaves, "looks": convergence.looks, "reason": convergence.reason,
            "half_width": half_width,
        });
        vector["numerics_id"] = json!(job.numerics_id());
    }
    vector
}

fn golden(op: &str, figures: &[&str], jobs: [Value; 3]) {
    let name = op.split_once('/').expect("family@1/profile").1;
    compare(&format!("profiles/{name}.json"), &jobs.map(|args| (op, args)), figures);
}

/// Holds the vectors of these jobs against a committed file, or writes it.
fn compare(file: &str, jobs: &[(&str, Value)], figures: &[&str]) {
    let mut vectors = Vec::new();
    for (i, (op, args)) in jobs.iter().enumerate() {
        let job = job(op, args, &format!("golden {i}"));
        let portable = vector(&job, Isa::Portable, figures);
        for isa in Isa::available() {
            assert_eq!(vector(&job, isa, figures), portable, "{op}, job {i}, {isa}");
        }
        vectors.push(portable);
    }
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("vectors").join(file);
    let text = serde_json::to_string_pretty(&vectors).expect("vectors are JSON") + "\n";
    if std::env::var_os("FORGEMESH_BLESS").is_some_and(|value| value == "1") {
        std::fs::write(&path, &text).expect("the vectors can be written");
        return;
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_else(|error| {
        panic!("{}: {error}; write it with FORGEMESH_BLESS=1 if the profile is new", path.display())
    });
    for (number, (expected, found)) in committed.lines().zip(text.lines()).enumerate() {
        assert_eq!(found, expected, "{file}, line {}", number + 1);
    }
    assert_eq!(text.lines().count(), committed.lines().count(), "{file}: number of lines");
}

#[test]
fn noop() {
    golden("diag@1/noop.v1", &["/shards"], [json!({}), json!({ "shards": 3 }), json!({ "shards": 1000 })]);
}

#[test]
fn mix() {
    let figures = ["/paths", "/checksum", "/smallest", "/largest"];
    golden(
        "diag@1/mix.v1",
        &figures,
        [json!({ "iterations": 1 }), json!({ "iterations": 1_003 }), json!({})],
    );
}

#[test]
fn insurance() {
    let figures = [
        "/mean",
        "/std",
        "/std_error",
        "/p50_loss",
        "/p95_loss",
        "/p99_loss",
        "/tail_exposure_surface/5/tvar",
        "/tail_exposure_surface/8/var",
        "/tail_exposure_surface/8/tvar",
        "/policy_limit_probability",
        "/aggregate_limit_probability",
        "/loss_distribution/0/count",
        "/scale_exponent",
    ];
    golden(
        "mc@1/insurance.v1",
        &figures,
        [
            json!({ "iterations": 20_000 }),
            json!({
                "iterations": 300, "claim_freq": 731.25, "claim_severity_mu": 2.5, "claim_severity_sig": 0.75,
                "cat_prob": 0.25, "policy_limit": 100, "aggregate_limit": 15_000
            }),
            // One path more than the pilot: brackets, and values counted against them.
            json!({
                "iterations": (1 << 20) + 1, "claim_freq": 0.001, "cat_prob": 0.0001, "aggregate_limit": 1e4
            }),
        ],
    );
}

#[test]
fn reserve() {
    let figures = [
        "/chain_ladder_reserve",
        "/dispersion",
        "/mean",
        "/prediction_error",
        "/percentiles/0/value",
        "/percentiles/1/value",
        "/by_origin/1/mean",
        "/by_origin/2/prediction_error",
        "/loss_distribution/0/lower",
        "/loss_distribution/0/mean",
        "/scale_exponent",
    ];
    let ragged = json!([[1.5, 2.25, 2.5, 2.625], [1.25, 2.5, 2.75], [1.75, 2.875, 3.125], [1.5], [2.0]]);
    golden(
        "mc@1/reserve.v1",
        &figures,
        [
            json!({ "triangle": raa(), "iterations": 1_500 }),
            json!({ "triangle": ragged, "iterations": 2_049, "levels": [0.1, 0.995] }),
            // One path more than the pilot: brackets, and values counted against them.
            json!({
                "triangle": [[100, 150, 175], [110, 168], [120]], "iterations": (1 << 16) + 1,
                "process": "none", "levels": [0.5, 0.999]
            }),
        ],
    );
}

#[test]
fn convergence() {
    let (insurance, reserve) = ("mc@1/insurance.v1", "mc@1/reserve.v1");
    let triangle = json!([[100, 150, 175], [110, 168], [120]]);
    let jobs = [
        // In the pilot, in the main stages, at the budget.
        (
            reserve,
            json!({
                "triangle": raa(), "iterations": 50_000,
                "convergence": { "relative_half_width": 0.006, "confidence": 0.9 }
            }),
        ),
        (
            reserve,
            json!({
                "triangle": triangle, "iterations": 200_000, "process": "none",
                "convergence": { "relative_half_width": 1, "min_iterations": 66_000 }
            }),
        ),
        (
            insurance,
            json!({
                "iterations": 4_000, "claim_freq": 731.25, "claim_severity_mu": 2.5,
                "convergence": { "absolute_half_width": 5, "variance_window": 3, "variance_tolerance": 0.05 }
            }),
        ),
        (
            insurance,
            json!({
                "iterations": 600_000, "claim_freq": 0.001, "cat_prob": 0.0001,
                "convergence": { "relative_half_width": 1e-4 }
            }),
        ),
    ];
    compare("convergence.v1.json", &jobs, &["/mean", "/loss_distribution/0/count"]);
}
