//! What no longer counts: convictions, unopened batches, lost evidence; and what goes on without it.

use forgemesh_consensus::adjudicate::{AttestationRefused, NoSuchBatch};
use forgemesh_consensus::command::Command;
use forgemesh_consensus::job::Reason;
use forgemesh_consensus::machine::{Event, Rejected, VoteRefused};
use forgemesh_protocol::canon::Bytes;
use forgemesh_protocol::challenge::{CheckOutcome, Mismatch, MismatchKind, Verdict};
use forgemesh_protocol::failure::FailureCode;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::{JobId, NodeId};
use forgemesh_protocol::keys::SecretKey;
use forgemesh_protocol::lease::Lease;
use forgemesh_protocol::limits;
use forgemesh_protocol::plan::{StageInput, StageRun};
use forgemesh_protocol::state::State;
use forgemesh_protocol::vote::Outcome;

use super::bench::{Bench, mix};

const HONEST: [u8; 32] = [0xa0; 32];
const CHEAT: [u8; 32] = [0xa1; 32];

fn node(key: [u8; 32]) -> NodeId {
    SecretKey::from_bytes(&key).public().id()
}

/// Attests `shards` with this agent's key; the attestation's digest.
fn attest_as(bench: &mut Bench, key: [u8; 32], id: &JobId, shards: Vec<u64>) -> (u64, Hash) {
    bench.agent = SecretKey::from_bytes(&key);
    let attestation = bench.attestation(id, shards);
    bench.attest(attestation)
}

/// The checker's word that the batch's first drawn leaf differs.
fn differs(bench: &Bench, id: &JobId, digest: Hash, kind: MismatchKind) -> Verdict {
    let job = bench.job(id);
    let batch = job.batches.iter().find(|batch| batch.digest == digest).expect("the batch");
    let at = job.challenged(batch, bench.hub.genesis().parameters.spotcheck_ppm)[0];
    let mismatches = vec![Mismatch { at, kind, recomputed: Hash([3; 32]) }];
    Verdict { outcome: CheckOutcome::Differs, mismatches, ..bench.verdict(id, digest) }
}

#[test]
fn a_convicted_agents_work_is_executed_again_by_others_and_only_they_are_paid() {
    let kinds = [MismatchKind::LeafDiffers, MismatchKind::WrongOpening, MismatchKind::ForgedTotal];
    for kind in kinds {
        let mut bench = Bench::new(1);
        let id = bench.submit(&mix("spotcheck"));
        let (_, first) = attest_as(&mut bench, CHEAT, &id, vec![0]);
        let (_, good) = attest_as(&mut bench, HONEST, &id, vec![1]);
        let (_, second) = attest_as(&mut bench, CHEAT, &id, vec![2]);
        assert_eq!(bench.job(&id).state, State::Verifying);
        bench.accept(bench.reveal());
        // One of its batches was found good before: it does not count any more either.
        bench.accept(bench.judge(bench.verdict(&id, first)));
        let verdict = differs(&bench, &id, second, kind);
        let event = bench.accept(bench.judge(verdict.clone()));
        assert_eq!(event, Event::SetAside { job: id, agent: node(CHEAT), batches: 2 });
        let job = bench.job(&id);
        assert_eq!((job.state, &job.convicted), (State::Running, &vec![node(CHEAT)]));
        let aside: Vec<_> = job.set_aside.iter().map(|aside| (aside.batch.digest, aside.reason)).collect();
        assert_eq!(aside, [(first, Reason::Convicted), (second, Reason::False)]);
        assert_eq!(job.set_aside[1].batch.verdict.as_ref().expect("evidence").body, verdict);
        assert_eq!(job.batches.iter().map(|batch| batch.digest).collect::<Vec<_>>(), [good]);
        assert!(job.attested.contains(1) && job.attested.len() == 1);
        // It may go on with its chain, but nothing of it counts here.
        assert_eq!(attest_as(&mut bench, CHEAT, &id, vec![0, 2]).0, 0);
        let (credited, rest) = attest_as(&mut bench, HONEST, &id, vec![0, 2]);
        assert_eq!((credited, bench.job(&id).state), (2, State::Verifying));
        bench.accept(bench.reveal());
        bench.accept(bench.judge(bench.verdict(&id, good)));
        bench.accept(bench.judge(bench.verdict(&id, rest)));
        let vote = bench.vote(&id, 0, Outcome::Final(bench.result(&id)));
        assert_eq!(bench.accept(vote), Event::Finished { job: id });
        let finished = &bench.finished[0];
        let paid: Vec<_> = finished
            .entry
            .providers
            .iter()
            .map(|provider| (provider.node, provider.verified_paths))
            .collect();
        assert_eq!(paid, [(node(HONEST), finished.record.plan.paths)]);
        let statement = bench.statement(finished);
        assert_eq!(statement.predicate.attestations.len(), 2, "the receipt names what counts");
    }
}

