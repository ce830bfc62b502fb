//! The hub changes while the mesh works: nodes are promoted, lost members are replaced by who stands by, a change that a
//! leader left half done is finished, and whoever has a receipt can follow who signed it.

use forgemesh_consensus::command::Command;
use forgemesh_node::core::{EnrolmentCommand, Input, Reply, Request};
use forgemesh_node::evidence::{self, Report};
use forgemesh_protocol::charter::Charter;
use forgemesh_protocol::id::{JobId, NodeId};
use forgemesh_protocol::keys::{Signable, Signed};
use forgemesh_protocol::limits;
use forgemesh_protocol::wire::Message;

use super::bench::{Bench, candidacy};
use super::deliveries::NOOP;
use super::evidence::{evidence, has_all};
use super::work::INSURANCE;

/// The charter after the genesis', with these nodes.
fn charter(bench: &Bench, seats: u64, nodes: &[usize]) -> Charter {
    let first = forgemesh_protocol::charter::Charters::new(bench.genesis.clone());
    let admitted = nodes.iter().map(|node| candidacy(*node, &bench.nodes[*node].secret)).collect();
    Charter { version: 1, previous: first.current().digest(), seats, admitted }
}

/// These operators want it, each at its own node.
fn wanted(bench: &mut Bench, charter: &Charter, by: &[usize]) {
    for &node in by {
        let signed = Signed::new(charter.clone(), bench.genesis.mesh_id(), &bench.nodes[node].secret);
        let before = bench.nodes[node].replies.len();
        bench.ask(node, Request::Enrolment(Box::new(EnrolmentCommand::Consent(signed))));
        bench.run(10_000, |bench| bench.nodes[node].replies.len() > before);
        assert_eq!(bench.nodes[node].replies.last(), Some(&Reply::Done));
    }
}

fn seated(bench: &Bench, node: usize) -> Vec<NodeId> {
    bench.nodes[node].core.seating().1.seated.clone()
}

fn ids(bench: &Bench, nodes: &[usize]) -> Vec<NodeId> {
    nodes.iter().map(|node| bench.id(*node)).collect()
}

fn sit(bench: &mut Bench, most_ms: u64, nodes: &[usize]) {
    let expected = ids(bench, nodes);
    let count = bench.nodes.len();
    let all = |bench: &Bench| (0..count).filter(|i| bench.nodes[*i].up).all(|i| seated(bench, i) == expected);
    bench.run(most_ms, all);
}

/// The receipt holds for a stranger who knows the mesh's id, and has the signatures of a quorum.
pub fn holds(bench: &Bench, node: usize, job: &JobId, charter: u64) {
    let file = bench.finished(node, job).expect("in the books");
    let mut report = Report::default();
    let examined = evidence::examine(&file.receipt.to_bytes(), Some(bench.genesis.mesh_id()), &mut report);
    assert!(examined.is_some() && report.is_ok(), "node {node}: {}", report.failures());
    assert_eq!(file.finished.charter, charter);
}

pub fn in_all_books(bench: &mut Bench, job: JobId) {
    let count = bench.nodes.len();
    bench.run(120_000, |bench| {
        let up = (0..count).filter(|i| bench.nodes[*i].up);
        let quorum = |i: usize| {
            bench.finished(i, &job).is_some_and(|file| {
                let charters = bench.nodes[i].core.seating().0;
                let charter = charters.version(file.finished.charter);
                charter.is_some_and(|charter| file.receipt.signatures.len() >= charter.quorum())
            })
        };
        up.into_iter().all(quorum)
    });
}

#[test]
fn a_mesh_of_one_becomes_one_of_three_and_back() {
    let mut bench = Bench::with_candidates(1, 0, 3, 2);
    bench.elect(0);
    let before = bench.submit(0, INSURANCE);
    in_all_books(&mut bench, before);
    let next = charter(&bench, 3, &[0, 1, 2]);
    wanted(&mut bench, &next, &[0]);
    sit(&mut bench, 60_000, &[0, 1, 2]);
    let after = bench.submit(3, INSURANCE);
    in_all_books(&mut bench, after);
    for node in 0..4 {
        holds(&bench, node, &before, 0);
        holds(&bench, node, &after, 1);
    }
    // What its receipts stand on is with the newcomers, too.
    let old = evidence(&bench, 0, &before);
    bench.run(120_000, |bench| (1..3).all(|newcomer| has_all(bench, newcomer, &old)));
    assert!((1..3).all(|newcomer| has_all(&bench, newcomer, &old)));
    // One of the three may die now, even the one that founded the mesh.
    bench.kill(0);
    bench.elect(1);
    let alone = bench.submit(3, INSURANCE);
    in_all_books(&mut bench, alone);
    holds(&bench, 3, &alone, 1);
}

