//! What a provider's operator allows holds: nobody is lent what it does not take, and a job that waits counts whom each
//! cap keeps from it.

use forgemesh_node::core::{Reply, Request};
use forgemesh_protocol::envelope::BillingMode;
use forgemesh_protocol::id::JobId;
use forgemesh_protocol::keys::SecretKey;
use forgemesh_protocol::limits;
use forgemesh_protocol::op::Op;

use super::bench::{Agent, Bench, client, mix};

/// A job that is not checked.
fn job() -> String {
    mix(40, r#"{"verify":"none"}"#)
}

fn agent(key: u8, capacity: u64, cap: impl FnOnce(&mut Agent)) -> Agent {
    let mut agent = Agent::new(key, capacity);
    cap(&mut agent);
    agent
}

/// What an open job waits for: the words, and how many agents each speaks of.
fn waits(bench: &mut Bench, job: JobId) -> Vec<(&'static str, String)> {
    let Reply::Pending(Some(reasons)) = bench.answer(Request::Pending(job)) else { panic!("reasons") };
    let count = |text: &str| text.split(" agents").next().unwrap_or_default().to_owned();
    reasons.iter().skip(1).map(|reason| (reason.code, count(&reason.text))).collect()
}

/// A mesh in which the capped agent gets nothing of a job while it is alone, and nothing beside one that may, not even when
/// the other falls silent or it has nothing to do itself.
fn holds(cap: impl Fn(&mut Agent), regions: &[&str], code: &'static str) {
    let mut bench = Bench::new();
    let (mut capped, mut free) = (Agent::new(10, 4), Agent::new(11, 1));
    free.region = Some("eu-west".parse().expect("a region"));
    cap(&mut capped);
    bench.hello(&[&capped]);
    let job = bench.submit_in(regions, &job());
    bench.pass(limits::SILENCE_MS, &[&capped]);
    assert_eq!((bench.deliver(&mut capped), waits(&mut bench, job)), (0, vec![(code, "1 of 1".to_owned())]));
    bench.pass(1_000, &[&capped, &free]);
    assert!(bench.deliver(&mut free) > 0, "{code}: who may, works");
    bench.pass(limits::STRAGGLE_MS + 5_000, &[&capped, &free]);
    assert_eq!(bench.deliver(&mut capped), 0, "{code}: neither stolen nor a spare");
    bench.pass(limits::SILENCE_MS + 1_000, &[&capped]);
    assert_eq!(bench.deliver(&mut capped), 0, "{code}: not for want of others");
    assert_eq!(waits(&mut bench, job), [("silent", "1 of 2".to_owned()), (code, "1 of 2".to_owned())]);
    // Allowed, it works.
    let open = agent(10, 4, |agent| agent.region = free.region.clone());
    bench.hello(&[&open]);
    assert!(bench.deliver(&mut capped) > 0, "{code}: allowed");
}

#[test]
fn the_operations_hold() {
    holds(|agent| agent.ops = vec![Op::new("mc", 1, "reserve.v1")], &[], "profile");
}

#[test]
fn a_pause_and_a_machine_in_use_hold() {
    holds(|agent| agent.accepts = 0, &[], "unwilling");
}

#[test]
fn the_billing_mode_holds() {
    holds(|agent| agent.billing = vec![BillingMode::Test], &[], "billing");
    let mut bench = Bench::new();
    let mut agent = agent(10, 1, |agent| agent.billing = vec![BillingMode::Test]);
    bench.hello(&[&agent]);
    let envelope = job().replacen('{', r#"{"ctx":{"billing":{"mode":"test"}},"#, 1);
    bench.submit(&envelope);
    assert!(bench.deliver(&mut agent) > 0, "a test job");
}

#[test]
fn a_private_node_works_for_its_clients_alone() {
    let stranger = SecretKey::from_bytes(&[77; 32]).public().id();
    holds(|agent| agent.clients = Some(vec![stranger]), &[], "private");
    holds(|agent| agent.clients = Some(Vec::new()), &[], "private");
    let mut bench = Bench::new();
    let mut agent = agent(10, 1, |agent| agent.clients = Some(vec![stranger, client().public().id()]));
    bench.hello(&[&agent]);
    bench.submit(&job());
    assert!(bench.deliver(&mut agent) > 0, "a client's job");
    // It can see for itself whose job it is; who takes everybody's is not told.
    let lease = agent.leases[0].clone();
    let submission = lease.submission.expect("what the client has signed");
    assert_eq!(submission.job_id(bench.genesis.mesh_id()), lease.lease.body.job);
    let mut open = Agent::new(11, 1);
    bench.hello(&[&open]);
    bench.submit(&job());
    assert!(bench.deliver(&mut open) > 0 && open.leases.iter().all(|offer| offer.submission.is_none()));
}

#[test]
fn a_region_that_is_asked_for_holds() {
    holds(|agent| agent.region = None, &["eu-west"], "region");
    holds(
        |agent| agent.region = Some("us-east".parse().expect("a region")),
        &["eu-north", "eu-west"],
        "region",
    );
}

#[test]
fn who_fails_several_constraints_is_counted_at_each() {
    let mut bench = Bench::new();
    let capped = |agent: &mut Agent| {
        agent.ops = vec![Op::new("mc", 1, "reserve.v1")];
        agent.billing = vec![BillingMode::Test];
        agent.clients = Some(Vec::new());
        agent.accepts = 0;
    };
    let (one, mut other) = (agent(10, 1, capped), agent(11, 1, capped));
    other.region = Some("eu-west".parse().expect("a region"));
    bench.hello(&[&one, &other]);
    let job = bench.submit_in(&["eu-west"], &job());
    let told = waits(&mut bench, job);
    let both = |code: &'static str| (code, "2 of 2".to_owned());
    let region = ("region", "1 of 2".to_owned());
    assert_eq!(told, [both("profile"), region, both("private"), both("billing"), both("unwilling")]);
}

#[test]
fn a_job_that_waits_for_room_says_how_full_its_agents_are() {
    let mut bench = Bench::new();
    let agent = Agent::new(10, 1);
    bench.hello(&[&agent]);
    let jobs = [bench.submit(&mix(2_000, r#"{"verify":"none"}"#)), bench.submit(&job())];
    let Reply::Pending(Some(reasons)) = bench.answer(Request::Pending(jobs[0])) else { panic!("reasons") };
    let busy = reasons.iter().find(|reason| reason.code == "busy").expect("most of it waits");
    assert!(busy.text.contains("one of 1 agents") && busy.text.contains("of 2 open jobs"), "{}", busy.text);
    assert!(!busy.text.contains("hold 0 shards"), "{}", busy.text);
}
