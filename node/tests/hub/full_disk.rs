//! A leader whose disk is nearly full takes no new jobs, from nobody; what it has taken it finishes, it goes on answering,
//! and it takes jobs again once there is room.

use forgemesh_node::core::{Input, Reply, Request};
use forgemesh_protocol::state::State;
use forgemesh_protocol::wire::Message;

use super::bench::{Agent, Bench, mix};

/// One shard that is not checked.
fn job() -> String {
    mix(1, r#"{"verify":"none"}"#)
}

#[test]
fn a_full_disk_refuses_new_jobs_and_nothing_else() {
    let mut bench = Bench::new();
    let mut agent = Agent::new(10, 1);
    bench.hello(&[&agent]);
    let taken = bench.submit(&job());
    bench.hand(Input::DiskLow(true));
    bench.ask(&job());
    assert!(matches!(bench.replies.pop(), Some(Reply::DiskLow)));
    // Reads are answered.
    let Reply::Open(Some(record)) = bench.answer(Request::Open(taken)) else { panic!("an open job") };
    assert_eq!(record.id, taken);
    let Reply::Status(status) = bench.answer(Request::Status) else { panic!("a status") };
    assert!(status.hub.is_some_and(|hub| hub.disk_low), "it says so");
    assert!(matches!(bench.answer(Request::Current), Reply::Current));
    assert!(matches!(bench.answer(Request::Pending(taken)), Reply::Pending(Some(_))));
    // What was taken goes on.
    let offer = bench.leases(&agent).pop().expect("a lease");
    bench.attest(&mut agent, &offer, &[0]);
    assert_eq!(bench.job(&taken).map(|job| job.state), Some(State::Aggregating));
    bench.hand(Input::DiskLow(false));
    bench.submit(&job());
}

#[test]
fn another_nodes_client_is_told_to_try_again() {
    let mut bench = Bench::new();
    let agent = Agent::new(10, 1);
    bench.hello(&[&agent]);
    let submission = bench.signed(&job());
    bench.hand(Input::DiskLow(true));
    bench.from(&agent, Message::Submit(submission.clone()));
    let told = bench.told(&agent);
    let [Message::Answered { refused: Some(reason), .. }] = &told[..] else { panic!("{told:?}") };
    assert!(reason.contains("nearly full; try again later"), "{reason}");
    assert!(bench.log.is_empty(), "nothing enters the log");
    bench.hand(Input::DiskLow(false));
    bench.from(&agent, Message::Submit(submission));
    let told = bench.told(&agent);
    assert!(matches!(told[..], [Message::Answered { refused: None, .. }]), "{told:?}");
}
