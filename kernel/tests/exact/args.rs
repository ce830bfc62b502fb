//! Arguments have one canonical form: every spelling of a job is the same contract.

use forgemesh_kernel::job::Job;
use forgemesh_protocol::canon::{self, Bytes};
use forgemesh_protocol::contract::Contract;
use serde_json::{Value, json};

use crate::support::{Source, below, job, raa};

const OPS: [&str; 4] = ["diag@1/mix.v1", "diag@1/noop.v1", "mc@1/insurance.v1", "mc@1/reserve.v1"];

/// The contract of arguments as they are written.
fn contract(op: &str, args: &str) -> Contract {
    let (family, profile) = op.split_once("@1/").expect("family@1/profile");
    let text = format!(
        r#"{{"op":{{"name":"{family}","version":1,"profile":"{profile}"}},"args":{args},
            "seed":{{"mode":"derived"}}}}"#
    );
    let read = Job::read(text.as_bytes());
    read.unwrap_or_else(|problems| panic!("{op} {args}: {problems:?}")).0.contract().clone()
}

#[test]
fn every_spelling_of_a_number_is_the_same_contract() {
    let cases: [(&str, &[&str]); 5] = [
        (
            "mc@1/insurance.v1",
            &[
                r#"{"iterations":1000000}"#,
                r#"{"iterations":1e6}"#,
                r#"{"iterations":1000000.0}"#,
                r#"{"iterations":10.0E+5}"#,
                "{}",
            ],
        ),
        (
            "mc@1/insurance.v1",
            &[
                r#"{"claim_freq":0,"cat_mu":0.1}"#,
                r#"{"claim_freq":-0,"cat_mu":1e-1}"#,
                r#"{"claim_freq":-0.0,"cat_mu":0.10}"#,
                r#"{"cat_mu":0.1000000000000000055,"claim_freq":0e5}"#,
            ],
        ),
        ("diag@1/mix.v1", &[r#"{"iterations":4096}"#, r#"{"iterations":4.096e3}"#, "{}"]),
        ("diag@1/noop.v1", &[r#"{"shards":1}"#, r#"{"shards":1.0}"#, "{}"]),
        (
            "mc@1/reserve.v1",
            &[
                r#"{"triangle":[[0,1,3],[2,3,4],[5]]}"#,
                r#"{"triangle":[[-0.0,1.0,3e0],[2,3,4],[5]],"iterations":1e5}"#,
                r#"{"triangle":[[-0,1,3],[2,3,4],[5]],"iterations":100000,"process":"gamma"}"#,
                r#"{"levels":[0.5,0.75,0.90,9.5e-1,0.99,0.995],"triangle":[[0,1,3],[2,3,4],[5]]}"#,
            ],
        ),
    ];
    for (op, spellings) in cases {
        let first = contract(op, spellings[0]);
        for spelling in spellings {
            assert_eq!(contract(op, spelling), first, "{op}: {spelling}");
            assert_eq!(contract(op, spelling).hash(), first.hash(), "{op}: {spelling}");
        }
    }
    let other = contract("mc@1/insurance.v1", r#"{"claim_freq":5e-324,"cat_mu":0.1}"#);
    assert_ne!(other.hash(), contract("mc@1/insurance.v1", r#"{"claim_freq":0,"cat_mu":0.1}"#).hash());
}

#[test]
fn convergence_changes_a_contract_by_being_there_and_its_defaults_are_materialised() {
    let without = job("mc@1/insurance.v1", &json!({}), "defaults");
    assert!(without.args_json().get("convergence").is_none());
    let spellings = [
        r#"{"convergence":{"relative_half_width":0.01}}"#,
        r#"{"convergence":{"min_iterations":0.0,"relative_half_width":1e-2,"confidence":0.950}}"#,
    ]
    .map(|spelling| contract("mc@1/insurance.v1", spelling));
    assert_eq!(spellings[0], spellings[1]);
    let with = Job::of_contract(spellings[0].clone()).unwrap();
    let expected = json!({ "relative_half_width": 0.01, "confidence": 0.95, "min_iterations": 0 });
    assert_eq!(with.args_json()["convergence"], expected);
    assert_ne!((with.numerics_id(), with.plan().contract), (without.numerics_id(), without.plan().contract));
}

#[test]
fn defaults_are_materialised() {
    let full = r#"{"iterations":1000000,"claim_freq":2.0,"claim_severity_mu":6.0,"claim_severity_sig":1.0,
        "cat_prob":0.02,"cat_mu":10.0,"cat_sig":1.5,"policy_limit":50000.0,"aggregate_limit":250000.0}"#;
    assert_eq!(contract("mc@1/insurance.v1", "{}"), contract("mc@1/insurance.v1", full));
    let shown = job("mc@1/insurance.v1", &json!({}), "defaults").args_json();
    assert_eq!(shown, serde_json::from_str::<Value>(full).unwrap());
    let shown = job("mc@1/reserve.v1", &json!({ "triangle": raa() }), "defaults").args_json();
    assert_eq!(shown["levels"], json!([0.5, 0.75, 0.9, 0.95, 0.99, 0.995]));
    assert_eq!((&shown["iterations"], &shown["process"]), (&json!(100_000), &json!("gamma")));
}

/// A float from the range: an end, a round number, or any.
fn float(source: &mut Source, min: f64, max: f64) -> f64 {
    match below(source, 5) {
        0 => min,
        1 => max,
        2 => source.between(min, max).round().clamp(min, max),
        3 => (source.between(min, max) * 1e-6).clamp(min, max),
        _ => source.between(min, max),
    }
}

/// Criteria of any kind, or none.
fn convergence(source: &mut Source, iterations: u64) -> Option<Value> {
    let mut out = json!({});
    let which = below(source, 8);
    if which & 1 != 0 {
        out["relative_half_width"] = json!(float(source, 1e-9, 1.0));
    }
    if which & 2 != 0 {
        out["absolute_half_width"] = json!(float(source, 5e-324, 1e15));
    }
    if which & 4 != 0 {
        out["variance_window"] = json!(2 + below(source, 31));
        out["variance_tolerance"] = json!(float(source, 1e-9, 1.0));
    }
    if below(source, 2) == 0 {
        out["confidence"] = json!((1 + below(source, 999_999_999)) as f64 / 1e9);
    }
    if below(source, 2) == 0 {
        out["min_iterations"] = json!(below(source, iterations + 1).min(iterations));
    }
    (which > 0).then_some(out)
}

/// What was given, with the defaults that are shown beside it.
fn check_shown(shown: &Value, given: &Value, what: &str) {
    match given.as_object() {
        None => assert_eq!(shown, given, "{what}"),
        Some(fields) => {
            for (name, value) in fields {
                assert_eq!(shown[name], *value, "{what}: {name}");
            }
        }
    }
}

fn args(op: &str, source: &mut Source) -> Value {
    let most = [100, 1 << 20, 999_999_999_999][below(source, 3) as usize];
    let iterations = 2 + below(source, most);
    match op {
        "diag@1/mix.v1" => json!({ "iterations": iterations }),
        "diag@1/noop.v1" => json!({ "shards": 1 + below(source, 1 << 20) }),
        "mc@1/insurance.v1" => {
            let fields = [
                ("claim_freq", 0.0, 1000.0),
                ("claim_severity_mu", -100.0, 100.0),
                ("claim_severity_sig", 0.0, 20.0),
                ("cat_prob", 0.0, 1.0),
                ("cat_mu", -100.0, 100.0),
                ("cat_sig", 0.0, 20.0),
                ("policy_limit", 1e-9, 1e15),
                ("aggregate_limit", 1e-9, 1e15),
            ];
            let mut out = json!({ "iterations": iterations });
            for (name, min, max) in fields {
                if below(source, 4) > 0 {
                    out[name] = json!(float(source, min, max));
                }
            }
            if let Some(criteria) = convergence(source, iterations) {
                out["convergence"] = criteria;
            }
            out
        }
        _ => {
            let width = 3 + below(source, 8) as usize;
            let row = |known: usize, source: &mut Source| -> Vec<f64> {
                let mut cumulative = 0.0;
                (0..known)
                    .map(|_| {
                        cumulative += source.between(1.0, 1e6);
                        cumulative
                    })
                    .collect()
            };
            let triangle: Vec<Vec<f64>> = (0..width).map(|i| row(width - i, source)).collect();
            let mut levels: Vec<u64> =
                (0..1 + below(source, 32)).map(|_| 1 + below(source, 999_999_999)).collect();
            levels.sort_unstable();
            levels.dedup();
            let levels: Vec<f64> = levels.iter().map(|ppb| *ppb as f64 / 1e9).collect();
            let process = if below(source, 2) == 0 { "gamma" } else { "none" };
            let mut out = json!({ "triangle": triangle, "iterations": iterations, "process": process, "levels": levels });
            if let Some(criteria) = convergence(source, iterations) {
                out["convergence"] = criteria;
            }
            out
        }
    }
}

#[test]
fn random_arguments_survive_json_and_canonical_bytes() {
    let mut source = Source::new(0x5eed_0040);
    for op in OPS {
        for round in 0..150 {
            let args = args(op, &mut source);
            let job = job(op, &args, "round trip");
            let shown = job.args_json();
            for (name, value) in args.as_object().unwrap() {
                check_shown(&shown[name], value, &format!("{op} {args}: {name}"));
            }
            let again = Job::of_contract(job.contract().clone()).unwrap();
            assert_eq!(again.args_json(), shown, "{op}, round {round}");
            assert_eq!((again.contract(), again.plan()), (job.contract(), job.plan()));
            assert_eq!((again.root_seed(), again.replay_key()), (job.root_seed(), job.replay_key()));
            let bytes = canon::to_bytes(job.contract());
            let contract: Contract = canon::from_bytes(&bytes, bytes.len()).unwrap();
            assert_eq!(&contract, job.contract());
            let envelope = json!({
                "op": { "name": contract.op.name, "version": 1, "profile": contract.op.profile },
                "args": shown, "seed": contract.seed,
            });
            let (read, terms) = Job::read(&serde_json::to_vec(&envelope).unwrap()).unwrap();
            assert_eq!(read.contract(), &contract, "{op}, round {round}");
            let (canonical, _) = Job::read(&read.envelope(&terms)).unwrap();
            assert_eq!(canonical.contract(), &contract, "{op}, round {round}");
            assert_eq!(canonical.envelope(&terms), read.envelope(&terms));
        }
    }
}

#[test]
fn changed_canonical_arguments_are_refused_or_are_other_arguments() {
    let small = json!([[1, 3, 4], [2, 5], [3]]);
    let cases = [
        ("diag@1/mix.v1", json!({ "iterations": 1000 })),
        ("diag@1/noop.v1", json!({ "shards": 30 })),
        ("mc@1/insurance.v1", json!({})),
        ("mc@1/insurance.v1", json!({ "convergence": { "relative_half_width": 0.01 } })),
        ("mc@1/reserve.v1", json!({ "triangle": small, "levels": [0.5] })),
        (
            "mc@1/reserve.v1",
            json!({
                "triangle": small,
                "convergence": { "variance_window": 2, "variance_tolerance": 0.5, "min_iterations": 7 }
            }),
        ),
    ];
    for (op, args) in cases {
        let honest = job(op, &args, "changed").contract().clone();
        let read = |args: &[u8]| Job::of_contract(Contract { args: Bytes(args.to_vec()), ..honest.clone() });
        let bytes = &honest.args.0;
        assert!(read(bytes).is_ok());
        for len in 0..bytes.len() {
            assert!(read(&bytes[..len]).is_err(), "{op}: cut to {len} bytes");
        }
        assert!(read(&[bytes.as_slice(), &[0]].concat()).is_err(), "{op}: a byte behind the end");
        for bit in 0..8 * bytes.len() {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            if let Ok(other) = read(&changed) {
                assert_eq!(other.contract().args.0, changed, "{op}: bit {bit} has two spellings");
                assert_ne!(other.contract().hash(), honest.hash(), "{op}: bit {bit}");
            }
        }
    }
}
