//! What makes a submission a job, and each reason for which it is refused.

use forgemesh_consensus::admission::AdmissionError;
use forgemesh_consensus::command::Command;
use forgemesh_consensus::machine::{Event, Rejected};
use forgemesh_protocol::canon::Bytes;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::{JobId, MeshId};
use forgemesh_protocol::keys::{KeyError, SecretKey, Signed};
use forgemesh_protocol::limits;
use forgemesh_protocol::state::State;
use forgemesh_protocol::submission::Submission;

use super::bench::{Bench, mix};

fn refusal(bench: &mut Bench, submission: Signed<Submission>) -> AdmissionError {
    match bench.refuse(Command::Submit { submission }) {
        Rejected::Submission(error) => error,
        other => panic!("a refused submission, not {other:?}"),
    }
}

#[test]
fn an_accepted_submission_is_planned_at_once() {
    let mut bench = Bench::new(1);
    let id = bench.submit(&mix("spotcheck"));
    let job = bench.job(&id);
    assert_eq!((job.state, job.accepted_ms, job.run().number), (State::Planned, bench.now_ms, 0));
    assert_eq!(job.run().stage.shards(), 3);
}

#[test]
fn a_signature_for_another_mesh_key_or_content_is_refused() {
    let mut bench = Bench::new(1);
    let body = bench.submission(&mix("none"));
    let secret = SecretKey::from_bytes(&[0xb0; 32]);
    let elsewhere = Signed::new(body.clone(), MeshId(Hash::ZERO), &secret);
    let own = bench.sign_submission(body);
    let changed =
        Signed { body: Submission { nonce: Bytes(vec![99; 16]), ..own.body.clone() }, ..own.clone() };
    let stranger = Signed { key: bench.agent.public(), ..own };
    for submission in [elsewhere, changed, stranger] {
        assert_eq!(refusal(&mut bench, submission), AdmissionError::Signature(KeyError::BadSignature));
    }
}

#[test]
fn the_same_submission_twice_is_one_job_and_another_nonce_is_another() {
    let mut bench = Bench::new(1);
    let body = bench.submission(&mix("none"));
    let submission = bench.sign_submission(body.clone());
    let job = submission.job_id(bench.hub.mesh());
    let command = Command::Submit { submission };
    assert_eq!(bench.accept(command.clone()), Event::Submitted { job, known: false });
    let before = bench.job(&job).clone();
    assert_eq!(bench.accept(command.clone()), Event::Submitted { job, known: true });
    assert_eq!(*bench.job(&job), before);

    bench.now_ms += 1;
    let failure = forgemesh_protocol::failure::Failure::new(
        forgemesh_protocol::failure::FailureCode::EvidenceLost,
        "a test",
    );
    bench.accept(Command::Fail { job, failure });
    assert_eq!(bench.accept(command), Event::Submitted { job, known: true }, "final, and still known");
    assert!(bench.hub.state().open.is_empty());

    let again = bench.sign_submission(Submission { nonce: Bytes(vec![77; 16]), ..body });
    let other = again.job_id(bench.hub.mesh());
    assert_eq!(
        bench.accept(Command::Submit { submission: again }),
        Event::Submitted { job: other, known: false }
    );
    assert_ne!(other, job);
}

#[test]
fn a_known_submission_needs_its_signature_too() {
    let mut bench = Bench::new(1);
    let body = bench.submission(&mix("none"));
    let submission = bench.sign_submission(body);
    bench.accept(Command::Submit { submission: submission.clone() });
    let mut forged = submission;
    forged.signature.0[5] ^= 1;
    assert_eq!(refusal(&mut bench, forged), AdmissionError::Signature(KeyError::BadSignature));
}

#[test]
fn expiry_is_bounded_on_both_sides() {
    let mut bench = Bench::new(1);
    let body = bench.submission(&mix("none"));
    let now_ms = bench.now_ms;
    let with = |bench: &Bench, expires_ms| bench.sign_submission(Submission { expires_ms, ..body.clone() });
    for expires_ms in [0, now_ms - 1, now_ms] {
        let submission = with(&bench, expires_ms);
        assert_eq!(refusal(&mut bench, submission), AdmissionError::Expired { expires_ms, now_ms });
    }
    for expires_ms in [now_ms + 2 * limits::SUBMISSION_TTL_MS + 1, u64::MAX] {
        let submission = with(&bench, expires_ms);
        assert_eq!(refusal(&mut bench, submission), AdmissionError::ExpiresTooLate);
    }
    for expires_ms in [now_ms + 1, now_ms + 2 * limits::SUBMISSION_TTL_MS] {
        let submission = with(&bench, expires_ms);
        bench.accept(Command::Submit { submission });
    }
}