/// The founder is gone for good, who alone signed the first receipt: the others have its signature, and who stands by gets its
/// seat all the same.
#[test]
fn a_newcomer_gets_its_seat_with_the_founder_gone() {
    let mut bench = Bench::with_candidates(1, 0, 4, 3);
    bench.elect(0);
    let before = bench.submit(0, INSURANCE);
    in_all_books(&mut bench, before);
    let next = charter(&bench, 3, &[0, 1, 2, 3]);
    wanted(&mut bench, &next, &[0]);
    bench.run(60_000, |bench| bench.nodes.iter().all(|node| node.core.seating().1.seated.len() == 3));
    let seated = bench.nodes[4].core.seating().1.seated.clone();
    let standby = (1..4).find(|node| !seated.contains(&bench.id(*node))).expect("four for three seats");
    let others: Vec<usize> = (1..4).filter(|node| *node != standby).collect();
    bench.kill(0);
    bench.elect(others[0]);
    sit(&mut bench, 300_000, &[1, 2, 3]);
    let after = bench.submit(4, INSURANCE);
    in_all_books(&mut bench, after);
    holds(&bench, standby, &before, 0);
}

/// Nobody does anything: the leader finds that a member is gone, and has the one that stands by take its seat.
#[test]
fn a_lost_member_is_replaced_from_the_admitted_list() {
    let mut bench = Bench::with_candidates(3, 0, 2, 1);
    bench.elect(0);
    let next = charter(&bench, 3, &[0, 1, 2, 3]);
    wanted(&mut bench, &next, &[0, 2]);
    // It comes in force with the same seats.
    bench.run(60_000, |bench| bench.nodes[4].core.seating().0.current().version == 1);
    sit(&mut bench, 0, &[0, 1, 2]);
    bench.kill(2);
    let job = bench.submit(4, INSURANCE);
    let since_ms = bench.now_ms;
    sit(&mut bench, limits::SEAT_LOST_MS + 30_000, &[0, 1, 3]);
    assert!(bench.now_ms >= since_ms + limits::SEAT_LOST_MS, "not at the first silence");
    in_all_books(&mut bench, job);
    holds(&bench, 4, &job, 1);
    // It comes back, hears that another sits, and stands by; then it takes the next seat that is lost.
    bench.revive(2);
    sit(&mut bench, 10_000, &[0, 1, 3]);
    bench.kill(1);
    sit(&mut bench, limits::SEAT_LOST_MS + 30_000, &[0, 3, 2]);
    let last = bench.submit(4, INSURANCE);
    in_all_books(&mut bench, last);
    holds(&bench, 2, &last, 1);
}

/// Without anybody who stands by, a member that is silent keeps its seat.
#[test]
fn nobody_loses_a_seat_that_nobody_can_take() {
    let mut bench = Bench::new(3, 0, 1);
    bench.elect(0);
    bench.run(1_000, |bench| bench.queue_is_empty());
    bench.kill(2);
    let end_ms = bench.now_ms + 3 * limits::SEAT_LOST_MS;
    bench.run(4 * limits::SEAT_LOST_MS, |bench| bench.now_ms >= end_ms);
    assert_eq!(bench.logged(|command| matches!(command, Command::Seat { .. })), 0);
    assert_eq!(seated(&bench, 0), ids(&bench, &[0, 1, 2]));
}

/// Whoever leads when, at whatever entry the one before it dies: the change is made, once.
#[test]
fn a_change_that_a_leader_left_half_done_is_finished() {
    for entries in 1..40 {
        let mut bench = Bench::with_candidates(3, 0, 2, 1);
        bench.elect(0);
        let job = bench.submit(4, INSURANCE);
        let next = charter(&bench, 3, &[0, 1, 3]);
        wanted(&mut bench, &next, &[0, 1]);
        let target = bench.log.len() + entries;
        let over = |bench: &Bench| bench.log.len() >= target || bench.finished(4, &job).is_some();
        bench.run(60_000, over);
        if bench.finished(4, &job).is_some() {
            assert!(entries > 3, "it was interrupted");
            return;
        }
        bench.kill(0);
        bench.elect(1);
        sit(&mut bench, 120_000, &[0, 1, 3]);
        in_all_books(&mut bench, job);
        holds(&bench, 4, &job, bench.finished(4, &job).expect("books").finished.charter);
        assert_eq!(bench.logged(|command| matches!(command, Command::Seat { .. })), 1, "{entries}");
    }
}

