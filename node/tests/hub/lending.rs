//! Who gets which shards: by capacity, by policy, again after a failure, from the busy to the idle.

use std::collections::BTreeSet;

use forgemesh_node::core::Input;
use forgemesh_node::core::{Queue, Reply, Request};
use forgemesh_protocol::failure::FailureCode;
use forgemesh_protocol::limits;
use forgemesh_protocol::wire::Message;

use super::bench::{Agent, Bench, mix, shards};

#[test]
fn agents_get_shares_by_their_capacity_and_no_shard_twice() {
    let mut bench = Bench::new();
    let (mut small, mut large) = (Agent::new(10, 1), Agent::new(11, 4));
    bench.hello(&[&small, &large]);
    let id = bench.submit(&mix(2_000, r#"{"verify":"none"}"#));
    let (few, many) = (bench.leases(&small), bench.leases(&large));
    let (a, b) = (shards(&few), shards(&many));
    assert!(a.is_disjoint(&b));
    // About 2.5 s of work for each thread, by the estimate of 10 ms a shard.
    let backlog = limits::BACKLOG_MS / 10;
    assert!((backlog * 9 / 10..=backlog * 11 / 10).contains(&(a.len() as u64)), "{}", a.len());
    assert!(b.len() >= 7 * a.len() / 2, "{} of {}", a.len(), b.len());
    assert!(bench.sent.iter().all(|(_, message)| !matches!(message, Message::Lease(_))));
    few.into_iter().for_each(|offer| small.take(offer));
    many.into_iter().for_each(|offer| large.take(offer));
    // Nothing more until something is done.
    bench.pass(2_000, &[&small, &large]);
    assert!(bench.leases(&small).is_empty() && bench.leases(&large).is_empty());
    assert!(bench.job(&id).is_some());
}

#[test]
fn a_job_waits_for_as_many_agents_as_it_asks_for() {
    let mut bench = Bench::new();
    let (mut one, two) = (Agent::new(10, 1), Agent::new(11, 1));
    bench.hello(&[&one]);
    bench.submit(&mix(4, r#"{"verify":"none","min_agents":2}"#));
    bench.pass(3_000, &[&one]);
    assert_eq!(bench.deliver(&mut one), 0);
    bench.hello(&[&one, &two]);
    assert!(!bench.leases(&one).is_empty() && !bench.leases(&two).is_empty());
}

#[test]
fn a_job_has_no_more_agents_than_it_allows_until_one_is_gone() {
    let mut bench = Bench::new();
    let (mut one, mut two) = (Agent::new(10, 1), Agent::new(11, 1));
    bench.hello(&[&one, &two]);
    bench.submit(&mix(600, r#"{"verify":"none","max_agents":1}"#));
    bench.deliver(&mut one);
    bench.deliver(&mut two);
    let (worker, mut other) = if one.held() > 0 { (one, two) } else { (two, one) };
    assert!(worker.held() > 0 && other.held() == 0);
    // The idle one neither steals nor gets a spare.
    bench.pass(8_000, &[&worker, &other]);
    assert_eq!((bench.deliver(&mut other), bench.told(&worker).len()), (0, 0));
    // The worker falls silent: the other takes its place.
    bench.pass(limits::SILENCE_MS + 1_000, &[&other]);
    assert!(bench.deliver(&mut other) > 0);
}

#[test]
fn a_failed_shard_goes_to_another_agent_while_there_is_one() {
    let mut bench = Bench::new();
    let (mut one, mut two) = (Agent::new(10, 1), Agent::new(11, 1));
    bench.hello(&[&one]);
    let id = bench.submit(&mix(2, r#"{"verify":"none"}"#));
    bench.deliver(&mut one);
    assert_eq!(one.held(), 2);
    bench.hello(&[&one, &two]);
    let fail = |shard, attempt| Message::ShardFailed {
        job: id,
        stage: 0,
        shard,
        attempt,
        detail: "out of memory".to_owned(),
    };
    one.holds.values_mut().for_each(|held| held.retain(|shard| *shard != 1));
    bench.from(&one, fail(1, 1));
    let lent = bench.leases(&two);
    assert_eq!(shards(&lent), BTreeSet::from([1]));
    assert_eq!(lent[0].lease.body.attempt, 2);
    // The message comes a second time: no second failure.
    bench.from(&one, fail(1, 1));
    lent.into_iter().for_each(|offer| two.take(offer));
    bench.pass(1_000, &[&one, &two]);
    assert_eq!((bench.deliver(&mut one), bench.deliver(&mut two)), (0, 0));
    // The other one fails, too: now everyone has, and it may be tried again.
    two.holds.clear();
    bench.from(&two, fail(1, 2));
    let again: BTreeSet<u64> =
        [bench.leases(&one), bench.leases(&two)].iter().flat_map(|l| shards(l)).collect();
    assert_eq!(again, BTreeSet::from([1]));
}

#[test]
fn a_shard_that_fails_everywhere_ends_the_job() {
    let mut bench = Bench::new();
    let mut one = Agent::new(10, 1);
    bench.hello(&[&one]);
    let id = bench.submit(&mix(2, r#"{"verify":"none"}"#));
    for attempt in 1..=u64::from(limits::SHARD_ATTEMPTS) {
        assert!(bench.job(&id).is_some(), "attempt {attempt}");
        bench.deliver(&mut one);
        one.holds.values_mut().for_each(|held| held.retain(|shard| *shard != 0));
        let detail = "out of memory".to_owned();
        bench.from(&one, Message::ShardFailed { job: id, stage: 0, shard: 0, attempt, detail });
    }
    let finished = bench.progress.last().expect("it is final");
    assert!(finished.recorded && bench.job(&id).is_none());
    let over = bench.told(&one);
    assert!(over.contains(&Message::Over { job: id }), "{over:?}");
}

#[test]
fn the_idle_take_from_the_busy() {
    let mut bench = Bench::new();
    let mut busy = Agent::new(10, 1);
    bench.hello(&[&busy]);
    let id = bench.submit(&mix(200, r#"{"verify":"none"}"#));
    bench.deliver(&mut busy);
    assert_eq!(busy.held(), 200);
    let mut idle = Agent::new(11, 1);
    bench.hello(&[&idle]);
    let told = bench.told(&busy);
    let [Message::Recall(holding)] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!((holding.job, holding.shards.len(), holding.shards[0].clone()), (id, 1, 100..200));
    // It has begun ten of them; the rest it leaves.
    let held = busy.holds.values_mut().next().expect("its shards");
    held.retain(|shard| *shard < 110);
    bench.hello(&[&busy]);
    let lent = bench.leases(&idle);
    assert!(shards(&lent).is_subset(&(110..200).collect()) && !lent.is_empty());
    lent.into_iter().for_each(|offer| idle.take(offer));
    bench.pass(1_000, &[&busy, &idle]);
    bench.deliver(&mut idle);
    bench.deliver(&mut busy);
    let together: BTreeSet<u64> =
        [&busy, &idle].iter().flat_map(|a| a.holds.values().flatten()).copied().collect();
    assert_eq!(together, (0..200).collect());
}

#[test]
fn a_straggler_gets_company_and_the_first_to_finish_counts() {
    let mut bench = Bench::new();
    let mut slow = Agent::new(10, 1);
    bench.hello(&[&slow]);
    let id = bench.submit(&mix(1, r#"{"verify":"none"}"#));
    bench.deliver(&mut slow);
    let mut quick = Agent::new(11, 1);
    bench.pass(limits::STRAGGLE_MS - 1_000, &[&slow, &quick]);
    assert_eq!(bench.deliver(&mut quick), 0, "it is not late yet");
    bench.pass(2_000, &[&slow, &quick]);
    assert_eq!(bench.deliver(&mut quick), 1);
    bench.pass(8_000, &[&slow, &quick]);
    assert_eq!(bench.deliver(&mut quick), 0, "one spare is enough");
    let offer = quick.leases[0].clone();
    bench.attest(&mut quick, &offer, &[0]);
    assert_eq!(bench.job(&id).expect("open").batches.len(), 1);
    // The slow one is told that its work is not needed any more.
    let told = bench.told(&slow);
    assert!(matches!(told.as_slice(), [Message::Recall(_)]), "{told:?}");
    let offer = slow.leases[0].clone();
    bench.attest(&mut slow, &offer, &[0]);
    let job = bench.job(&id).expect("open");
    assert_eq!(job.batches.len(), 1, "superseded: neither billed nor punished");
    assert_eq!(bench.core.hub().expect("the hub").chain(&slow.id()).seq, 1, "its chain goes on");
}

#[test]
fn two_jobs_share_the_agents() {
    let mut bench = Bench::new();
    let mut one = Agent::new(10, 1);
    bench.hello(&[&one]);
    let long = bench.submit(&mix(2_000, r#"{"verify":"none"}"#));
    bench.deliver(&mut one);
    let short = bench.submit(&mix(3, r#"{"verify":"none"}"#));
    // The agent is full of the long job; as it gets on, the short one has its turn.
    let offer = one.leases[0].clone();
    let done: Vec<u64> = shards(std::slice::from_ref(&offer)).into_iter().take(200).collect();
    bench.attest(&mut one, &offer, &done);
    let lent = bench.leases(&one);
    assert!(lent.iter().any(|offer| offer.lease.body.job == short), "{:?}", shards(&lent));
    assert!(bench.job(&long).is_some());
}

#[test]
fn queues_are_named_with_their_bounds() {
    let mut bench = Bench::new();
    bench.hello(&[&Agent::new(10, 1)]);
    bench.submit(&mix(3, r#"{"verify":"none"}"#));
    bench.hand(Input::Request { token: 5, request: Request::Queues });
    let Some(Reply::Queues(queues)) = bench.replies.pop() else { panic!("{:?}", bench.replies) };
    let length = |name: &str| queues.iter().find(|queue| queue.name == name).map(|queue| queue.length);
    assert_eq!((length("hub: open jobs"), length("hub: agents")), (Some(1), Some(1)));
    let within = |queue: &&Queue| queue.length > queue.bound;
    assert_eq!(queues.iter().find(within), None);
}

#[test]
fn what_takes_too_long_ends_as_such_and_costs_nothing() {
    let mut bench = Bench::new();
    let mut one = Agent::new(10, 1);
    bench.hello(&[&one]);
    let id = bench.submit(&mix(100, r#"{"verify":"none","timeout_ms":5000}"#));
    bench.deliver(&mut one);
    let offer = one.leases[0].clone();
    bench.attest(&mut one, &offer, &[0, 1, 2]);
    bench.pass(6_000, &[&one]);
    assert!(bench.job(&id).is_none());
    let finished = bench.finished();
    assert_eq!(finished.failure.map(|failure| failure.code), Some(FailureCode::TimedOut));
    assert!(finished.entry.providers.is_empty());
}

#[test]
fn a_cancelled_job_is_over_for_everyone() {
    let mut bench = Bench::new();
    let mut one = Agent::new(10, 1);
    bench.hello(&[&one]);
    let id = bench.submit(&mix(100, r#"{"verify":"none"}"#));
    bench.deliver(&mut one);
    assert_eq!(bench.cancel(id), Some(Reply::Accepted(id)));
    assert_eq!(bench.told(&one), [Message::Over { job: id }]);
    assert_eq!(bench.finished().failure.map(|failure| failure.code), Some(FailureCode::Cancelled));
    // The message is lost; the agent still names the job, and is told again.
    bench.hello(&[&one]);
    assert_eq!(bench.told(&one), [Message::Over { job: id }]);
    let Some(Reply::Refused(_)) = bench.cancel(id) else { panic!("a final job is not open") };
}