#[test]
fn a_submission_that_waited_too_long_is_refused_by_log_time() {
    let mut bench = Bench::new(1);
    let body = bench.submission(&mix("none"));
    let expires_ms = body.expires_ms;
    let submission = bench.sign_submission(body);
    bench.now_ms = expires_ms;
    assert_eq!(refusal(&mut bench, submission), AdmissionError::Expired { expires_ms, now_ms: expires_ms });
}

#[test]
fn a_nonce_has_16_bytes() {
    let mut bench = Bench::new(1);
    let body = bench.submission(&mix("none"));
    for found in [0, 15, 17] {
        let submission = bench.sign_submission(Submission { nonce: Bytes(vec![1; found]), ..body.clone() });
        assert_eq!(refusal(&mut bench, submission), AdmissionError::Nonce { found });
    }
}

#[test]
fn an_envelope_is_valid_and_canonical() {
    let mut bench = Bench::new(1);
    let body = bench.submission(&mix("none"));
    let canonical = String::from_utf8(body.envelope.0.clone()).unwrap();
    let with = |bench: &Bench, envelope: String| {
        bench.sign_submission(Submission { envelope: Bytes(envelope.into_bytes()), ..body.clone() })
    };
    for other in [mix("none"), format!(" {canonical}"), canonical.replace("400000", "400000.0")] {
        let submission = with(&bench, other);
        assert_eq!(refusal(&mut bench, submission), AdmissionError::NotCanonical);
    }
    for broken in [String::new(), "{}".to_owned(), canonical.replace("mix.v1", "mix.v9")] {
        let submission = with(&bench, broken);
        assert!(matches!(refusal(&mut bench, submission), AdmissionError::Envelope(_)));
    }
    let longer = with(&bench, " ".repeat(limits::ENVELOPE_BYTES + 1));
    assert_eq!(refusal(&mut bench, longer), AdmissionError::TooLong { found: limits::ENVELOPE_BYTES + 1 });
}

#[test]
fn no_more_jobs_are_open_than_the_bound() {
    let mut bench = Bench::new(1);
    let id = bench.submit(&mix("none"));
    let copy = |i: u64| JobId(Hash::blob(&i.to_le_bytes()));
    bench.put_state(|state| {
        let record = state.open[&id].clone();
        for i in 1..limits::OPEN_JOBS as u64 {
            let mut other = record.clone();
            other.id = copy(i);
            state.open.insert(other.id, other);
        }
        // One that is expired: to be forgotten with the next job that is accepted, and not before.
        state.seen.insert(copy(0), 1);
    });
    let body = bench.submission(&mix("none"));
    let submission = bench.sign_submission(body);
    assert_eq!(refusal(&mut bench, submission.clone()), AdmissionError::TooManyOpen);
    bench.put_state(|state| assert!(state.open.remove(&copy(1)).is_some()));
    bench.accept(Command::Submit { submission });
    assert!(!bench.hub.state().seen.contains_key(&copy(0)));
}

#[test]
fn no_more_submissions_are_remembered_than_the_bound() {
    let mut bench = Bench::new(1);
    let now_ms = bench.now_ms;
    let copy = |i: u64| JobId(Hash::blob(&i.to_le_bytes()));
    bench.put_state(|state| {
        state.seen = (0..limits::NONCES as u64).map(|i| (copy(i), now_ms + 10)).collect();
    });
    let body = bench.submission(&mix("none"));
    let submission = bench.sign_submission(body);
    assert_eq!(refusal(&mut bench, submission.clone()), AdmissionError::TooManyNonces);
    bench.now_ms += 10;
    bench.accept(Command::Submit { submission });
    assert_eq!(bench.hub.state().seen.len(), 1, "the expired ones are forgotten");
}