/// The leader itself is dismissed: it makes the change and goes.
#[test]
fn a_leader_that_is_dismissed_goes_when_others_sit() {
    let mut bench = Bench::with_candidates(3, 0, 2, 1);
    bench.elect(0);
    let next = charter(&bench, 3, &[1, 2, 3]);
    wanted(&mut bench, &next, &[0, 1]);
    bench.run(60_000, |bench| bench.leader.is_none());
    bench.elect(2);
    sit(&mut bench, 60_000, &[1, 2, 3]);
    let job = bench.submit(4, INSURANCE);
    in_all_books(&mut bench, job);
    (0..5).for_each(|node| holds(&bench, node, &job, 1));
    // Whoever has its key has no say in the log any more, in whatever term.
    let (gone, new) = (bench.id(0), bench.id(3));
    for member in [1, 2, 3] {
        let core = &bench.nodes[member].core;
        assert!(!core.may_replicate(&gone) && core.may_replicate(&new), "n{member}");
    }
}

/// A newcomer dies when it has caught up and before it votes, at whatever moment: somebody else who stands by sits instead.
#[test]
fn a_newcomer_that_dies_half_way_is_replaced_like_any_other() {
    for entries in 0..3 {
        let mut bench = Bench::with_candidates(1, 0, 4, 3);
        bench.elect(0);
        let next = charter(&bench, 3, &[0, 1, 2, 3]);
        wanted(&mut bench, &next, &[0]);
        let target = bench.log.len() + entries;
        bench.run(60_000, |bench| bench.replicas.contains(&1) && bench.log.len() >= target.min(2));
        bench.kill(1);
        sit(&mut bench, 4 * limits::SEAT_LOST_MS, &[0, 2, 3]);
        let job = bench.submit(4, INSURANCE);
        in_all_books(&mut bench, job);
        holds(&bench, 4, &job, 1);
    }
}

/// A newcomer follows the log and does not come by what was final before: it gets no seat until it has, and keeps nobody
/// from theirs.
#[test]
fn who_lacks_the_books_gets_no_seat_and_stands_in_nobodys_way() {
    let mut bench = Bench::with_candidates(1, 0, 4, 3);
    bench.elect(0);
    bench.kill(1);
    bench.kill(2);
    bench.kill(3);
    let before = bench.submit(4, INSURANCE);
    in_all_books(&mut bench, before);
    (1..4).for_each(|node| bench.revive(node));
    bench.cut = vec![(0, 1)];
    let next = charter(&bench, 3, &[0, 1, 2, 3]);
    wanted(&mut bench, &next, &[0]);
    let since_ms = bench.now_ms;
    bench.run(60_000, |bench| bench.replicas.contains(&1));
    let seats = ids(&bench, &[0, 2, 3]);
    bench.run(4 * limits::SEAT_LOST_MS, |bench| seated(bench, 0) == seats);
    assert!(bench.now_ms >= since_ms + limits::SEAT_LOST_MS, "it had its time");
    // Now it can have them, and takes the next seat that is lost.
    bench.cut.clear();
    bench.kill(2);
    bench.run(2 * limits::SEAT_LOST_MS, |bench| bench.finished(1, &before).is_some());
    sit(&mut bench, 2 * limits::SEAT_LOST_MS, &[0, 3, 1]);
    bench.kill(0);
    bench.elect(1);
    let last = bench.submit(4, INSURANCE);
    in_all_books(&mut bench, last);
    [1, 3, 4].into_iter().for_each(|node| holds(&bench, node, &before, 0));
}

