//! A mesh that takes no strangers: who is not admitted is not spoken to, and a ticket admits one node.

use std::collections::VecDeque;

use forgemesh_consensus::command::Command;
use forgemesh_node::core::Input;
use forgemesh_node::ports::Work;
use forgemesh_protocol::canon::Bytes;
use forgemesh_protocol::enrolment::Join;
use forgemesh_protocol::keys::{Signable, Signed};
use forgemesh_protocol::limits;
use forgemesh_protocol::wire::Message;

use super::bench::{Agent, Bench, SECRET, mix};

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
    bench.invite(&SECRET);
    let asked = bench.join(&agent, &SECRET);
    ask(&mut bench, &agent, &asked);
    let joined = Message::Joined { join: asked.body.digest() };
    assert_eq!(bench.told(&agent), std::slice::from_ref(&joined));
    // The answer was lost: the same question has the same answer.
    ask(&mut bench, &agent, &asked);
    assert_eq!(bench.told(&agent), [joined]);
    bench.hello(&[&agent]);
    assert!(bench.deliver(&mut agent) > 0);
    // Expelled, it is a stranger again: what it attests now is not even looked at.
    bench.expel(&agent);
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

/// The hub tells an agent, whom it heard a moment ago, that it belongs no longer: news of who leads would say the contrary.
#[test]
fn who_is_expelled_hears_no_longer_who_leads() {
    let mut bench = Bench::closed();
    let agent = Agent::new(10, 1);
    bench.admit(&agent);
    bench.hello(&[&agent]);
    let news = |bench: &mut Bench| {
        let job = bench.submit(&mix(4, r#"{"verify":"none"}"#));
        bench.cancel(job);
        bench.sent.clear();
        bench.pass(limits::ANNOUNCE_MS, &[]);
        let of_agent =
            |(to, message): &&(_, Message)| *to == agent.id() && matches!(message, Message::Led { .. });
        bench.sent.iter().filter(of_agent).count()
    };
    assert_eq!(news(&mut bench), 1);
    bench.expel(&agent);
    assert_eq!(news(&mut bench), 0);
    // Nor from who leads next.
    let leader = Some(bench.hub.public().id());
    bench.hand(Input::Led { term: 2, leader });
    assert!(bench.sent.iter().all(|(to, _)| *to != agent.id()), "{:?}", bench.sent);
}

#[test]
fn who_is_expelled_is_lent_nothing_more() {
    let mut bench = Bench::closed();
    let agent = Agent::new(10, 1);
    bench.admit(&agent);
    bench.hello(&[&agent]);
    bench.expel(&agent);
    bench.submit(&mix(4, r#"{"verify":"none"}"#));
    bench.pass(1_000, &[&agent]);
    assert_eq!(bench.leases(&agent).len(), 0);
    // Admitted again, it works.
    bench.admit(&agent);
    bench.pass(1_000, &[&agent]);
    assert_eq!(bench.leases(&agent).len(), 1);
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
    bench.invite(&SECRET);
    let asked = bench.join(&agent, &SECRET);
    ask(&mut bench, &agent, &asked);
    bench.from(&agent, Message::Books { from: 0 });
    assert!(books(&bench), "who is admitted has the books");
}

#[test]
fn a_wrong_secret_is_refused_in_words_and_fills_no_log() {
    let mut bench = Bench::closed();
    let agent = Agent::new(10, 1);
    bench.invite(&SECRET);
    let before = bench.log.len();
    for _ in 0..100 {
        let asked = bench.join(&agent, &[0x52; 32]);
        ask(&mut bench, &agent, &asked);
    }
    let told = bench.told(&agent);
    assert_eq!(told.len(), 100);
    let told = told.iter().all(
        |message| matches!(message, Message::Refused { reason, .. } if reason.contains("ask for a new one")),
    );
    assert!(told);
    // In another's name nobody asks.
    let stolen = bench.join(&agent, &SECRET);
    ask(&mut bench, &Agent::new(11, 1), &stolen);
    assert_eq!(bench.log.len(), before);
}

#[test]
fn two_nodes_with_one_ticket_in_one_moment_are_one_node() {
    let mut bench = Bench::closed();
    let (one, two) = (Agent::new(10, 1), Agent::new(11, 1));
    bench.invite(&SECRET);
    bench.waiting = Some(VecDeque::new());
    let (first, second) = (bench.join(&one, &SECRET), bench.join(&two, &SECRET));
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
    bench.invite(&SECRET);
    let asked = bench.join(&agent, &SECRET);
    self::ask(&mut bench, &agent, &asked);
    bench.from(&agent, ask);
    assert_eq!((bench.asked.len(), bench.asked[0].from, bench.asked[0].number), (1, agent.id(), 4));
}
