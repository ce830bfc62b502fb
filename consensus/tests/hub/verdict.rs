//! Verdicts: who may judge, what a verdict must cover, and what a mismatch does.

use forgemesh_consensus::adjudicate::VerdictRefused;
use forgemesh_consensus::command::Command;
use forgemesh_consensus::machine::{Event, Rejected};
use forgemesh_protocol::challenge::{CheckOutcome, LeafRef, Mismatch, MismatchKind, Verdict};
use forgemesh_protocol::failure::FailureCode;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::{JobId, MeshId};
use forgemesh_protocol::keys::{KeyError, Signed};
use forgemesh_protocol::limits::{self, VERDICT_MISMATCHES};
use forgemesh_protocol::state::State;

use super::bench::{Bench, mix};

fn challenged() -> (Bench, JobId, Hash) {
    let mut bench = Bench::new(2);
    let id = bench.submit(&mix("spotcheck"));
    let digest = bench.attest_all(&id);
    bench.accept(bench.reveal());
    (bench, id, digest)
}

fn refusal(bench: &mut Bench, command: Command) -> VerdictRefused {
    match bench.refuse(command) {
        Rejected::Verdict(refused) => refused,
        other => panic!("a refused verdict, not {other:?}"),
    }
}

#[test]
fn a_verdict_covers_all_that_was_drawn() {
    let (mut bench, id, digest) = challenged();
    let verdict = bench.verdict(&id, digest);
    let drawn = verdict.checked;
    for found in [0, drawn - 1, drawn + 1, u64::MAX] {
        let command = bench.judge(Verdict { checked: found, ..verdict.clone() });
        assert_eq!(refusal(&mut bench, command), VerdictRefused::Incomplete { drawn, found });
    }
    assert_eq!(bench.accept(bench.judge(verdict)), Event::Judged { job: id });
    assert_eq!(bench.job(&id).state, State::Aggregating);
}

#[test]
fn a_mismatch_is_at_a_leaf_that_was_drawn() {
    let (mut bench, id, digest) = challenged();
    let job = bench.job(&id);
    let drawn = job.challenged(&job.batches[0], bench.hub.genesis().parameters.spotcheck_ppm);
    let spared = (0..job.plan.leaves()).find(|leaf| drawn.iter().all(|at| at.leaf != *leaf)).unwrap();
    let other_shard = LeafRef { shard: drawn[0].shard + 1, leaf: drawn[0].leaf };
    for at in [LeafRef { shard: 0, leaf: spared }, other_shard] {
        let mismatch = Mismatch { at, kind: MismatchKind::LeafDiffers, recomputed: Hash::ZERO };
        let command = bench.judge(Verdict {
            outcome: CheckOutcome::Differs,
            mismatches: vec![mismatch],
            ..bench.verdict(&id, digest)
        });
        assert_eq!(refusal(&mut bench, command), VerdictRefused::NotDrawn);
    }
}

#[test]
fn a_verdict_names_a_bounded_number_of_mismatches() {
    let (mut bench, id, digest) = challenged();
    let job = bench.job(&id);
    let drawn = job.challenged(&job.batches[0], bench.hub.genesis().parameters.spotcheck_ppm);
    let mismatch = |&at: &_| Mismatch { at, kind: MismatchKind::LeafDiffers, recomputed: Hash::ZERO };
    let mut mismatches: Vec<Mismatch> = drawn.iter().take(VERDICT_MISMATCHES + 1).map(mismatch).collect();
    let verdict = Verdict { outcome: CheckOutcome::Differs, ..bench.verdict(&id, digest) };
    let command = bench.judge(Verdict { mismatches: mismatches.clone(), ..verdict.clone() });
    let found = VERDICT_MISMATCHES + 1;
    assert_eq!(refusal(&mut bench, command), VerdictRefused::TooManyMismatches { found });
    mismatches.pop();
    let agent = bench.agent.public().id();
    let event = bench.accept(bench.judge(Verdict { mismatches, ..verdict }));
    assert_eq!(event, Event::SetAside { job: id, agent, batches: 1 });
}

