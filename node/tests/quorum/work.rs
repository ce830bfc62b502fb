//! A job among several members: everybody reduces, a majority of equal votes decides, and everybody has the same books.

use forgemesh_consensus::command::Command;
use forgemesh_node::core::{Reply, Request};
use forgemesh_protocol::keys::Signable;
use forgemesh_protocol::state::State;
use forgemesh_protocol::wire::Message;
use forgemesh_storage::Batch;

use super::bench::Bench;

pub const INSURANCE: &str =
    r#"{"op":{"name":"mc","version":1,"profile":"insurance.v1"},"args":{"iterations":200000}}"#;

fn digest(
    bench: &Bench,
    member: usize,
    job: &forgemesh_protocol::id::JobId,
) -> forgemesh_protocol::hash::Hash {
    let file = bench.finished(member, job).expect("in the books");
    file.finished.result.expect("a result").result_hash
}

/// The digest of the same job in a mesh of one.
fn alone() -> forgemesh_protocol::hash::Hash {
    let mut bench = Bench::new(1, 2, 0);
    bench.elect(0);
    let job = bench.submit(0, INSURANCE);
    bench.run(60_000, |bench| bench.finished(0, &job).is_some());
    digest(&bench, 0, &job)
}

#[test]
fn three_members_and_two_agents_come_to_what_one_comes_to() {
    let mut bench = Bench::new(3, 0, 2);
    bench.elect(0);
    let job = bench.submit(0, INSURANCE);
    bench.run(60_000, |bench| (0..3).all(|member| bench.finished(member, &job).is_some()));
    let expected = alone();
    assert!((0..3).all(|member| digest(&bench, member, &job) == expected));
    // All three have the same entry, whoever signed the receipt.
    let entries: Vec<_> =
        (0..3).map(|member| bench.finished(member, &job).expect("books").finished.entry).collect();
    assert!(entries.iter().all(|entry| *entry == entries[0]));
    // Each has the signatures of a majority under it before long, and the agents have the same books.
    bench.run(10_000, |bench| {
        let signatures = |node| bench.finished(node, &job).map_or(0, |file| file.receipt.signatures.len());
        (0..5).all(|node| signatures(node) >= 2)
    });
    assert_eq!(digest(&bench, 4, &job), expected);
    let votes = bench.finished(0, &job).expect("books").finished.record.votes;
    assert!(votes.len() >= 2, "a majority voted on every stage");
    // Those that do not lead fetched what they reduced.
    let fetched = |member: usize| {
        bench
            .sent
            .iter()
            .any(|(from, _, message)| *from == member && matches!(message, Message::Fetch { .. }))
    };
    assert!(fetched(1) && fetched(2));
}

#[test]
fn a_job_enters_through_any_node() {
    for through in [1, 3] {
        let mut bench = Bench::new(3, 1, 1);
        bench.elect(0);
        // Agents hear who leads with the answer to their first hello.
        bench.run(5_000, |bench| {
            bench.sent.iter().any(|(_, to, m)| *to == 3 && matches!(m, Message::Led { .. }))
        });
        let job = bench.submit(through, INSURANCE);
        bench.run(60_000, |bench| !bench.nodes[through].replies.is_empty());
        assert_eq!(bench.nodes[through].replies, [Reply::Accepted(job)]);
        assert_eq!(bench.logged(|command| matches!(command, Command::Submit { .. })), 1);
        bench.run(60_000, |bench| bench.finished(0, &job).is_some());
    }
}

#[test]
fn nobody_checks_its_own_work_while_there_is_another() {
    let mut by_leader = 0;
    for leader in 0..3 {
        let mut bench = Bench::new(3, 1, 0);
        bench.elect(leader);
        let job = bench.submit(leader, INSURANCE);
        bench.run(60_000, |bench| bench.finished(leader, &job).is_some());
        for batch in &bench.finished(leader, &job).expect("books").finished.record.batches {
            let (agent, verdict) = (batch.attestation.body.agent, batch.verdict.as_ref().expect("checked"));
            assert_ne!(verdict.body.checker, agent);
            by_leader += u32::from(agent == bench.id(leader));
        }
    }
    assert!(by_leader > 0, "a leader executed something too");
}

/// Its record is written with what the others have signed before it, and stays whole.
#[test]
fn a_member_that_hears_last_of_the_end_has_a_whole_receipt_too() {
    let mut bench = Bench::new(3, 0, 1);
    bench.late = Some(2);
    bench.elect(0);
    let job = bench.submit(0, INSURANCE);
    bench.run(60_000, |bench| bench.finished(2, &job).is_some());
    let end_ms = bench.now_ms + 5_000;
    bench.run(10_000, |bench| bench.now_ms >= end_ms);
    for member in 0..3 {
        let signatures = bench.finished(member, &job).expect("books").receipt.signatures.len();
        assert!(signatures >= 2, "member {member} has {signatures}");
    }
}

#[test]
fn a_member_that_lacks_blobs_does_not_want_them_for_ever() {
    let mut bench = Bench::new(3, 0, 1);
    bench.elect(0);
    bench.cut = vec![(0, 2), (1, 2), (3, 2)];
    let job = bench.submit(0, INSURANCE);
    bench.run(60_000, |bench| bench.finished(2, &job).is_some());
    assert!(
        bench.sent.iter().any(|(from, _, message)| *from == 2 && matches!(message, Message::Fetch { .. }))
    );
    bench.ask(2, Request::Queues);
    bench.run(1_000, |bench| !bench.nodes[2].replies.is_empty());
    let [Reply::Queues(queues)] = &bench.nodes[2].replies[..] else { panic!("{:?}", bench.nodes[2].replies) };
    assert!(queues.iter().all(|queue| queue.length <= queue.bound), "{queues:?}");
}

/// The leader lacks what a batch claims and asks around; before everybody has said no, the batch is set aside.
#[test]
fn a_batch_that_is_set_aside_meanwhile_is_no_lost_evidence() {
    let mut bench = Bench::new(3, 0, 1);
    bench.elect(0);
    let unchecked = INSURANCE.replace("}}", r#"},"policy":{"verify":"none"}}"#);
    let job = bench.submit(0, &unchecked);
    let attested = |bench: &Bench| {
        bench.log.iter().find_map(|entry| match &entry.command {
            Command::Attest { attestation } => Some(attestation.body.clone()),
            _ => None,
        })
    };
    bench.run(60_000, |bench| attested(bench).is_some());
    let batch = attested(&bench).expect("attested");
    bench.cut = vec![(1, 0), (2, 0), (3, 0)];
    let claims = bench.nodes[0].storage.blob(&batch.members).expect("a disk").expect("claims");
    let mut gone = Batch::new();
    for claim in forgemesh_protocol::attestation::decode_claims(&claims).expect("claims") {
        gone.delete_blob(claim.blob);
    }
    bench.nodes[0].storage.commit(&gone).expect("a disk");
    let asks = |bench: &Bench| {
        let fetch = |message: &Message| matches!(message, Message::Fetch { .. });
        bench.sent.iter().filter(|(from, _, message)| *from == 0 && fetch(message)).count()
    };
    let before = asks(&bench);
    bench.run(60_000, |bench| asks(bench) > before);
    bench.commit(Command::Discard { job, attestation: batch.digest() });
    let end_ms = bench.now_ms + 30_000;
    bench.run(60_000, |bench| bench.now_ms >= end_ms);
    bench.cut.clear();
    bench.run(60_000, |bench| bench.finished(0, &job).is_some());
    let record = bench.finished(0, &job).expect("books").finished.record;
    assert_eq!((record.state, record.set_aside.len()), (State::Finalized, 1));
}
