//! Lost messages, silent agents, a restarted hub: what was lent is lent again, what is held is not.

use std::collections::BTreeSet;

use forgemesh_consensus::job::Reason;
use forgemesh_node::core::Input;
use forgemesh_protocol::limits;
use forgemesh_protocol::wire::Message;

use super::bench::{Agent, Bench, mix, shards};

#[test]
fn a_lost_lease_is_lent_again_within_seconds() {
    let mut bench = Bench::new();
    let mut one = Agent::new(10, 1);
    bench.hello(&[&one]);
    bench.submit(&mix(4, r#"{"verify":"none"}"#));
    assert_eq!(shards(&bench.leases(&one)), (0..4).collect(), "on their way, and lost");
    // An agent that has not had time to get them says the same: for a moment nothing happens.
    bench.hello(&[&one]);
    assert!(bench.leases(&one).is_empty());
    bench.pass(limits::LEASE_GRACE_MS + 1_000, &[&one]);
    assert_eq!(bench.deliver(&mut one), 4);
    bench.pass(20_000, &[&one]);
    assert!(bench.leases(&one).is_empty(), "it holds them");
}

#[test]
fn a_silent_agents_shards_go_to_another() {
    let mut bench = Bench::new();
    let (mut gone, mut other) = (Agent::new(10, 1), Agent::new(11, 1));
    bench.hello(&[&gone]);
    let id = bench.submit(&mix(10, r#"{"verify":"none"}"#));
    bench.deliver(&mut gone);
    other.accepts = 0;
    bench.pass(limits::SILENCE_MS, &[&other]);
    other.accepts = 256;
    bench.hello(&[&other]);
    assert_eq!(bench.deliver(&mut other), 10);
    // The lost one comes back and attests what it has done: the first counts, whoever it is.
    let offer = gone.leases[0].clone();
    bench.attest(&mut gone, &offer, &[0]);
    assert_eq!(bench.job(&id).expect("open").batches[0].credited, vec![0].into());
    let offer = other.leases[0].clone();
    bench.attest(&mut other, &offer, &[0, 1]);
    assert_eq!(bench.job(&id).expect("open").batches[1].credited, vec![1].into());
}

/// It has its shards again as soon as it is back; but who goes again and again comes after all others in the end.
#[test]
fn what_a_gone_agent_has_not_opened_is_not_held_against_it() {
    let mut bench = Bench::new();
    let (mut one, mut other) = (Agent::new(10, 1), Agent::new(11, 1));
    other.accepts = 0;
    let id = bench.submit(&mix(1, r#"{"verify":"spotcheck"}"#));
    for round in 0..limits::ABSENCES + limits::UNRELIABLE as u64 {
        bench.hello(&[&one, &other]);
        assert_eq!(bench.deliver(&mut one), 1, "round {round}");
        let offer = one.leases.remove(0);
        bench.attest(&mut one, &offer, &[0]);
        bench.hand(Input::Parted { node: one.id() });
        bench.pass(limits::PARTED_MS, &[&other]);
        let job = bench.job(&id).expect("open");
        let left: Vec<Reason> = job.set_aside.iter().map(|aside| aside.reason).collect();
        assert_eq!(left, vec![Reason::Unopened; round as usize + 1]);
    }
    bench.hello(&[&one, &other]);
    assert_eq!(bench.deliver(&mut one), 0, "the other comes first");
}

#[test]
fn a_restarted_hub_lets_agents_keep_what_they_hold() {
    let mut bench = Bench::new();
    let (mut one, mut two) = (Agent::new(10, 1), Agent::new(11, 1));
    bench.hello(&[&one, &two]);
    let id = bench.submit(&mix(40, r#"{"verify":"none"}"#));
    bench.deliver(&mut one);
    bench.deliver(&mut two);
    assert_eq!(one.held() + two.held(), 40);
    let offer = one.leases[0].clone();
    let first = *one.holds.values().next().expect("shards").first().expect("one");
    bench.attest(&mut one, &offer, &[first]);
    bench.restart();
    // The first to be heard is not given what the second holds.
    bench.hello(&[&one]);
    assert!(bench.leases(&one).is_empty(), "the hub waits for the others to speak");
    bench.pass(limits::SETTLE_MS + 1_000, &[&one, &two]);
    assert!(bench.leases(&one).is_empty() && bench.leases(&two).is_empty());
    let offer = two.leases[0].clone();
    let held: Vec<u64> = shards(std::slice::from_ref(&offer)).into_iter().collect();
    bench.attest(&mut two, &offer, &held);
    let batches = &bench.job(&id).expect("open").batches;
    assert_eq!(batches[1].credited, held.into(), "leases of before the restart hold");
}

#[test]
fn a_job_that_nobody_has_begun_does_not_wait_after_a_restart() {
    let mut bench = Bench::new();
    bench.submit(&mix(4, r#"{"verify":"none"}"#));
    bench.restart();
    let mut one = Agent::new(10, 1);
    bench.hello(&[&one]);
    assert_eq!(bench.deliver(&mut one), 4);
}

#[test]
fn an_agent_that_takes_no_work_gets_none() {
    let mut bench = Bench::new();
    let mut full = Agent::new(10, 2);
    full.accepts = 0;
    bench.hello(&[&full]);
    bench.submit(&mix(4, r#"{"verify":"none"}"#));
    bench.pass(5_000, &[&full]);
    assert_eq!(bench.deliver(&mut full), 0);
    full.accepts = 3;
    bench.hello(&[&full]);
    assert_eq!(bench.deliver(&mut full), 3, "no more than it takes");
}

#[test]
fn a_hello_with_nonsense_in_it_changes_nothing() {
    let mut bench = Bench::new();
    let mut one = Agent::new(10, 1);
    bench.hello(&[&one]);
    let id = bench.submit(&mix(4, r#"{"verify":"none"}"#));
    bench.deliver(&mut one);
    let mut liar = Agent::new(11, 1);
    liar.holds.insert((id, 0), BTreeSet::from([7, u64::MAX - 1]));
    liar.holds.insert((id, 9), BTreeSet::from([0]));
    let Message::Hello(mut hello) = liar.hello() else { panic!("a hello") };
    hello.capacity = u64::MAX;
    hello.holds[0].shards.push(0..u64::MAX);
    bench.from(&liar, Message::Hello(hello));
    bench.pass(5_000, &[&one]);
    // What the first holds stays its own.
    let offer = one.leases[0].clone();
    bench.attest(&mut one, &offer, &[0, 1, 2, 3]);
    assert_eq!(bench.job(&id).expect("open").batches[0].credited, vec![0, 1, 2, 3].into());
}