/// A verified pilot by both agents, and the main stage planned from it.
fn in_the_main_stage() -> (Bench, JobId, [Hash; 2]) {
    let mut bench = Bench::new(1);
    let insurance =
        r#"{"op":{"name":"mc","version":1,"profile":"insurance.v1"},"args":{"iterations":4000000}}"#;
    let id = bench.submit(insurance);
    let shards = bench.shards(&id);
    let (mine, others) = shards.split_at(shards.len() / 2);
    let (_, one) = attest_as(&mut bench, CHEAT, &id, mine.to_vec());
    let (_, two) = attest_as(&mut bench, HONEST, &id, others.to_vec());
    bench.accept(bench.reveal());
    bench.accept(bench.judge(bench.verdict(&id, one)));
    bench.accept(bench.judge(bench.verdict(&id, two)));
    let stage = bench.job(&id).plan.stages[1].clone();
    let input = StageInput { source: Hash([5; 32]), brackets: Bytes(vec![1]) };
    let run = StageRun { number: 1, stage, input: Some(input) };
    let vote = bench.vote(&id, 0, Outcome::Next(run));
    assert_eq!(bench.accept(vote), Event::StageOpened { job: id, stage: 1 });
    (bench, id, [one, two])
}

#[test]
fn a_conviction_reaches_back_to_the_stage_that_rests_on_the_convicted() {
    let (mut bench, id, [one, two]) = in_the_main_stage();
    let (_, late) = attest_as(&mut bench, HONEST, &id, vec![0]);
    let (_, found) = attest_as(&mut bench, CHEAT, &id, vec![1]);
    bench.accept(bench.reveal());
    let verdict = differs(&bench, &id, found, MismatchKind::LeafDiffers);
    bench.accept(bench.judge(verdict));
    let job = bench.job(&id);
    assert_eq!((job.state, job.runs.len(), job.votes.len()), (State::Running, 1, 0));
    assert_eq!(job.batches.iter().map(|batch| batch.digest).collect::<Vec<_>>(), [two]);
    let aside: Vec<_> = job.set_aside.iter().map(|aside| (aside.batch.digest, aside.reason)).collect();
    let expected = [(one, Reason::Convicted), (late, Reason::Superseded), (found, Reason::False)];
    assert_eq!(aside, expected);
    // The pilot is completed by the other agent, voted for again, and the job goes on.
    let missing: Vec<u64> =
        bench.shards(&id).into_iter().filter(|&s| !bench.job(&id).attested.contains(s)).collect();
    let (_, again) = attest_as(&mut bench, HONEST, &id, missing);
    bench.accept(bench.reveal());
    bench.accept(bench.judge(bench.verdict(&id, again)));
    assert_eq!(bench.job(&id).state, State::Aggregating);
}

#[test]
fn what_was_done_for_a_stage_does_not_count_for_the_one_planned_in_its_place() {
    let (mut bench, id, _) = in_the_main_stage();
    // Done in good faith, on its way when the stage was planned anew.
    bench.agent = SecretKey::from_bytes(&HONEST);
    let mut late = bench.attestation(&id, vec![2]);
    let stale_vote = |bench: &Bench| bench.vote(&id, 0, Outcome::Final(bench.result(&id)));
    let (_, found) = attest_as(&mut bench, CHEAT, &id, vec![1]);
    bench.accept(bench.reveal());
    let vote_before = stale_vote(&bench);
    let verdict = differs(&bench, &id, found, MismatchKind::LeafDiffers);
    bench.accept(bench.judge(verdict));
    let missing: Vec<u64> =
        bench.shards(&id).into_iter().filter(|&shard| !bench.job(&id).attested.contains(shard)).collect();
    let (_, again) = attest_as(&mut bench, HONEST, &id, missing);
    bench.accept(bench.reveal());
    bench.accept(bench.judge(bench.verdict(&id, again)));
    let stage = bench.job(&id).plan.stages[1].clone();
    let input = StageInput { source: Hash([6; 32]), brackets: Bytes(vec![2]) };
    let vote = bench.vote(&id, 0, Outcome::Next(StageRun { number: 1, stage, input: Some(input) }));
    assert_eq!(bench.accept(vote), Event::StageOpened { job: id, stage: 1 });
    let head = bench.hub.chain(&node(HONEST));
    (late.seq, late.prev) = (head.seq + 1, head.digest);
    assert_eq!(bench.attest(late).0, 0, "another input: neither credited nor held against anybody");
    // All of the stage, verified: only a vote on what counts now ends it.
    let all = bench.shards(&id);
    let (_, digest) = attest_as(&mut bench, HONEST, &id, all);
    bench.accept(bench.reveal());
    bench.accept(bench.judge(bench.verdict(&id, digest)));
    assert_eq!(bench.job(&id).state, State::Aggregating);
    let refused = bench.refuse(vote_before);
    assert_eq!(refused, Rejected::Vote(VoteRefused::NotAwaited));
    let vote = stale_vote(&bench);
    assert_eq!(bench.accept(vote), Event::Finished { job: id });
}

