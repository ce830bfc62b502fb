//! What a provider's operator allows holds: nobody is lent what it does not take, and a job that waits counts whom each
//! cap keeps from it.

use forgemesh_node::core::{EnrolmentCommand, Reply, Request};
use forgemesh_protocol::canon::Bytes;
use forgemesh_protocol::enrolment::{Expulsion, Invitation, Join, secret_digest};
use forgemesh_protocol::envelope::BillingMode;
use forgemesh_protocol::id::JobId;
use forgemesh_protocol::keys::{SecretKey, Signed};
use forgemesh_protocol::limits;
use forgemesh_protocol::op::Op;
use forgemesh_protocol::organization::Organization;
use forgemesh_protocol::wire::Message;

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

/// Invites the client's node for this organization and has it admitted; returns its admission.
fn admit_client(bench: &mut Bench, secret: u8, name: &str) -> u64 {
    let (mesh, expires_ms) = (bench.genesis.mesh_id(), bench.now.wall_ms + 60_000);
    let organization = Some(name.parse().expect("an organization"));
    let invitation = Invitation { secret: secret_digest(&[secret; 32]), expires_ms, organization };
    let invitation = EnrolmentCommand::Invite(Signed::new(invitation, mesh, &bench.hub));
    assert_eq!(bench.answer(Request::Enrolment(Box::new(invitation))), Reply::Done);
    let join = Join { secret: Bytes(vec![secret; 32]), name: "client".to_owned(), expires_ms };
    let node = Agent::new(9, 1);
    assert_eq!(node.id(), client().public().id());
    bench.from(&node, Message::Join(Box::new(Signed::new(join, mesh, &client()))));
    let Reply::Members(members) = bench.answer(Request::Members) else { panic!("members") };
    members.nodes[&node.id()].index
}

fn why(bench: &mut Bench, job: JobId) -> String {
    let Reply::Pending(Some(reasons)) = bench.answer(Request::Pending(job)) else { panic!("reasons") };
    reasons.iter().find(|reason| reason.code == "private").expect("it is private").text.clone()
}

#[test]
fn a_private_node_works_for_the_nodes_of_its_organizations() {
    let acme: Organization = "acme".parse().expect("an organization");
    let for_acme = |agent: &mut Agent| {
        agent.clients = Some(Vec::new());
        agent.organizations = vec![acme.clone()];
    };
    holds(for_acme, &[], "private");
    let mut bench = Bench::new();
    let mut private = agent(10, 1, for_acme);
    bench.hello(&[&private]);
    let waiting = bench.submit(&job());
    assert_eq!(bench.deliver(&mut private), 0, "a client that belongs nowhere");
    let text = why(&mut bench, waiting);
    assert!(["no organization", "clients", "organizations"].iter().all(|word| text.contains(word)), "{text}");
    admit_client(&mut bench, 1, "other");
    bench.hello(&[&private]);
    assert_eq!(bench.deliver(&mut private), 0, "one of another");
    let text = why(&mut bench, waiting);
    assert!(
        text.contains("of other: name it under clients there, or other under organizations"),
        "both cures: {text}"
    );
    // Its newest invitation counts. The agent is told so under the leader's signature, with what the client has signed.
    let admitted = admit_client(&mut bench, 2, "acme");
    bench.hello(&[&private]);
    assert!(bench.deliver(&mut private) > 0, "one of acme");
    let offer = &private.leases[0];
    assert_eq!(offer.lease.body.organization.as_ref(), Some(&acme));
    assert_eq!(offer.lease.verify(bench.genesis.mesh_id()), Ok(()));
    assert_eq!(offer.lease.key, bench.hub.public());
    assert!(offer.submission.is_some());
    // Who knows the client by its key, or takes everybody's, is not told.
    bench.pass(limits::SILENCE_MS + 1_000, &[]);
    let mut by_key = agent(11, 1, |agent| {
        agent.clients = Some(vec![client().public().id()]);
        agent.organizations = vec![acme.clone()];
    });
    let mut open = Agent::new(12, 1);
    bench.hello(&[&by_key]);
    assert!(bench.deliver(&mut by_key) > 0, "a client's job");
    bench.hello(&[&open]);
    bench.submit(&job());
    assert!(bench.deliver(&mut open) > 0, "everybody's");
    assert!(by_key.leases.iter().chain(&open.leases).all(|offer| offer.lease.body.organization.is_none()));
    // Expelled, the client belongs nowhere: nothing more of its is lent by that.
    let node = client().public().id();
    let expulsion = Signed::new(Expulsion { node, admitted }, bench.genesis.mesh_id(), &bench.hub);
    let request = Request::Enrolment(Box::new(EnrolmentCommand::Expel(expulsion)));
    assert_eq!(bench.answer(request), Reply::Done);
    let mut late = agent(13, 4, for_acme);
    bench.pass(limits::SILENCE_MS + 1_000, &[&late]);
    assert_eq!(bench.deliver(&mut late), 0, "one that was expelled");
    assert!(why(&mut bench, waiting).contains("no organization"));
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
