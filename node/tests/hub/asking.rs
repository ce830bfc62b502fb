//! Slow lines: what is on its way is not asked for again and again, which would make them slower.

use forgemesh_protocol::canon::Bytes;
use forgemesh_protocol::keys::Signable;
use forgemesh_protocol::limits;
use forgemesh_protocol::wire::Message;

use super::bench::{Agent, Bench, mix};

/// How many blobs the hub has asked an agent for since the last look, each as often as it was named.
fn asked(bench: &mut Bench, agent: &Agent) -> usize {
    let count = |message: &Message| match message {
        Message::Fetch { blobs } => blobs.len(),
        _ => 0,
    };
    bench.told(agent).iter().map(count).sum()
}

/// A hub that has heard of a batch of forty shards, and has none of its blobs.
fn attested() -> (Bench, Agent, Vec<Vec<u8>>) {
    let mut bench = Bench::new();
    let mut agent = Agent::new(10, 1);
    bench.hello(&[&agent]);
    bench.submit(&mix(40, r#"{"verify":"none"}"#));
    bench.deliver(&mut agent);
    let offer = agent.leases[0].clone();
    let held: Vec<u64> = agent.holds.values().flatten().copied().collect();
    let (message, blobs) = agent.attest(&bench, &offer, &held);
    bench.from(&agent, message);
    (bench, agent, blobs)
}

#[test]
fn who_does_not_answer_is_asked_ever_more_rarely() {
    let (mut bench, agent, blobs) = attested();
    assert_eq!(asked(&mut bench, &agent), blobs.len(), "at once");
    bench.pass(16_000, &[&agent]);
    // After 1, 3, 7 and 15 seconds.
    assert_eq!(asked(&mut bench, &agent), 4 * blobs.len());
    bench.pass(16_000, &[&agent]);
    assert_eq!(asked(&mut bench, &agent), 2 * blobs.len(), "and every eight seconds, for it may be back");
}

#[test]
fn what_comes_slowly_is_asked_for_once() {
    let (mut bench, agent, blobs) = attested();
    assert_eq!(asked(&mut bench, &agent), blobs.len());
    for bytes in &blobs {
        bench.pass(900, &[&agent]);
        bench.from(&agent, Message::Blob { bytes: Bytes(bytes.clone()) });
    }
    assert_eq!(asked(&mut bench, &agent), 0);
}

#[test]
fn who_opens_slowly_is_waited_for_and_not_for_ever() {
    let mut bench = Bench::new();
    let mut agent = Agent::new(10, 1);
    bench.hello(&[&agent]);
    let id = bench.submit(&mix(4, r#"{"verify":"spotcheck"}"#));
    bench.deliver(&mut agent);
    let offer = agent.leases[0].clone();
    bench.attest(&mut agent, &offer, &[0, 1, 2, 3]);
    let mut asks = 0;
    let mut seconds = 0;
    while bench.job(&id).expect("open").set_aside.is_empty() {
        for message in bench.told(&agent) {
            if let Message::Open(challenge) = message {
                asks += 1;
                let attestation = challenge.attestation.body.digest();
                bench.from(&agent, Message::Opening { attestation });
            }
        }
        bench.pass(1_000, &[&agent]);
        seconds += 1;
    }
    assert_eq!(seconds * 1_000, limits::OPEN_MOST_MS);
    assert!(asks <= seconds / 10 + 1, "{asks} questions: they would stand in each other's way");
}
