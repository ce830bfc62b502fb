//! A job that stops early: what it says of itself, that a stranger gets the same stop, and that no other stop is believed.

use std::collections::BTreeMap;

use forgemesh_consensus::job::JobRecord;
use forgemesh_consensus::settle;
use forgemesh_consensus::shard_set::ShardSet;
use forgemesh_kernel::backend::Isa;
use forgemesh_kernel::job::Job;
use forgemesh_kernel::reduction::FinalOutput;
use forgemesh_node::reduce::pretty;
use forgemesh_protocol::attestation::Claim;
use forgemesh_protocol::canon::{self, F64};
use forgemesh_protocol::charter::Charters;
use forgemesh_protocol::contract::{Convergence, StopReason};
use forgemesh_protocol::envelope::ArtifactKind;
use forgemesh_protocol::genesis::Genesis;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::keys::{SecretKey, Signable, Signed};
use forgemesh_protocol::lease::Lease;
use forgemesh_protocol::plan::StageRun;
use forgemesh_protocol::receipt::Receipt;
use forgemesh_protocol::vote::{Artifact, FinalResult, Outcome, ReductionVote};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::hostile_bundles::{failures, pack, parts_of};
use super::node::{Ended, Node, path};

/// A reserve with a budget of 60,000 whose mean is known to about 0.6 at its first look, after 8,192 paths, to half of that
/// after 35,840.
fn job(half_width: f64) -> Value {
    json!({
        "op": {"name": "mc", "version": 1, "profile": "reserve.v1"},
        "args": {
            "triangle": [[100, 180, 220, 230], [110, 200, 240], [90, 170], [120]],
            "iterations": 60_000, "levels": [0.5, 0.99], "convergence": {"absolute_half_width": half_width},
        },
        "seed": {"mode": "explicit", "value": "converged"},
    })
}

/// What the kernel makes of a job, without a node.
fn executed(job: &Value) -> (Job, FinalOutput) {
    let (job, _) = Job::read(job.to_string().as_bytes()).expect("a valid job");
    let sum = |job: &Job, run: &StageRun| {
        let mut sum = job.empty(run)?;
        for shard in 0..run.stage.shards() {
            sum.merge(&job.shard_totals(Isa::best(), run, shard)?)?;
        }
        Ok(sum)
    };
    let result = job.execute(sum).expect("stages that fit together").expect("a result");
    (job, result)
}

/// A width that is met at the look after so many, and at none before.
fn width(looks: u64) -> f64 {
    let mut wide = 1e9;
    loop {
        let (_, result) = executed(&job(wide));
        let found = result.body.convergence.expect("a job with convergence");
        if found.looks >= looks {
            assert_eq!(found.looks, looks, "each look is narrower than the one before");
            return wide;
        }
        wide = found.half_width.get() * 0.999_999;
    }
}

#[test]
fn a_converged_job_verifies_and_replays_to_the_same_stop_anywhere() {
    let node = Node::new();
    let job = job(width(5));
    let run = node.run(&job, "out");
    let found = &run["convergence"];
    assert_eq!((&found["reason"], &found["looks"]), (&json!("converged"), &json!(5)), "{found}");
    assert_eq!((&found["confidence"], &found["coverage"]), (&json!(0.95), &json!("nominal")));
    let iterations = run["work"]["iterations"].as_u64().expect("a count");
    assert!(
        iterations < 60_000 && run["work"]["leaves"] == json!(iterations.div_ceil(1024)),
        "{}",
        run["work"]
    );
    let result: Value =
        serde_json::from_slice(&std::fs::read(node.path("out/result.json")).expect("it was written"))
            .expect("JSON");
    assert_eq!((&result["convergence"], &result["result_hash"]), (found, &run["result_hash"]));
    let metrics: Value =
        serde_json::from_slice(&std::fs::read(node.path("out/metrics.json")).expect("it was written"))
            .expect("JSON");
    assert_eq!((&metrics["iterations"], &metrics["stages"]), (&json!(iterations), &json!(5)));
    // What was not needed was not executed.
    assert_eq!(run["verification"]["leaves"], run["work"]["leaves"]);

    let id = run["job_id"].as_str().expect("an id");
    node.ok(&["receipt", "bundle", id, "--out", "b.tar"]);
    let stranger = Node::new();
    for name in ["out/receipt.json", "b.tar"] {
        let file = node.path(name);
        let report = stranger.ok(&["verify", path(&file), "--json"]).json();
        let checks = report["checks"].as_array().expect("a list");
        let check = checks.iter().find(|check| check["name"] == "result.convergence").expect("it is checked");
        assert_eq!(check["status"], json!("ok"), "{check}");
        for isa in Isa::available() {
            for threads in ["1", "3"] {
                let mut command = stranger.command(&["replay", path(&file), "--threads", threads, "--json"]);
                let output = command.env("FORGEMESH_ISA", isa.to_string()).output().expect("it starts");
                let replay = Ended::of(output).json();
                assert_eq!(replay["result_hash"], run["result_hash"], "{replay:#}");
                assert_eq!(replay["convergence"], *found);
            }
        }
    }
    assert!(!stranger.home().exists());
}

