//! What a client reads at any member, once that has said that it is current, is no older than the question.

use forgemesh_node::core::{Input, Reply, Request};
use forgemesh_protocol::id::JobId;
use forgemesh_protocol::wire::Message;

use super::bench::Bench;
use super::work::INSURANCE;

fn replied(bench: &Bench, node: usize, reply: &Reply) -> bool {
    bench.nodes[node].replies.contains(reply)
}

/// Does this member know of the job, as one that is open or in its books?
fn knows(bench: &Bench, member: usize, job: &JobId) -> bool {
    let hub = bench.nodes[member].core.hub().expect("a member");
    hub.job(job).is_some() || bench.finished(member, job).is_some()
}

#[test]
fn a_member_that_lags_behind_waits_before_it_answers() {
    let mut bench = Bench::new(3, 0, 0);
    bench.elect(0);
    bench.run(1_000, Bench::queue_is_empty);
    bench.late = Some(1);
    let job = bench.submit(0, INSURANCE);
    bench.run(1_000, |bench| replied(bench, 0, &Reply::Accepted(job)));
    assert!(!knows(&bench, 1, &job), "it has not heard of it");
    bench.ask(1, Request::Current);
    bench.run(5_000, |bench| {
        let current = replied(bench, 1, &Reply::Current);
        assert!(!current || knows(bench, 1, &job), "it says that it is current and is not");
        current
    });
}

#[test]
fn what_is_final_is_in_the_books_before_a_member_answers() {
    let mut bench = Bench::new(3, 1, 1);
    bench.elect(0);
    let job = bench.submit(3, INSURANCE);
    bench.run(60_000, |bench| bench.log.len() > 4);
    // It misses the end, and comes back with the log and without the books.
    bench.kill(2);
    bench.run(60_000, |bench| (0..2).all(|member| bench.finished(member, &job).is_some()));
    bench.revive(2);
    bench.ask(2, Request::Current);
    bench.run(10_000, |bench| {
        let current = replied(bench, 2, &Reply::Current);
        assert!(!current || bench.finished(2, &job).is_some(), "it says that it is current and is not");
        current
    });
}

#[test]
fn who_no_longer_leads_answers_nothing_until_it_has_asked_who_does() {
    let mut bench = Bench::new(3, 0, 0);
    bench.elect(0);
    bench.run(1_000, Bench::queue_is_empty);
    // Another leads, and the old leader has not heard of it: nothing reaches it.
    bench.cut = vec![(1, 0), (2, 0), (0, 1), (0, 2)];
    bench.replicas.remove(&0);
    bench.elect(1);
    let job = bench.submit(1, INSURANCE);
    bench.run(1_000, |bench| replied(bench, 1, &Reply::Accepted(job)));
    bench.ask(0, Request::Current);
    bench.run(10_000, |bench| !bench.nodes[0].replies.is_empty());
    assert_eq!(bench.nodes[0].replies, [Reply::NoAnswer], "it does not know of job {job}");
    // And once it has.
    bench.cut.clear();
    let (term, leader) = (bench.term, Some(bench.id(1)));
    let missed =
        bench.log.iter().map(|entry| forgemesh_consensus::raft::Committed::Entry(Box::new(entry.clone())));
    let missed = Input::Committed(missed.collect());
    bench.ask(0, Request::Current);
    bench.hand(0, Input::Led { term, leader });
    bench.run(100, |bench| {
        bench.sent.iter().any(|(_, to, m)| *to == 0 && matches!(m, Message::ReadAt { .. }))
    });
    assert!(!replied(&bench, 0, &Reply::Current), "it lacks what was agreed on");
    bench.hand(0, missed);
    bench.run(100, |bench| replied(bench, 0, &Reply::Current));
    assert!(knows(&bench, 0, &job));
}

#[test]
fn only_members_are_answered_and_only_by_the_leader() {
    let mut bench = Bench::new(3, 0, 1);
    bench.elect(0);
    bench.run(1_000, Bench::queue_is_empty);
    let answers =
        |bench: &Bench| bench.sent.iter().filter(|(.., m)| matches!(m, Message::ReadAt { .. })).count();
    let stranger = bench.id(3);
    bench.hand(0, Input::Message { from: stranger, message: Message::ReadIndex { number: 1 } });
    let member = bench.id(1);
    bench.hand(2, Input::Message { from: member, message: Message::ReadIndex { number: 1 } });
    bench.run(1_000, Bench::queue_is_empty);
    assert_eq!(answers(&bench), 0);
    bench.hand(0, Input::Message { from: member, message: Message::ReadIndex { number: 1 } });
    bench.run(1_000, Bench::queue_is_empty);
    assert_eq!(answers(&bench), 1);
    // An agent has nothing to be read.
    bench.ask(3, Request::Current);
    bench.run(1_000, |bench| replied(bench, 3, &Reply::NoAnswer));
}