#[test]
fn who_does_not_open_is_not_accused() {
    let mut bench = Bench::new(1);
    let id = bench.submit(&mix("spotcheck"));
    let (_, kept) = attest_as(&mut bench, CHEAT, &id, vec![0]);
    let (_, unopened) = attest_as(&mut bench, CHEAT, &id, vec![1, 2]);
    bench.accept(bench.reveal());
    let verdict = Verdict { outcome: CheckOutcome::Unopened, checked: 0, ..bench.verdict(&id, unopened) };
    bench.accept(bench.judge(verdict));
    let job = bench.job(&id);
    assert_eq!((job.state, job.convicted.len()), (State::Running, 0));
    assert_eq!(job.set_aside[0].reason, Reason::Unopened);
    assert_eq!(job.batches[0].digest, kept);
    // The same agent may do it over.
    let (credited, _) = attest_as(&mut bench, CHEAT, &id, vec![1, 2]);
    assert_eq!(credited, 2);
}

#[test]
fn lost_evidence_is_made_again() {
    let mut bench = Bench::new(1);
    let id = bench.submit(&mix("none"));
    let digest = bench.attest_all(&id);
    assert_eq!(bench.job(&id).state, State::Aggregating);
    let unknown = Command::Discard { job: id, attestation: Hash::ZERO };
    assert_eq!(bench.refuse(unknown), Rejected::Discard(NoSuchBatch));
    bench.accept(Command::Discard { job: id, attestation: digest });
    let job = bench.job(&id);
    assert_eq!((job.state, job.set_aside[0].reason, job.attested.len()), (State::Running, Reason::Lost, 0));
    bench.attest_all(&id);
    let vote = bench.vote(&id, 0, Outcome::Final(bench.result(&id)));
    assert_eq!(bench.accept(vote), Event::Finished { job: id });
    let nowhere = Command::Discard { job: id, attestation: digest };
    assert_eq!(bench.refuse(nowhere), Rejected::NotOpen(id));
}

#[test]
fn a_job_whose_batches_never_last_is_given_up() {
    let mut bench = Bench::new(1);
    let id = bench.submit(&mix("none"));
    // The audit of every prefix would take long, and shows nothing more here.
    bench.put_state(|_| {});
    for _ in 0..limits::SET_ASIDE {
        let attestation = bench.attestation(&id, vec![0]);
        let (_, digest) = bench.attest(attestation);
        let event = bench.accept(Command::Discard { job: id, attestation: digest });
        assert!(matches!(event, Event::SetAside { .. }));
    }
    let attestation = bench.attestation(&id, vec![0]);
    let (_, digest) = bench.attest(attestation);
    assert_eq!(bench.accept(Command::Discard { job: id, attestation: digest }), Event::Finished { job: id });
    let failure = bench.finished[0].failure.as_ref().expect("a failure");
    assert_eq!(failure.code, FailureCode::AttemptsExhausted);
}

#[test]
fn the_first_attestation_of_an_agent_needs_a_lease_of_the_hub() {
    let mut bench = Bench::new(1);
    let id = bench.submit(&mix("none"));
    let mut attestation = bench.attestation(&id, vec![0]);
    let own = bench.agent.clone();
    let lease = forgemesh_protocol::keys::Signed::new(bench.lease(&id), bench.hub.mesh(), &own);
    attestation.leases = vec![lease];
    let refused = bench.refuse(bench.sign(attestation));
    assert_eq!(refused, Rejected::Attestation(AttestationRefused::Stranger));
    assert!(bench.hub.state().chains.is_empty(), "strangers leave nothing behind");
}

/// One event counts once, however many batches it reaches.
#[test]
fn a_conviction_with_many_batches_is_one_event() {
    let mut bench = Bench::new(1);
    let many = r#"{"op":{"name":"diag","version":1,"profile":"mix.v1"},"args":{"iterations":200000000},"policy":{"verify":"spotcheck"}}"#;
    let id = bench.submit(many);
    // The audit of every prefix would take long, and shows nothing more here.
    bench.put_state(|_| {});
    let mut last = Hash::ZERO;
    let batches = limits::SET_ASIDE as u64 + 1;
    assert!(batches < bench.shards(&id).len() as u64);
    for shard in 0..batches {
        bench.agent = SecretKey::from_bytes(&CHEAT);
        let lease = Lease { first_shard: shard, shards: 1, ..bench.lease(&id) };
        let mut attestation = bench.attestation(&id, vec![shard]);
        attestation.leases = vec![bench.sign_lease(lease)];
        last = bench.attest(attestation).1;
    }
    bench.accept(bench.reveal());
    let verdict = differs(&bench, &id, last, MismatchKind::LeafDiffers);
    let event = bench.accept(bench.judge(verdict));
    assert_eq!(event, Event::SetAside { job: id, agent: node(CHEAT), batches });
}

#[test]
fn leases_for_two_inputs_in_one_attestation_credit_nothing() {
    let (mut bench, id, _) = in_the_main_stage();
    bench.agent = SecretKey::from_bytes(&HONEST);
    let old = Lease { input: Some(Hash([77; 32])), ..bench.lease(&id) };
    let old = bench.sign_lease(old);
    let mut attestation = bench.attestation(&id, vec![0, 1]);
    attestation.leases.push(old);
    assert_eq!(bench.attest(attestation).0, 0);
    let attestation = bench.attestation(&id, vec![0, 1]);
    assert_eq!(bench.attest(attestation).0, 2);
}
