//! Small batches come to every member with all that they claim, so that nobody asks for it; who missed that asks.

use forgemesh_node::core::{Reply, Request};
use forgemesh_protocol::canon::Bytes;
use forgemesh_protocol::id::JobId;
use forgemesh_protocol::limits;
use forgemesh_protocol::wire::Message;

use super::bench::Bench;
use super::evidence;

pub const NOOP: &str = r#"{"op":{"name":"diag","version":1,"profile":"noop.v1"},"args":{"shards":40}}"#;

/// How often a node has asked for blobs.
fn fetches(bench: &Bench, node: usize) -> usize {
    let of = |(from, _, message): &&(usize, usize, Message)| {
        *from == node && matches!(message, Message::Fetch { .. })
    };
    bench.sent.iter().filter(of).count()
}

/// All three members have the job in their books, and on their disks what its batches claim.
fn has_all(bench: &Bench, job: &JobId) {
    for member in 0..3 {
        assert!(evidence::has_all(bench, member, &evidence::evidence(bench, member, job)), "member {member}");
    }
}

#[test]
fn small_batches_are_fetched_by_nobody() {
    let mut bench = Bench::new(3, 1, 2);
    bench.elect(0);
    let job = bench.submit(0, NOOP);
    bench.run(60_000, |bench| (0..3).all(|member| bench.finished(member, &job).is_some()));
    has_all(&bench, &job);
    assert!((0..5).all(|node| fetches(&bench, node) == 0));
    assert!(!bench.sent.iter().any(|(_, _, message)| matches!(message, Message::Attest(_))));
}

/// An agent keeps what it has vouched for until the job is in its books; the members keep what their receipts stand on.
#[test]
fn an_agent_lets_go_what_it_has_vouched_for() {
    let mut bench = Bench::new(3, 0, 2);
    bench.elect(0);
    let blobs =
        |bench: &Bench, node: usize| bench.nodes[node].storage.blobs(None, 1_000).expect("a disk").len();
    let jobs = [bench.submit(0, NOOP), bench.submit(0, NOOP)];
    let are_final = |bench: &Bench, node: usize| jobs.iter().all(|job| bench.finished(node, job).is_some());
    bench.run(60_000, |bench| (0..5).all(|node| are_final(bench, node)));
    assert!(blobs(&bench, 3) > 0 && blobs(&bench, 4) > 0, "both have executed something");
    bench.run(2 * limits::SCRUB_MS, |bench| blobs(bench, 3) + blobs(bench, 4) == 0);
    assert_eq!((blobs(&bench, 3), blobs(&bench, 4)), (0, 0));
    jobs.iter().for_each(|job| has_all(&bench, job));
    // It works on as before, and what it is executing stays.
    let job = bench.submit(0, NOOP);
    bench.run(60_000, |bench| (0..5).all(|node| bench.finished(node, &job).is_some()));
    has_all(&bench, &job);
}

/// A member may lose its seat: there is no record then by which it would let go what receipts stand on.
#[test]
fn a_member_keeps_what_it_has_vouched_for() {
    let mut bench = Bench::new(3, 1, 1);
    bench.elect(0);
    let job = bench.submit(0, NOOP);
    bench.run(60_000, |bench| (0..4).all(|node| bench.finished(node, &job).is_some()));
    let storage = |node: usize| &bench.nodes[node].storage;
    let links = |node| storage(node).kv_list("forgemesh link", None, 100).expect("a disk").len();
    let outbox = |node| storage(node).outbox(0, 100).expect("a disk").len();
    assert!((0..4).all(|node| outbox(node) > 0), "all have executed something");
    assert_eq!([0, 1, 2].map(links), [0; 3]);
    assert!(links(3) > 0, "an agent notes it");
}

#[test]
fn who_has_missed_a_delivery_fetches_it() {
    let mut bench = Bench::new(3, 0, 1);
    bench.elect(0);
    bench.cut = vec![(3, 2)];
    let job = bench.submit(0, NOOP);
    bench.run(60_000, |bench| (0..3).all(|member| bench.finished(member, &job).is_some()));
    has_all(&bench, &job);
    assert!(fetches(&bench, 2) > 0 && fetches(&bench, 0) + fetches(&bench, 1) == 0);
}

/// Their addresses are others than those claimed: nothing of such a delivery is used.
#[test]
fn what_does_not_fit_its_claims_is_fetched() {
    let mut bench = Bench::new(3, 0, 1);
    bench.elect(0);
    bench.cut = vec![(3, 2)];
    let job = bench.submit(0, NOOP);
    let agent = bench.id(3);
    bench.run(60_000, |bench| (0..3).all(|member| bench.finished(member, &job).is_some()));
    let mut deliveries = Vec::new();
    for (from, to, message) in &bench.sent {
        if let ((3, 2), Message::Deliver(delivery)) = ((*from, *to), message) {
            deliveries.push(delivery.clone());
        }
    }
    assert!(!deliveries.is_empty());
    // The same again, in another mesh of the same nodes, where the second member gets nothing but forgeries.
    let mut bench = Bench::new(3, 0, 1);
    bench.elect(0);
    bench.cut = vec![(3, 2)];
    let again = bench.submit(0, NOOP);
    assert_eq!(again, job, "the same nonce");
    for mut delivery in deliveries {
        delivery.blobs[0] = Bytes(b"something else".to_vec());
        bench.hand(
            2,
            forgemesh_node::core::Input::Message { from: agent, message: Message::Deliver(delivery) },
        );
    }
    bench.run(60_000, |bench| (0..3).all(|member| bench.finished(member, &job).is_some()));
    has_all(&bench, &job);
    assert!(fetches(&bench, 2) > 0);
}

/// What nobody has signed, or has no batch's form, takes no memory.
#[test]
fn only_what_an_agent_has_signed_is_kept() {
    let mut bench = Bench::new(3, 0, 1);
    bench.elect(0);
    let job = bench.submit(0, NOOP);
    bench.run(60_000, |bench| bench.finished(0, &job).is_some());
    let delivery = bench.sent.iter().find_map(|(_, to, message)| match (to, message) {
        (2, Message::Deliver(delivery)) => Some((**delivery).clone()),
        _ => None,
    });
    let good = delivery.expect("delivered");
    let mut unsigned = good.clone();
    unsigned.attested.attestation.body.paths += 1;
    let mut padded = good.clone();
    padded.blobs.extend(vec![Bytes::default(); 100_000]);
    let mut far = good.clone();
    far.attested.attestation.body.seq += 1_000;
    for (delivery, kept) in [(unsigned, 0), (padded, 0), (far, 0), (good, 1)] {
        let mut bench = Bench::new(3, 0, 1);
        bench.elect(0);
        let message = Message::Deliver(Box::new(delivery));
        bench.hand(2, forgemesh_node::core::Input::Message { from: bench.id(3), message });
        bench.ask(2, Request::Queues);
        bench.run(1_000, |bench| !bench.nodes[2].replies.is_empty());
        let [Reply::Queues(queues)] = &bench.nodes[2].replies[..] else { panic!("queues") };
        let queue = queues.iter().find(|queue| queue.name == "hub: batches delivered").expect("a queue");
        assert_eq!(queue.length, kept);
    }
}
