//! What a hub says of itself: its agents, its jobs, and what a job waits for, each constraint with its count.

use forgemesh_node::core::{Reply, Request};
use forgemesh_protocol::id::JobId;
use forgemesh_protocol::limits;
use forgemesh_protocol::op::Op;
use forgemesh_protocol::wire::{Hello, Message};

use super::bench::{Agent, Bench, mix};

fn reasons(bench: &mut Bench, job: JobId) -> Vec<(&'static str, String)> {
    match bench.answer(Request::Pending(job)) {
        Reply::Pending(Some(reasons)) => {
            reasons.into_iter().map(|reason| (reason.code, reason.text)).collect()
        }
        other => panic!("reasons, not {other:?}"),
    }
}

#[test]
fn a_job_that_waits_says_for_what() {
    let mut bench = Bench::new();
    let job = bench.submit(&mix(4, r#"{"verify":"none","min_agents":2,"target":"cpu"}"#));
    let mut one = Agent::new(10, 1);
    let told = reasons(&mut bench, job);
    assert_eq!(told[0].0, "min_agents");
    let mut confined = Agent::new(11, 1);
    confined.ops = vec![Op::new("mc", 1, "reserve.v1")];
    let mut gone = Agent::new(12, 1);
    gone.ops = confined.ops.clone();
    bench.hello(&[&gone]);
    bench.pass(limits::SILENCE_MS + 1_000, &[&one, &confined]);
    let told = reasons(&mut bench, job);
    let codes: Vec<_> = told.iter().map(|(code, _)| *code).collect();
    assert_eq!(codes, ["min_agents", "silent", "profile"]);
    assert!(told[1].1.starts_with("1 of 3 agents"), "{told:?}");
    assert!(told[2].1.contains("diag@1/mix.v1"), "{told:?}");
    // A second one that may: the job is lent, and says that.
    let two = Agent::new(13, 1);
    bench.pass(1_000, &[&one, &confined, &two]);
    assert_eq!(bench.leases(&confined).len(), 0);
    let told = reasons(&mut bench, job);
    assert_eq!(told[0].0, "executing", "{told:?}");
    bench.deliver(&mut one);
    let Reply::Status(status) = bench.answer(Request::Status) else { panic!("a status") };
    let hub = status.hub.expect("a hub member");
    assert_eq!((hub.jobs.len(), hub.jobs[0].shards, hub.agents.len()), (1, 4, 4));
    let held: u64 = hub.agents.iter().map(|agent| agent.holds).sum();
    assert_eq!((held, hub.jobs[0].lent), (4, 4));
    let seen = hub.agents.iter().find(|agent| agent.node == confined.id()).expect("it said hello");
    assert_eq!((seen.live, &seen.ops, seen.holds), (true, &confined.ops, 0));
    assert!(hub.agents.iter().any(|agent| agent.node == gone.id() && !agent.live));
}

#[test]
fn who_is_expelled_is_counted_nowhere() {
    let mut bench = Bench::closed();
    let agent = Agent::new(10, 1);
    bench.admit(&agent);
    bench.hello(&[&agent]);
    let agents = |bench: &mut Bench| {
        let Reply::Status(status) = bench.answer(Request::Status) else { panic!("a status") };
        status.hub.expect("a hub member").agents.iter().filter(|agent| agent.live).count()
    };
    assert_eq!(agents(&mut bench), 1);
    bench.expel(&agent);
    assert_eq!(agents(&mut bench), 0);
    bench.pass(limits::SILENCE_MS + 1_000, &[&agent]);
    let job = bench.submit(&mix(4, r#"{"verify":"none"}"#));
    let told = reasons(&mut bench, job);
    assert_eq!((told.len(), told[0].0), (1, "no_agent"), "{told:?}");
}

#[test]
fn agents_that_take_nothing_are_counted() {
    let mut bench = Bench::new();
    let job = bench.submit(&mix(4, r#"{"verify":"none"}"#));
    assert_eq!(reasons(&mut bench, job)[0].0, "no_agent");
    let mut paused = Agent::new(10, 1);
    paused.accepts = 0;
    bench.hello(&[&paused]);
    let told = reasons(&mut bench, job);
    assert_eq!((told[0].0, told[1].0), ("no_agent", "unwilling"));
    assert!(told[1].1.starts_with("1 of 1 agents"));
    assert_eq!(
        bench.answer(Request::Pending(JobId(forgemesh_protocol::hash::Hash([7; 32])))),
        Reply::Pending(None)
    );
}

#[test]
fn a_hello_that_is_too_long_to_be_kept_was_not_said() {
    let mut bench = Bench::new();
    let agent = Agent::new(10, 1);
    let long = "x".repeat(limits::BACKEND_BYTES + 1);
    let (op, many) = (Op::new("mc", 1, &long), vec![Op::new("mc", 1, "reserve.v1"); limits::HELLO_OPS + 1]);
    let change: [&dyn Fn(&mut Hello); 4] = [
        &|hello| hello.backend = long.clone(),
        &|hello| hello.ops = vec![op.clone()],
        &|hello| hello.ops = vec![Op::new(&long, 1, "reserve.v1")],
        &|hello| hello.ops = many.clone(),
    ];
    let known = |bench: &mut Bench| match bench.answer(Request::Status) {
        Reply::Status(status) => status.hub.expect("a hub member").agents.len(),
        other => panic!("a status, not {other:?}"),
    };
    for change in change {
        let Message::Hello(mut hello) = agent.hello() else { panic!("a hello") };
        change(&mut hello);
        bench.from(&agent, Message::Hello(hello));
        assert_eq!((known(&mut bench), bench.told(&agent).len()), (0, 0));
    }
    let Message::Hello(mut hello) = agent.hello() else { panic!("a hello") };
    hello.backend = "x".repeat(limits::BACKEND_BYTES);
    hello.ops = vec![Op::new(&"x".repeat(limits::OP_NAME_BYTES), 1, "reserve.v1"); limits::HELLO_OPS];
    bench.from(&agent, Message::Hello(hello));
    assert_eq!(known(&mut bench), 1);
}
