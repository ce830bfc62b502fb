//! What the leader is asked for enters the log only if the log could grant it; all else is refused before, in the same words.

use forgemesh_consensus::admission::AdmissionError;
use forgemesh_consensus::machine::Rejected;
use forgemesh_node::core::{Reply, Request};
use forgemesh_protocol::cancellation::Cancellation;
use forgemesh_protocol::enrolment::{Expulsion, Invitation, Withdrawal, secret_digest};
use forgemesh_protocol::keys::{SecretKey, Signed};
use forgemesh_protocol::submission::Submission;
use forgemesh_protocol::wire::Message;

use super::bench::{Agent, Bench, client, mix};

/// The hub's answers to these messages of a node, all of which it refuses.
fn refused(bench: &mut Bench, agent: &Agent, messages: Vec<Message>) -> Vec<String> {
    let (entries, count) = (bench.log.len(), messages.len());
    messages.into_iter().for_each(|message| bench.from(agent, message));
    let reason = |message| match message {
        Message::Answered { refused, .. } => refused,
        _ => None,
    };
    let reasons: Vec<String> = bench.told(agent).into_iter().filter_map(reason).collect();
    assert_eq!((reasons.len(), bench.log.len()), (count, entries), "{reasons:?}");
    reasons
}

fn submission(bench: &mut Bench) -> Signed<Submission> {
    *bench.signed(&mix(1, r#"{"verify":"none"}"#))
}

/// Requests in the name of a key that has not signed them, or has no say.
fn requests(bench: &mut Bench, signer: &SecretKey, name: &SecretKey) -> Vec<Message> {
    let (mesh, key) = (bench.genesis.mesh_id(), name.public());
    let job = bench.submit(&mix(9, r#"{"verify":"none"}"#));
    let (secret, node) = (secret_digest(&[1; 32]), signer.public().id());
    let expires_ms = bench.now.wall_ms + 60_000;
    vec![
        Message::Cancel(Box::new(Signed { key, ..Signed::new(Cancellation { job }, mesh, signer) })),
        Message::Invite(Box::new(Signed {
            key,
            ..Signed::new(Invitation { secret, expires_ms, organization: None }, mesh, signer)
        })),
        Message::Withdraw(Box::new(Signed { key, ..Signed::new(Withdrawal { secret }, mesh, signer) })),
        Message::Expel(Box::new(Signed {
            key,
            ..Signed::new(Expulsion { node, admitted: 0 }, mesh, signer)
        })),
    ]
}

#[test]
fn what_is_not_signed_never_becomes_an_entry() {
    let (mut bench, agent) = (Bench::new(), Agent::new(10, 1));
    let mut forged = submission(&mut bench);
    forged.key = agent.secret.public();
    let mut messages = requests(&mut bench, &agent.secret, &client());
    let hub = bench.hub.clone();
    messages.extend(requests(&mut bench, &agent.secret, &hub));
    messages.push(Message::Submit(Box::new(forged.clone())));
    let reasons = refused(&mut bench, &agent, messages);
    assert!(reasons.last().is_some_and(|reason| reason.starts_with("the submission's signature: ")));
    // And a client of the leader's own hears it in the log's words, too.
    let entries = bench.log.len();
    let answer = bench.answer(Request::Submit(Box::new(forged)));
    let Reply::Refused(Rejected::Submission(AdmissionError::Signature(_))) = answer else {
        panic!("{answer:?}")
    };
    assert_eq!(bench.log.len(), entries);
}

#[test]
fn what_its_signer_may_not_ask_for_never_becomes_an_entry() {
    let (mut bench, agent) = (Bench::new(), Agent::new(10, 1));
    let messages = requests(&mut bench, &agent.secret, &agent.secret);
    let reasons = refused(&mut bench, &agent, messages);
    assert_eq!(reasons[0], "only the key that submitted a job may cancel it");
    assert!(reasons[1..].iter().all(|reason| reason.starts_with("only a hub member")), "{reasons:?}");
}

#[test]
fn a_submission_that_is_no_job_never_becomes_an_entry_and_a_repeated_one_is_the_same_job() {
    let (mut bench, agent) = (Bench::new(), Agent::new(10, 1));
    let mesh = bench.genesis.mesh_id();
    let good = submission(&mut bench);
    let signed = |body| Message::Submit(Box::new(Signed::new(body, mesh, &client())));
    let mut envelope = good.body.clone();
    envelope.envelope.0.push(b' ');
    let messages = vec![
        signed(Submission { expires_ms: bench.now.wall_ms, ..good.body.clone() }),
        signed(Submission { expires_ms: u64::MAX, ..good.body.clone() }),
        signed(envelope),
    ];
    refused(&mut bench, &agent, messages);
    let mut accepted = || {
        bench.from(&agent, Message::Submit(Box::new(good.clone())));
        bench.told(&agent).iter().any(|told| matches!(told, Message::Answered { refused: None, .. }))
    };
    assert!(accepted() && accepted());
}