#[test]
fn every_command_says_where_it_stopped_and_why() {
    let node = Node::new();
    let file = node.file("job.json", job(width(3)).to_string());
    let ran = node.ok(&["run", path(&file), "--out", "out"]).text();
    let told =
        "stopped early: converged after 3 looks, 13,312 of 60,000 iterations (nominal 95 % half-width ";
    assert!(ran.contains(told), "{ran}");
    let id = ran.lines().next().and_then(|line| line.strip_prefix("accepted ")).expect("the first line");
    assert!(node.ok(&["job", "show", id]).text().contains(told));
    assert!(node.ok(&["verify", "out/receipt.json"]).text().contains(told));
    assert!(node.ok(&["replay", "out/receipt.json"]).text().contains(told));
    // A receipt alone does not know the width.
    std::fs::remove_file(node.path("out/result.json")).expect("it was written");
    let alone = node.ok(&["verify", "out/receipt.json"]).text();
    assert!(alone.contains("finalized, stopped early after 3 looks, 13,312 of 60,000 iterations"), "{alone}");

    let never = node.file("never.json", job(1e-9).to_string());
    let ran = node.ok(&["run", path(&never)]).text();
    assert!(ran.contains("not converged: 9 looks, all 60,000 iterations (nominal 95 % half-width "), "{ran}");
    let plan = node.ok(&["plan", path(&never)]).text();
    for part in ["may stop early; 9 looks", "8,192", "13,312", "60,000"] {
        assert!(plan.contains(part), "{part} is not in\n{plan}");
    }
    let plan = node.ok(&["plan", path(&never), "--json"]).json();
    let looks: Vec<u64> =
        plan["looks"].as_array().expect("a list").iter().filter_map(Value::as_u64).collect();
    assert_eq!((looks.len(), looks[0], looks[8]), (9, 8_192, 60_000));
    let schema = node.ok(&["op", "schema", "mc@1/reserve.v1"]).json();
    let shown = &schema["properties"]["convergence"]["properties"];
    assert_eq!(
        (&shown["confidence"]["default"], &shown["min_iterations"]["default"]),
        (&json!(0.95), &json!(0))
    );
}

#[test]
fn the_example_stops_early() {
    let node = Node::new();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../node/examples/reserve-raa-converged.json");
    let run = node.ok(&["run", file, "--json"]).json();
    let iterations = run["work"]["iterations"].as_u64();
    assert!(Some(20_000) <= iterations && iterations < Some(1_000_000), "{}", run["work"]);
    let found = &run["convergence"];
    let (half, mean) = (found["half_width"].as_f64(), run["output"]["mean"].as_f64());
    assert!(half <= mean.map(|mean| mean * 0.002), "{found}");
}

/// A bundle whose maker holds the mesh's key and signs whatever they like.
#[derive(Clone)]
struct Forger {
    entries: BTreeMap<String, Vec<u8>>,
    secret: SecretKey,
    record: JobRecord,
    genesis: Genesis,
    finished_ms: u64,
}