/// It lets nothing go that it has voted for, also what it computes again as an agent and what it had computed before it sat.
#[test]
fn who_sat_once_keeps_what_receipts_stand_on() {
    let mut bench = Bench::with_candidates(1, 0, 3, 2);
    bench.elect(0);
    let long = NOOP.replace("40", "400");
    let begun = bench.submit(3, &long);
    bench.run(60_000, |bench| !bench.nodes[1].storage.outbox(0, 1).expect("a disk").is_empty());
    let next = charter(&bench, 3, &[0, 1, 2]);
    wanted(&mut bench, &next, &[0]);
    sit(&mut bench, 60_000, &[0, 1, 2]);
    let job = bench.submit(3, NOOP);
    [begun, job].into_iter().for_each(|job| in_all_books(&mut bench, job));
    let old = [evidence(&bench, 0, &begun), evidence(&bench, 0, &job)].concat();
    bench.run(120_000, |bench| (1..3).all(|member| has_all(bench, member, &old)));
    let admitted = vec![candidacy(0, &bench.nodes[0].secret)];
    let last = Charter { version: 2, previous: next.digest(), seats: 1, admitted };
    wanted(&mut bench, &last, &[0, 1]);
    sit(&mut bench, 60_000, &[0]);
    let attested = |bench: &Bench| -> Vec<usize> {
        let of = |node: usize| {
            bench.sent.iter().filter(move |(from, _, message)| {
                *from == node && matches!(message, Message::Deliver(_) | Message::Attest(_))
            })
        };
        (1..4).map(|node| of(node).count()).collect()
    };
    let before = attested(&bench);
    let again = bench.submit(3, NOOP);
    in_all_books(&mut bench, again);
    let after = attested(&bench);
    assert!(before.iter().zip(&after).all(|(before, after)| before < after), "{before:?} {after:?}");
    let end_ms = bench.now_ms + 3 * limits::SCRUB_MS;
    bench.run(4 * limits::SCRUB_MS, |bench| bench.now_ms >= end_ms);
    assert!((0..3).all(|member| has_all(&bench, member, &old)));
    assert!(bench.nodes[3].storage.blobs(None, 1).expect("a disk").is_empty(), "an agent lets all of it go");
}

/// Whoever says to be an agent may be many, and none of them has the books: a member that has them gets its turn all the same.
#[test]
fn many_agents_keep_no_member_from_its_turn() {
    let mut bench = Bench::new(3, 0, 8);
    bench.elect(0);
    bench.kill(2);
    let job = bench.submit(3, INSURANCE);
    in_all_books(&mut bench, job);
    bench.cut = (0..11).filter(|node| *node != 2).map(|node| (node, 2)).collect();
    bench.revive(2);
    let from = bench.sent.len();
    // They have said hello, and say nothing else.
    for agent in 3..11 {
        let hello = bench.sent.iter().rev().find_map(|(from, _, message)| match message {
            Message::Hello(hello) if *from == agent => Some(hello.clone()),
            _ => None,
        });
        let message = Message::Hello(hello.expect("it says hello"));
        bench.hand(2, Input::Message { from: bench.id(agent), message });
    }
    let end_ms = bench.now_ms + limits::SILENCE_MS;
    bench.run(120_000, |bench| bench.now_ms >= end_ms);
    let asked = |members: bool| {
        let asks = |(from, to, message): &&(usize, usize, Message)| {
            *from == 2 && (*to < 3) == members && matches!(message, Message::Books { .. })
        };
        bench.sent[from..].iter().filter(asks).count()
    };
    assert!(asked(true) >= asked(false) && asked(false) > 0, "{} of {}", asked(true), asked(false));
}

/// A member makes what is final now from its log, while older entries are missing in its books: those that come then were
/// signed under an older charter, and count all the same.
#[test]
fn a_gap_in_the_books_is_filled_across_a_change_of_charter() {
    let mut bench = Bench::with_candidates(3, 0, 2, 1);
    bench.elect(0);
    bench.kill(2);
    let first = bench.submit(4, INSURANCE);
    in_all_books(&mut bench, first);
    let next = charter(&bench, 3, &[0, 1, 2, 3]);
    wanted(&mut bench, &next, &[0, 1]);
    bench.run(30_000, |bench| bench.nodes[0].core.seating().0.current().version == 1);
    let second = bench.submit(4, INSURANCE);
    in_all_books(&mut bench, second);
    bench.cut = [0, 1, 3, 4].map(|node| (node, 2)).to_vec();
    bench.revive(2);
    let third = bench.submit(4, INSURANCE);
    bench.run(30_000, |bench| bench.queue_is_empty() && bench.finished(4, &third).is_some());
    assert!([first, second, third].iter().all(|job| bench.finished(2, job).is_none()), "there is a gap");
    bench.cut.clear();
    for (job, charter) in [(first, 0), (second, 1), (third, 1)] {
        in_all_books(&mut bench, job);
        holds(&bench, 2, &job, charter);
    }
}

