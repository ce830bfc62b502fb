//! Each adversary is refused by name while its defence is on, and wins once it is off.

use forgemesh_consensus::admission::AdmissionError;
use forgemesh_consensus::machine::{Event, Rejected};
use forgemesh_node::core::Reply;
use forgemesh_protocol::canon::Bytes;
use forgemesh_protocol::failure::FailureCode;
use forgemesh_protocol::limits;
use forgemesh_protocol::submission::{Offer, Submission};
use forgemesh_simnet::adversary::rig::Rig;
use forgemesh_simnet::adversary::{Misdeed, chain_gap, replayed_attestation};
use forgemesh_simnet::report::JobReport;
use forgemesh_simnet::scenario::Scenario;
use forgemesh_simnet::workload::Arrival;
use forgemesh_simnet::world::run;

/// Two shards of equal size.
fn mix(verify: &str) -> String {
    format!(
        r#"{{"op":{{"name":"diag","version":1,"profile":"mix.v1"}},"args":{{"iterations":312512}},"policy":{{"verify":"{verify}"}}}}"#
    )
}

/// What comes of one job when the only machine there is has this misdeed.
fn outcome(misdeed: Option<Misdeed>, envelope: String) -> JobReport {
    let jobs = vec![Arrival { at_ms: 0, envelope, cancel_ms: None }];
    let liars = misdeed.into_iter().map(|misdeed| (0, misdeed)).collect();
    let scenario = Scenario {
        seed: 3,
        span_ms: 1_000,
        machines: 1,
        hubs: 1,
        standbys: 0,
        admitted_ms: 0,
        jobs,
        faults: Vec::new(),
        liars,
        bug: None,
    };
    let mut report = run(&scenario).expect("it comes to an end");
    report.jobs.pop().expect("one job")
}

const MISDEEDS: [(Misdeed, &str, u64); 4] = [
    (Misdeed::ForgedTotal, "ForgedTotal", 1),
    (Misdeed::OtherSeed, "WrongOpening", 0),
    (Misdeed::SwappedLeaf, "WrongOpening", 1),
    (Misdeed::WrongLeaf, "LeafDiffers", 1),
];

#[test]
fn a_false_commitment_is_refused_by_name() {
    for (misdeed, name, shard) in MISDEEDS {
        let job = outcome(Some(misdeed), mix("full"));
        let failure = job.failure.unwrap_or_else(|| panic!("{misdeed:?} passed"));
        assert_eq!(failure.code, FailureCode::VerificationMismatch, "{misdeed:?}");
        assert!(failure.detail.ends_with(name), "{misdeed:?}: {}", failure.detail);
        assert!(failure.detail.contains(&format!("of shard {shard} ")), "{misdeed:?}: {}", failure.detail);
        assert_eq!(job.result_hash, None);
    }
}

#[test]
fn with_the_check_switched_off_every_one_of_them_wins_and_is_labelled() {
    for (misdeed, ..) in MISDEEDS {
        let job = outcome(Some(misdeed), mix("none"));
        assert_eq!(job.failure, None);
        let result = job.result_hash.unwrap_or_else(|| panic!("{misdeed:?} has a result"));
        assert_ne!(
            Some(result),
            job.oracle,
            "{misdeed:?} must change the result, or the check above shows nothing"
        );
        assert_eq!(job.verification.checked_leaves, 0, "{misdeed:?}");
        let label = serde_json::to_string(&job.verification).expect("text");
        assert!(label.contains("unverified"), "{misdeed:?}: {label}");
    }
}

#[test]
fn the_honest_agent_passes_both() {
    for verify in ["none", "full"] {
        let job = outcome(None, mix(verify));
        assert_eq!(job.result_hash, job.oracle);
        assert!(job.oracle.is_some());
    }
}

/// One batch in which more leaves are wrong than an entry of the log can name.
#[test]
fn a_forgery_of_sixty_thousand_leaves_is_refused_too() {
    let mut rig = Rig::new(Some(Misdeed::ForgedTotal)).expect("a rig");
    rig.run_job(&mix("full").replace("312512", "1875072"), 1).expect("the node goes on");
    let finished = rig.applied.iter().find_map(|(_, applied)| applied.as_ref().ok()?.finished().cloned());
    let finished = finished.expect("the job is final");
    assert_eq!((finished.record.batches.len(), finished.record.set_aside.len()), (0, 1));
    assert_eq!(finished.failure.expect("it is refused").code, FailureCode::VerificationMismatch);
    let verdict = finished.record.set_aside[0].batch.verdict.as_ref().expect("a verdict");
    assert_eq!(verdict.body.checked, 12 * 9_766, "it says how many were checked");
}

fn rig() -> Rig {
    let mut rig = Rig::new(None).expect("a rig");
    rig.run_job(&mix("spotcheck").replace("312512", "1000"), 1).expect("it runs");
    assert_eq!(rig.hub().state().ledger_len, 1, "the job is final");
    assert!(!rig.signed.is_empty());
    rig
}

#[test]
fn a_submission_that_fits_no_entry_never_enters_the_log() {
    let mut rig = rig();
    let (logged, good) = (
        rig.applied.len(),
        Submission {
            envelope: Bytes(mix("none").into_bytes()),
            offer: Offer::default(),
            nonce: Bytes(vec![2; 16]),
            expires_ms: u64::MAX,
        },
    );
    let long = vec![b' '; limits::COMMAND_BYTES];
    rig.replies.clear();
    rig.submit(Submission { envelope: Bytes(long.clone()), ..good.clone() }).expect("the node goes on");
    rig.submit(Submission { nonce: Bytes(long.clone()), ..good }).expect("the node goes on");
    let found = long.len();
    let refused = [AdmissionError::TooLong { found }, AdmissionError::Nonce { found }];
    assert_eq!(rig.replies, refused.map(|error| Reply::Refused(Rejected::Submission(error))));
    assert_eq!(rig.applied.len(), logged);
}

#[test]
fn a_replayed_attestation_changes_nothing() {
    let mut rig = rig();
    let before = rig.hub().state().clone();
    let outcomes = replayed_attestation::replay(&mut rig).expect("the core goes on");
    // It does not even enter the log; what `apply` would say of it is tested with the hub.
    assert_eq!(outcomes, [None]);
    let after = rig.hub().state();
    assert_eq!((&after.chains, after.ledger_len), (&before.chains, before.ledger_len));
    assert_eq!(rig.core_hub().state(), after);
}

#[test]
fn a_chain_with_a_gap_waits_until_the_missing_link_comes() {
    let mut rig = rig();
    let head = rig.signed.last().expect("an attestation").attestation.body.seq;
    let [gap, both] = chain_gap::withhold(&mut rig).expect("the core goes on");
    assert_eq!(gap, [], "nothing after a gap enters the log");
    let numbers: Vec<(u64, u64)> = both
        .into_iter()
        .map(|applied| match applied.expect("the chain is whole again").event {
            Event::Attested { seq, credited, .. } => (seq, credited),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(numbers, [(head + 1, 0), (head + 2, 0)], "their shards were credited before");
    assert_eq!(rig.core_hub().state(), rig.hub().state());
}
