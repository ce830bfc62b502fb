//! A mesh that takes no strangers: who is not admitted is not spoken to, and a ticket admits one node.

use std::collections::VecDeque;

use forgemesh_consensus::command::Command;
use forgemesh_node::core::{EnrolmentCommand, Reply, Request};
use forgemesh_node::ports::Work;
use forgemesh_protocol::canon::Bytes;
use forgemesh_protocol::enrolment::{Expulsion, Invitation, Join, secret_digest};
use forgemesh_protocol::keys::{Signable, Signed};
use forgemesh_protocol::limits;
use forgemesh_protocol::wire::Message;

use super::bench::{Agent, Bench, mix};

const SECRET: [u8; 32] = [0x51; 32];

fn invite(bench: &mut Bench) {
    let body = Invitation { secret: secret_digest(&SECRET), expires_ms: bench.now.wall_ms + 60_000 };
    let invitation = Signed::new(body, bench.genesis.mesh_id(), &bench.hub);
    let request = Request::Enrolment(Box::new(EnrolmentCommand::Invite(invitation)));
    assert_eq!(bench.answer(request), Reply::Done);
}

fn join(bench: &Bench, agent: &Agent, secret: &[u8]) -> Signed<Join> {
    let body = Join {
        secret: Bytes(secret.to_vec()),
        name: "one".to_owned(),
        expires_ms: bench.now.wall_ms + 60_000,
    };
    Signed::new(body, bench.genesis.mesh_id(), &agent.secret)
}

fn ask(bench: &mut Bench, agent: &Agent, join: &Signed<Join>) {
    bench.from(agent, Message::Join(Box::new(join.clone())));
}

#[test]
fn a_stranger_gets_neither_answer_nor_work_until_a_ticket_admits_it() {
    let mut bench = Bench::closed();
    let mut agent = Agent::new(10, 1);
    let job = bench.submit(&mix(4, r#"{"verify":"none"}"#));
    bench.pass(3_000, &[&agent]);
    assert!(bench.sent.is_empty(), "{:?}", bench.sent);
    invite(&mut bench);
    let asked = join(&bench, &agent, &SECRET);
    ask(&mut bench, &agent, &asked);
    let joined = Message::Joined { join: asked.body.digest() };
    assert_eq!(bench.told(&agent), std::slice::from_ref(&joined));
    // The answer was lost: the same question has the same answer.
    ask(&mut bench, &agent, &asked);
    assert_eq!(bench.told(&agent), [joined]);
    bench.hello(&[&agent]);
    assert!(bench.deliver(&mut agent) > 0);
    // Expelled, it is a stranger again: what it attests now is not even looked at.
    let Reply::Members(members) = bench.answer(Request::Members) else { panic!("members") };
    let admitted = members.nodes[&agent.id()].index;
    let expulsion =
        Signed::new(Expulsion { node: agent.id(), admitted }, bench.genesis.mesh_id(), &bench.hub);
    let request = Request::Enrolment(Box::new(EnrolmentCommand::Expel(expulsion)));
    assert_eq!(bench.answer(request), Reply::Done);
    // The log hears of its lease, which it had before.
    bench.pass(limits::START_MS, &[]);
    let before = bench.log.len();
    let offer = agent.leases[0].clone();
    bench.attest(&mut agent, &offer, &[0]);
    bench.hello(&[&agent]);
    bench.sent.clear();
    bench.pass(12_000, &[&agent]);
    assert!(bench.sent.is_empty(), "{:?}", bench.sent);
    assert_eq!(bench.log.len(), before);
    assert!(bench.job(&job).is_some_and(|record| record.attested.is_empty()));
}

#[test]
fn a_stranger_reads_no_books_and_submits_nothing() {
    let mut bench = Bench::closed();
    let agent = Agent::new(10, 1);
    let job = bench.submit(&mix(4, r#"{"verify":"none"}"#));
    bench.cancel(job);
    let before = bench.log.len();
    let books = |bench: &Bench| bench.works.iter().any(|(_, work)| matches!(work, Work::Books { .. }));
    bench.from(&agent, Message::Books { from: 0 });
    assert!(!books(&bench));
    let Command::Submit { submission } = bench.log[0].command.clone() else { panic!("the first entry") };
    let repeated = Signed { body: submission.body.clone(), ..submission };
    bench.from(&agent, Message::Submit(Box::new(repeated)));
    assert_eq!(bench.log.len(), before);
    invite(&mut bench);
    let asked = join(&bench, &agent, &SECRET);
    ask(&mut bench, &agent, &asked);
    bench.from(&agent, Message::Books { from: 0 });
    assert!(books(&bench), "who is admitted has the books");
}

#[test]
fn a_wrong_secret_is_refused_in_words_and_fills_no_log() {
    let mut bench = Bench::closed();
    let agent = Agent::new(10, 1);
    invite(&mut bench);
    let before = bench.log.len();
    for _ in 0..100 {
        let asked = join(&bench, &agent, &[0x52; 32]);
        ask(&mut bench, &agent, &asked);
    }
    let told = bench.told(&agent);
    assert_eq!(told.len(), 100);
    let told = told.iter().all(
        |message| matches!(message, Message::Refused { reason, .. } if reason.contains("ask for a new one")),
    );
    assert!(told);
    // In another's name nobody asks.
    let stolen = join(&bench, &agent, &SECRET);
    ask(&mut bench, &Agent::new(11, 1), &stolen);
    assert_eq!(bench.log.len(), before);
}

#[test]
fn two_nodes_with_one_ticket_in_one_moment_are_one_node() {
    let mut bench = Bench::closed();
    let (one, two) = (Agent::new(10, 1), Agent::new(11, 1));
    invite(&mut bench);
    bench.waiting = Some(VecDeque::new());
    let (first, second) = (join(&bench, &one, &SECRET), join(&bench, &two, &SECRET));
    // Both are proposed before either is durable; asked twice is proposed once.
    ask(&mut bench, &one, &first);
    ask(&mut bench, &two, &second);
    ask(&mut bench, &one, &first);
    assert!(bench.told(&one).is_empty() && bench.told(&two).is_empty());
    while bench.waiting.as_ref().is_some_and(|waiting| !waiting.is_empty()) {
        bench.sync();
    }
    assert_eq!(bench.logged(|command| matches!(command, Command::Enrol { .. })), 2);
    assert_eq!(bench.told(&one), [Message::Joined { join: first.body.digest() }]);
    let told = bench.told(&two);
    assert!(
        matches!(&told[..], [Message::Refused { reason, .. }] if reason.contains("has been used")),
        "{told:?}"
    );
}

#[test]
fn only_admitted_nodes_ask_the_hub_anything() {
    let mut bench = Bench::closed();
    let agent = Agent::new(10, 1);
    let ask = Message::Ask { number: 4, body: Bytes(b"{}".to_vec()) };
    bench.from(&agent, ask.clone());
    assert!(bench.asked.is_empty());
    invite(&mut bench);
    let asked = join(&bench, &agent, &SECRET);
    self::ask(&mut bench, &agent, &asked);
    bench.from(&agent, ask);
    assert_eq!((bench.asked.len(), bench.asked[0].from, bench.asked[0].number), (1, agent.id(), 4));
}