/// It gets further now and then, as slowly as would keep the others waiting for ever: they sit without it.
#[test]
fn who_comes_by_the_books_slowly_keeps_nobody_from_their_seat() {
    let mut bench = Bench::with_candidates(1, 0, 4, 3);
    bench.elect(0);
    (1..4).for_each(|node| bench.kill(node));
    for _ in 0..9 {
        let job = bench.submit(4, INSURANCE);
        in_all_books(&mut bench, job);
    }
    (1..4).for_each(|node| bench.revive(node));
    bench.cut = vec![(0, 1)];
    let next = charter(&bench, 3, &[0, 1, 2, 3]);
    wanted(&mut bench, &next, &[0]);
    bench.run(60_000, |bench| bench.replicas.contains(&1));
    let seats = ids(&bench, &[0, 2, 3]);
    for books in 1..9 {
        let hellos = bench.sent.iter().rev().filter_map(|(from, _, message)| match message {
            Message::Hello(hello) if *from == 1 => Some(hello.clone()),
            _ => None,
        });
        let mut hello = hellos.take(1).next().expect("it says hello");
        hello.books = books;
        let (from, message) = (bench.id(1), Message::Hello(hello));
        bench.hand(0, Input::Message { from, message });
        let end_ms = bench.now_ms + limits::SEAT_LOST_MS / 2;
        bench.run(limits::SEAT_LOST_MS, |bench| bench.now_ms >= end_ms);
    }
    assert_eq!(seated(&bench, 0), seats);
}

/// A member that was away finds nobody in the hub who has the books: any node that has them gives them to it.
#[test]
fn a_member_has_the_books_of_an_agent_where_no_member_has_them() {
    let mut bench = Bench::new(3, 0, 1);
    bench.elect(0);
    bench.kill(2);
    let job = bench.submit(3, INSURANCE);
    in_all_books(&mut bench, job);
    bench.revive(2);
    bench.cut = vec![(0, 2), (1, 2)];
    in_all_books(&mut bench, job);
    holds(&bench, 2, &job, 0);
}

/// What does not fit the log is refused by who leads, whoever asks, and nothing else waits for it.
#[test]
fn a_charter_out_of_bounds_never_enters_the_log() {
    let mut bench = Bench::with_candidates(1, 0, 1, 0);
    bench.elect(0);
    let mut huge = charter(&bench, 3, &[0, 1]);
    huge.admitted = vec![huge.admitted[1].clone(); 40_000];
    let (mesh, stranger) = (bench.genesis.mesh_id(), bench.nodes[1].secret.clone());
    for (charter, by) in [(huge.clone(), &stranger), (huge, &bench.nodes[0].secret.clone())] {
        let signed = Signed::new(charter, mesh, by);
        bench.ask(1, Request::Enrolment(Box::new(EnrolmentCommand::Consent(signed))));
        bench.run(10_000, |bench| !bench.nodes[1].replies.is_empty());
        assert!(matches!(bench.nodes[1].replies.pop(), Some(Reply::RefusedByHub(_))));
    }
    assert_eq!(bench.logged(|command| matches!(command, Command::Consent { .. })), 0);
}

/// Its disk is older than the growth of its mesh: it hears of that from any newer node, and does not sit by itself.
#[test]
fn who_was_restored_from_a_backup_hears_that_others_sit() {
    let mut bench = Bench::with_candidates(1, 0, 3, 2);
    bench.elect(0);
    let next = charter(&bench, 3, &[0, 1, 2]);
    wanted(&mut bench, &next, &[0]);
    sit(&mut bench, 60_000, &[0, 1, 2]);
    bench.kill(0);
    bench.elect(1);
    let mut old = forgemesh_storage::Batch::new();
    let genesis = forgemesh_protocol::charter::Seating::of(&bench.genesis);
    old.put_meta(forgemesh_storage::MetaKey::Seating, forgemesh_protocol::canon::to_bytes(&genesis));
    bench.nodes[0].storage.commit(&old).expect("a disk");
    bench.replicas.remove(&0);
    bench.revive(0);
    let founder = bench.id(0);
    bench.hand(0, Input::Led { term: 99, leader: Some(founder) });
    sit(&mut bench, 60_000, &[0, 1, 2]);
    assert!(bench.told.contains(&0), "its driver ends it");
}
