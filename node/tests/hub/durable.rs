//! Nothing is acknowledged, and nothing is voted for, before it is on the disk.

use std::collections::VecDeque;

use forgemesh_consensus::command::Command;
use forgemesh_node::core::{Input, Reply};
use forgemesh_node::ports::{Done, Work};
use forgemesh_protocol::contract::{Excluded, Work as Executed};
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::vote::{Artifact, FinalResult, Outcome};

use super::bench::{Agent, Bench, Pending, mix};

#[test]
fn a_job_is_accepted_once_its_entry_is_durable() {
    let mut bench = Bench::new();
    bench.waiting = Some(VecDeque::new());
    bench.ask(&mix(3, r#"{"verify":"none"}"#));
    assert!(bench.replies.is_empty() && bench.core.hub().expect("the hub").state().open.is_empty());
    bench.sync();
    assert!(matches!(bench.replies.as_slice(), [Reply::Accepted(_)]));
    assert!(bench.log.iter().any(|entry| matches!(entry.command, Command::Submit { .. })));
}

#[test]
fn a_vote_names_artifacts_that_are_durable() {
    let mut bench = Bench::new();
    let mut agent = Agent::new(10, 1);
    bench.hello(&[&agent]);
    let id = bench.submit(&mix(1, r#"{"verify":"none"}"#));
    bench.deliver(&mut agent);
    let offer = agent.leases[0].clone();
    bench.attest(&mut agent, &offer, &[0]);
    let Some((ticket, Work::Reduce { job })) = bench.works.pop_front() else { panic!("a reduction") };
    let artifacts: Vec<Vec<u8>> =
        job.terms.artifacts.include.iter().map(|kind| format!("{kind:?}").into_bytes()).collect();
    let named = job.terms.artifacts.include.iter().zip(&artifacts).map(|(kind, bytes)| Artifact {
        kind: *kind,
        bytes: bytes.len() as u64,
        blake3: Hash::blob(bytes),
        sha256: Hash::ZERO,
    });
    let leaves = job.plan.leaves();
    let result = FinalResult {
        stop_leaf: leaves,
        result_hash: Hash([7; 32]),
        work: Executed { iterations: job.plan.paths, leaves, excluded: Excluded::default() },
        artifacts: named.collect(),
    };
    bench.waiting = Some(VecDeque::new());
    let done = Done::Reduced { outcome: Outcome::Final(result), artifacts: artifacts.clone() };
    bench.hand(Input::Worked { ticket, done });
    let votes = |bench: &Bench| {
        bench.waiting.iter().flatten().filter(|pending| matches!(pending, Pending::Entry(_))).count()
    };
    assert_eq!(votes(&bench), 0, "the vote waits for the artifacts");
    bench.sync();
    assert!(artifacts.iter().all(|bytes| bench.blobs.contains(&Hash::blob(bytes))));
    assert_eq!(votes(&bench), 1);
    while bench.job(&id).is_some() {
        bench.sync();
    }
}

/// A slice that cannot be read does not hide what lies behind it.
#[test]
fn scrubbing_goes_on_behind_what_it_cannot_read() {
    let mut bench = Bench::new();
    let mut asked = Vec::new();
    for _ in 0..3 {
        bench.pass(forgemesh_protocol::limits::SCRUB_MS + 1, &[]);
        let mut works = std::mem::take(&mut bench.works).into_iter();
        let slice = works.find_map(|(ticket, work)| match work {
            Work::Scrub { after } => Some((ticket, after)),
            _ => None,
        });
        let (ticket, after) = slice.expect("a slice");
        asked.push(after);
        bench.hand(Input::Worked { ticket, done: Done::Failed { detail: "damaged".to_owned() } });
    }
    assert_eq!(asked[0], None);
    assert!(asked[1] > asked[0] && asked[2] > asked[1], "{asked:?}");
}