impl Forger {
    fn of(job: &Value) -> Forger {
        let (entries, secret) = parts_of(job);
        let record = JobRecord::decode(&entries["evidence.cbor"]).expect("a record");
        let (_, statement) = Receipt::decode(&entries["receipt.json"]).expect("a receipt");
        let genesis = Genesis::decode(&statement.predicate.mesh.genesis.0).expect("a genesis");
        let finished_ms = statement.predicate.run_details.metadata.finished_ms;
        Forger { entries, secret, record, genesis, finished_ms }
    }

    fn vote(&self, stage: u64, outcome: Outcome) -> Signed<ReductionVote> {
        let vote = ReductionVote { job: self.record.id, stage, outcome, set_aside: 0, seating: 0 };
        Signed::new(vote, self.genesis.mesh_id(), &self.secret)
    }

    /// Really executes one more stage, and attests it like the ones before.
    fn execute(&mut self, job: &Job, run: StageRun) {
        let mut claims = Vec::new();
        for shard in 0..run.stage.shards() {
            let executed = job.run_shard(Isa::best(), &run, shard).expect("a shard of the stage");
            let accumulator = executed.totals().encode();
            claims.push(Claim {
                shard,
                task: executed.task_hash(),
                tree: executed.root(),
                totals: executed.totals_digest(),
                blob: Hash::blob(&accumulator),
                wall_us: 1,
                cpu_us: 1,
            });
            self.entries.insert(format!("blobs/{}", Hash::blob(&accumulator)), accumulator);
        }
        let members = canon::to_bytes(&claims);
        let mut batch = self.record.batches.last().expect("the stages before").clone();
        let body = &mut batch.attestation.body;
        body.members = Hash::blob(&members);
        body.stage = run.number;
        body.shards = (0..run.stage.shards()).collect();
        batch.credited = body.shards.clone();
        let lease = Lease {
            stage: run.number,
            first_shard: 0,
            shards: run.stage.shards(),
            ..body.leases[0].body.clone()
        };
        body.leases = vec![Signed::new(lease, self.genesis.mesh_id(), &self.secret)];
        batch.attestation = Signed::new(body.clone(), self.genesis.mesh_id(), &self.secret);
        batch.digest = batch.attestation.body.digest();
        self.entries.insert(format!("blobs/{}", Hash::blob(&members)), members);
        self.record.batches.push(batch);
        self.record.runs.push(run);
    }

    /// The bundle with the changed record, which ends with a result of this body, all of it signed and consistent.
    fn bundle(mut self, job: &Job, result: &FinalOutput) -> BTreeMap<String, Vec<u8>> {
        let json = pretty(&job.result_json(result));
        self.entries.insert("result.json".to_owned(), json);
        let artifact = |kind: &ArtifactKind| {
            let bytes = &self.entries[kind.file_name()];
            let sha256 = Hash(Sha256::digest(bytes).into());
            Artifact { kind: *kind, bytes: bytes.len() as u64, blake3: Hash::blob(bytes), sha256 }
        };
        let last = FinalResult {
            stop_leaf: result.body.work.leaves,
            result_hash: result.body.hash(),
            work: result.body.work.clone(),
            artifacts: self.record.terms.artifacts.include.iter().map(artifact).collect(),
        };
        let stage = self.record.run().number;
        let vote = self.vote(stage, Outcome::Final(last.clone()));
        self.record.votes.push(vote);
        let charters = Charters::new(self.genesis.clone());
        let statement =
            settle::statement(&self.record, job, Some(&last), None, self.finished_ms, &charters, 0);
        self.entries.insert("evidence.cbor".to_owned(), canon::to_bytes(&self.record));
        self.entries.insert("receipt.json".to_owned(), statement.sign(&self.secret).to_bytes());
        self.entries
    }
}

/// What the job `asked` would come to if it had stopped where `other` does.
fn stopped_like(asked: &Job, other: &Value) -> FinalOutput {
    let (_, mut result) = executed(other);
    result.body.contract = asked.plan().contract;
    result
}