#[test]
fn only_a_member_judges_and_only_for_itself() {
    let (mut bench, id, digest) = challenged();
    let mesh = bench.hub.mesh();
    let verdict = bench.verdict(&id, digest);
    let agent = bench.agent.public().id();
    let stranger = Signed::new(Verdict { checker: agent, ..verdict.clone() }, mesh, &bench.agent);
    assert_eq!(refusal(&mut bench, Command::Judge { verdict: stranger }), VerdictRefused::NotAChecker);
    let other = Signed::new(verdict.clone(), mesh, &bench.members[1]);
    let (named, signer) = (bench.leader(), bench.members[1].public().id());
    assert_eq!(
        refusal(&mut bench, Command::Judge { verdict: other }),
        VerdictRefused::NotItsOwn { named, signer }
    );
    let elsewhere = Signed::new(verdict, MeshId(Hash::ZERO), &bench.members[0]);
    assert_eq!(
        refusal(&mut bench, Command::Judge { verdict: elsewhere }),
        VerdictRefused::Signature(KeyError::BadSignature)
    );
}

#[test]
fn a_verdict_is_awaited_once_and_not_before_the_beacon() {
    let mut bench = Bench::new(1);
    let id = bench.submit(&mix("spotcheck"));
    let first = bench.attestation(&id, vec![0]);
    let (_, first) = bench.attest(first);
    let early = bench.judge(bench.verdict(&id, first));
    assert_eq!(refusal(&mut bench, early), VerdictRefused::NotAwaited);
    bench.accept(bench.reveal());
    let verdict = bench.verdict(&id, first);
    for nowhere in [
        Verdict { job: JobId(Hash::ZERO), ..verdict.clone() },
        Verdict { attestation: Hash::ZERO, ..verdict.clone() },
    ] {
        let command = bench.judge(nowhere);
        assert_eq!(refusal(&mut bench, command), VerdictRefused::NotAwaited);
    }
    bench.accept(bench.judge(verdict.clone()));
    assert_eq!(bench.job(&id).state, State::Running, "two shards are still out");
    let again = bench.judge(verdict);
    assert_eq!(refusal(&mut bench, again), VerdictRefused::NotAwaited);
}

#[test]
fn a_verdict_is_about_the_leaves_that_were_drawn() {
    let (mut bench, id, digest) = challenged();
    let command = bench.judge(Verdict { drawn: Hash::ZERO, ..bench.verdict(&id, digest) });
    assert_eq!(refusal(&mut bench, command), VerdictRefused::NotDrawn);
}

#[test]
fn outcome_and_mismatches_agree() {
    let (mut bench, id, digest) = challenged();
    let verdict = bench.verdict(&id, digest);
    let job = bench.job(&id);
    let drawn = job.challenged(&job.batches[0], bench.hub.genesis().parameters.spotcheck_ppm);
    let mismatch = Mismatch { at: drawn[0], kind: MismatchKind::LeafDiffers, recomputed: Hash::ZERO };
    let unfounded = Verdict { outcome: CheckOutcome::Differs, ..verdict.clone() };
    let agreed = Verdict { mismatches: vec![mismatch.clone()], ..verdict.clone() };
    let unable = Verdict { outcome: CheckOutcome::Unable, mismatches: vec![mismatch], ..verdict };
    for contradiction in [unfounded, agreed, unable] {
        let command = bench.judge(contradiction);
        assert_eq!(refusal(&mut bench, command), VerdictRefused::Contradiction);
    }
}

#[test]
fn a_checker_that_could_not_check_convicts_nobody() {
    let (mut bench, id, digest) = challenged();
    let verdict = Verdict { outcome: CheckOutcome::Unable, checked: 0, ..bench.verdict(&id, digest) };
    for attempt in 1..limits::CHECK_ATTEMPTS {
        assert_eq!(bench.accept(bench.judge(verdict.clone())), Event::Judged { job: id });
        assert_eq!((bench.job(&id).state, bench.job(&id).batches[0].unable), (State::Verifying, attempt));
    }
    assert_eq!(bench.accept(bench.judge(verdict)), Event::Finished { job: id });
    let finished = &bench.finished[0];
    assert_eq!(finished.failure.as_ref().map(|failure| failure.code), Some(FailureCode::CheckUnable));
    assert!(finished.record.batches[0].verdict.is_none());
}
