//! A job reaches the hub through a node that does not know who leads it, or does not reach it: announced to all, fetched,
//! committed once.

use forgemesh_consensus::command::Command;
use forgemesh_node::core::{Input, Reply};
use forgemesh_protocol::id::JobId;
use forgemesh_protocol::limits;
use forgemesh_protocol::state::State;
use forgemesh_protocol::wire::Message;

use super::bench::Bench;
use super::work::INSURANCE;

fn announced(bench: &Bench) -> bool {
    bench.sent.iter().any(|(.., m)| matches!(m, Message::Announced { .. }))
}

fn fetched(bench: &Bench) -> bool {
    bench.sent.iter().any(|(.., m)| matches!(m, Message::Bring { .. }))
}

#[test]
fn a_node_that_knows_no_leader_is_served_too() {
    let mut bench = Bench::new(3, 1, 1);
    bench.elect(0);
    // What members send by themselves does not reach it; an answer that it waits for does.
    let agent = 3;
    bench.deaf = Some(agent);
    let job = bench.submit(agent, INSURANCE);
    bench.run(60_000, |bench| bench.finished(0, &job).is_some());
    let finished = bench.finished(0, &job).expect("books").finished;
    assert_eq!(finished.record.state, State::Finalized);
    assert_eq!(bench.logged(|command| matches!(command, Command::Submit { .. })), 1, "committed once");
    assert!(bench.nodes[agent].replies.contains(&Reply::Accepted(job)), "and the client hears of it");
    let brought = |m: &Message| matches!(m, Message::Bring { .. });
    assert!(bench.sent.iter().any(|(from, to, m)| (*from, *to) == (0, agent) && brought(m)));
}

/// A hub whose leader is known, and does not hear what the agent says to it.
fn with_leader_out_of_reach() -> Bench {
    let mut bench = Bench::new(3, 1, 1);
    bench.elect(0);
    bench.run(1_000, Bench::queue_is_empty);
    bench.cut = vec![(3, 0)];
    bench
}

#[test]
fn a_leader_that_is_known_and_not_reached_hears_of_a_job_before_it_is_asked_again() {
    let mut bench = with_leader_out_of_reach();
    let begun_ms = bench.now_ms;
    let job = bench.submit(3, INSURANCE);
    bench.run(60_000, fetched);
    assert!(announced(&bench));
    assert!(bench.now_ms < begun_ms + limits::RETRY_MS);
    // Now that the leader has turned to it, it is reached.
    bench.cut.clear();
    bench.run(60_000, |bench| bench.finished(0, &job).is_some());
    assert_eq!(bench.logged(|command| matches!(command, Command::Submit { .. })), 1, "committed once");
}

#[test]
fn what_comes_by_itself_is_neither_announced_nor_fetched_and_strangers_are_not_heard() {
    let mut bench = Bench::new(3, 1, 1);
    bench.elect(0);
    bench.run(1_000, Bench::queue_is_empty);
    let job = bench.submit(3, INSURANCE);
    bench.run(60_000, |bench| bench.logged(|command| matches!(command, Command::Submit { .. })) > 0);
    let from = bench.id(3);
    let again = Input::Message { from, message: Message::Announced { job } };
    bench.hand(0, again.clone());
    bench.run(60_000, |bench| bench.finished(0, &job).is_some());
    bench.hand(0, again);
    bench.run(2_000, Bench::queue_is_empty);
    assert!(!announced(&bench) && !fetched(&bench), "it had come");
    let stranger = forgemesh_protocol::keys::SecretKey::from_bytes(&[0x77; 32]).public().id();
    let unknown = JobId(forgemesh_protocol::hash::Hash::blob(b"none"));
    // A follower does nothing about it, and who has no such job sends none.
    let agent = bench.id(3);
    bench.hand(1, Input::Message { from: agent, message: Message::Announced { job: unknown } });
    bench.run(2_000, Bench::queue_is_empty);
    assert!(!fetched(&bench));
    bench.hand(3, Input::Message { from: stranger, message: Message::Bring { job } });
    bench.run(2_000, Bench::queue_is_empty);
    let submitted = bench.sent.iter().filter(|(from, _, m)| *from == 3 && matches!(m, Message::Submit(_)));
    assert_eq!(submitted.count(), 1);
}

/// Of many that a leader has not taken none is kept back for those that come first, and in no second there are more than
/// others take of one author, however late the clock rings.
#[test]
fn many_jobs_are_announced_one_part_after_the_other() {
    let mut bench = with_leader_out_of_reach();
    // Nobody fetches them: they are announced again and again.
    bench.cut.push((0, 3));
    let envelope = r#"{"op":{"name":"diag","version":1,"profile":"noop.v1"},"args":{"shards":1}}"#;
    let jobs = 2 * limits::ANNOUNCEMENTS + 1;
    for _ in 0..jobs {
        bench.submit(3, envelope);
    }
    // To one of the others.
    let announced = |bench: &Bench| -> Vec<JobId> {
        let announced = bench.sent.iter().filter_map(|(_, to, m)| match m {
            Message::Announced { job } if *to == 1 => Some(*job),
            _ => None,
        });
        announced.collect()
    };
    let begun_ms = bench.now_ms;
    let mut by_ms = std::collections::BTreeMap::new();
    while bench.now_ms < begun_ms + 6 * limits::ANNOUNCEMENTS_MS {
        let (now_ms, before) = (bench.now_ms, announced(&bench).len());
        bench.run(1_100, |bench| bench.now_ms > now_ms);
        by_ms.insert(now_ms, announced(&bench).len() - before);
    }
    let first: std::collections::BTreeSet<JobId> = announced(&bench)[..jobs].iter().copied().collect();
    assert_eq!(first.len(), jobs, "each has its turn before any has a second");
    for ms in by_ms.keys() {
        let second: usize = by_ms.range(ms..&(ms + 1_000)).map(|(_, count)| count).sum();
        assert!(second <= limits::GOSSIP_PER_S as usize, "{second} within a second from {ms} on");
    }
    assert!(announced(&bench).len() >= 5 * limits::ANNOUNCEMENTS);
}

/// Who says first that it has a job need not have it: the others who say so are asked too.
#[test]
fn everyone_who_announces_a_job_is_asked_for_it() {
    let mut bench = Bench::new(3, 1, 1);
    bench.elect(0);
    bench.run(1_000, Bench::queue_is_empty);
    let job = JobId(forgemesh_protocol::hash::Hash::blob(b"announced"));
    for from in [1, 3, 1] {
        let from = bench.id(from);
        bench.hand(0, Input::Message { from, message: Message::Announced { job } });
    }
    bench.run(2_000, Bench::queue_is_empty);
    let asked = bench.sent.iter().filter(|(.., m)| matches!(m, Message::Bring { .. }));
    let asked: std::collections::BTreeSet<usize> = asked.map(|(_, to, _)| *to).collect();
    assert_eq!(asked, [1, 3].into());
}
