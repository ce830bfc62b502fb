//! The beacon: one link for the batches logged before it, from the member whose turn it is, and only if it leads to the anchor.

use forgemesh_consensus::adjudicate::RevealRefused;
use forgemesh_consensus::command::Command;
use forgemesh_consensus::machine::{Event, Rejected};
use forgemesh_protocol::challenge::beacon_step;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::NodeId;

use super::bench::{Bench, mix};

fn parts(command: Command) -> (NodeId, Hash) {
    match command {
        Command::Reveal { member, value } => (member, value),
        other => panic!("a reveal, not {other:?}"),
    }
}

#[test]
fn a_wrong_link_is_refused() {
    let mut bench = Bench::new(1);
    let id = bench.submit(&mix("spotcheck"));
    bench.attest_all(&id);
    let (member, link) = parts(bench.reveal());
    for value in [Hash::ZERO, beacon_step(&link), beacon_step(&beacon_step(&link))] {
        let refused = bench.refuse(Command::Reveal { member, value });
        assert_eq!(refused, Rejected::Reveal(RevealRefused::WrongLink));
    }
    bench.accept(Command::Reveal { member, value: link });
    assert_eq!(bench.hub.state().beacons[&member].revealed, 1);
}

#[test]
fn members_take_turns() {
    let mut bench = Bench::new(3);
    let id = bench.submit(&mix("spotcheck"));
    for turn in 0..3usize {
        let attestation = bench.attestation(&id, vec![turn as u64]);
        bench.attest(attestation);
        let due = bench.members[turn].public().id();
        assert_eq!(bench.hub.beacon_member(), due);
        let (_, value) = parts(bench.reveal());
        let others = [bench.members[(turn + 1) % 3].public().id(), bench.agent.public().id()];
        for member in others {
            let refused = bench.refuse(Command::Reveal { member, value });
            assert_eq!(refused, Rejected::Reveal(RevealRefused::WrongMember(member)));
        }
        let event = bench.accept(Command::Reveal { member: due, value });
        assert_eq!(event, Event::Revealed { batches: 1 });
    }
    assert_eq!(bench.hub.beacon_member(), bench.leader(), "the first again");
}

#[test]
fn a_link_is_revealed_only_if_a_batch_waits_for_it() {
    let mut bench = Bench::new(1);
    let refused = |bench: &mut Bench| {
        let command = bench.reveal();
        assert_eq!(bench.refuse(command), Rejected::Reveal(RevealRefused::NotAwaited));
    };
    refused(&mut bench);
    let unverified = bench.submit(&mix("none"));
    bench.attest_all(&unverified);
    refused(&mut bench);
    let id = bench.submit(&mix("spotcheck"));
    bench.attest_all(&id);
    bench.accept(bench.reveal());
    assert!(bench.job(&unverified).batches[0].reveal.is_none(), "nothing is drawn where nothing is checked");
    refused(&mut bench);
}

#[test]
fn one_link_serves_every_batch_logged_before_it() {
    let mut bench = Bench::new(1);
    let (one, other) = (bench.submit(&mix("spotcheck")), bench.submit(&mix("full")));
    let attestation = bench.attestation(&one, vec![0]);
    bench.attest(attestation);
    bench.attest_all(&other);
    assert_eq!(bench.accept(bench.reveal()), Event::Revealed { batches: 2 });
    let attestation = bench.attestation(&one, vec![1]);
    bench.attest(attestation);
    let batches = &bench.job(&one).batches;
    let reveal = batches[0].reveal.as_ref().expect("revealed");
    assert_eq!(Some(reveal), bench.job(&other).batches[0].reveal.as_ref());
    assert!(
        batches[0].logged < reveal.logged && batches[1].reveal.is_none(),
        "a later batch waits for the next"
    );
    assert_eq!(bench.accept(bench.reveal()), Event::Revealed { batches: 1 });
    assert_eq!(bench.job(&one).batches[1].reveal.as_ref().expect("revealed").ordinal, 1);
}

#[test]
fn nothing_is_drawn_before_the_link_is_known() {
    let mut bench = Bench::new(1);
    let id = bench.submit(&mix("spotcheck"));
    bench.attest_all(&id);
    let ppm = bench.hub.genesis().parameters.spotcheck_ppm;
    let drawn = |bench: &Bench| bench.job(&id).challenged(&bench.job(&id).batches[0], ppm);
    assert!(drawn(&bench).is_empty());
    bench.accept(bench.reveal());
    let job = bench.job(&id);
    let leaves = |shard| {
        let range = job.run().stage.shard_leaves(shard);
        range.end - range.start
    };
    for shard in 0..3 {
        let of_shard = drawn(&bench).iter().filter(|leaf| leaf.shard == shard).count() as u64;
        assert_eq!(of_shard, (leaves(shard) * ppm).div_ceil(1_000_000), "one in sixteen of shard {shard}");
    }
}