/// What checks a forged bundle fails, and whether replaying its receipt is of another opinion, too.
fn found(entries: &BTreeMap<String, Vec<u8>>) -> Vec<String> {
    let node = Node::new();
    let receipt = node.file("receipt.json", &entries["receipt.json"]);
    let replay = node.forgemesh(&["replay", path(&receipt), "--json"]);
    replay.error(3, "replay_differs");
    failures(&pack(entries))
}

#[test]
fn a_forger_who_changes_nothing_is_believed() {
    let asked = job(width(3));
    let mut forger = Forger::of(&asked);
    forger.record.votes.pop();
    let (job, result) = executed(&asked);
    let entries = forger.bundle(&job, &result);
    assert_eq!(failures(&pack(&entries)), Vec::<String>::new());
}

#[test]
fn a_stop_before_the_criteria_hold_is_refused() {
    let (early, late) = (job(width(2)), job(width(4)));
    let mut forger = Forger::of(&late);
    // The record as it was when the second look was taken.
    forger.record.runs.truncate(2);
    forger.record.batches.retain(|batch| batch.attestation.body.stage < 2);
    forger.record.votes.truncate(1);
    forger.record.attested = ShardSet::default();
    for shard in 0..forger.record.run().stage.shards() {
        forger.record.attested.insert(shard);
    }
    let (asked, _) = executed(&late);
    let result = stopped_like(&asked, &early);
    let entries = forger.bundle(&asked, &result);
    assert_eq!(found(&entries), ["result.convergence", "evidence.reduction"]);
}

#[test]
fn a_job_that_went_on_beyond_its_stop_is_refused() {
    let (mut early, late) = (job(width(2)), job(width(4)));
    // So that no leaf is drawn, and the forger needs no beacon.
    early["policy"] = json!({"verify": "none"});
    let mut forger = Forger::of(&early);
    let (asked, _) = executed(&early);
    forger.record.votes.pop();
    for number in 2..4 {
        let run = StageRun { number, stage: asked.plan().stages[number as usize].clone(), input: None };
        let vote = forger.vote(number - 1, Outcome::Next(run.clone()));
        forger.record.votes.push(vote);
        forger.execute(&asked, run);
    }
    let result = stopped_like(&asked, &late);
    let entries = forger.bundle(&asked, &result);
    assert_eq!(found(&entries), ["evidence.reduction"]);
}

#[test]
fn a_stop_where_the_job_does_not_look_is_refused() {
    let asked = job(width(3));
    let mut forger = Forger::of(&asked);
    forger.record.votes.pop();
    let (job, mut result) = executed(&asked);
    result.body.work.leaves -= 1;
    result.body.work.iterations -= 1024;
    let entries = forger.bundle(&job, &result);
    let found = failures(&pack(&entries));
    for name in ["receipt.outcome", "result.convergence"] {
        assert!(found.contains(&name.to_owned()), "{found:?}");
    }
}

#[test]
fn a_convergence_that_contradicts_its_contract_is_refused() {
    let asked = job(width(3));
    let changes: [fn(&mut Option<Convergence>); 5] = [
        |found| *found = None,
        |found| found.as_mut().expect("there is one").looks += 1,
        |found| found.as_mut().expect("there is one").reason = StopReason::Budget,
        |found| found.as_mut().expect("there is one").confidence = F64::new(0.99).expect("finite"),
        |found| found.as_mut().expect("there is one").half_width = F64::new(1e6).expect("finite"),
    ];
    let honest = Forger::of(&asked);
    for (i, change) in changes.into_iter().enumerate() {
        let mut forger = honest.clone();
        forger.record.votes.pop();
        let (job, mut result) = executed(&asked);
        change(&mut result.body.convergence);
        let entries = forger.bundle(&job, &result);
        let found = failures(&pack(&entries));
        for name in ["result.convergence", "evidence.reduction"] {
            assert!(found.contains(&name.to_owned()), "change {i}: {found:?}");
        }
    }
}
