//! The beacon: one link for each batch, from the member whose turn it is, and only if it leads to the anchor.

use forgemesh_consensus::adjudicate::RevealRefused;
use forgemesh_consensus::command::Command;
use forgemesh_consensus::machine::{Event, Rejected};
use forgemesh_protocol::challenge::beacon_step;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::JobId;

use super::bench::{Bench, mix};

fn parts(command: Command) -> (JobId, Hash, forgemesh_protocol::id::NodeId, Hash) {
    match command {
        Command::Reveal { job, attestation, member, value } => (job, attestation, member, value),
        other => panic!("a reveal, not {other:?}"),
    }
}

#[test]
fn a_wrong_link_is_refused() {
    let mut bench = Bench::new(1);
    let id = bench.submit(&mix("spotcheck"));
    let digest = bench.attest_all(&id);
    let (job, attestation, member, link) = parts(bench.reveal(&id, digest));
    for value in [Hash::ZERO, beacon_step(&link), beacon_step(&beacon_step(&link))] {
        let refused = bench.refuse(Command::Reveal { job, attestation, member, value });
        assert_eq!(refused, Rejected::Reveal(RevealRefused::WrongLink));
    }
    bench.accept(Command::Reveal { job, attestation, member, value: link });
    assert_eq!(bench.hub.state().beacons[&member].revealed, 1);
}

#[test]
fn members_take_turns() {
    let mut bench = Bench::new(3);
    let id = bench.submit(&mix("spotcheck"));
    for turn in 0..3usize {
        let attestation = bench.attestation(&id, vec![turn as u64]);
        let (_, digest) = bench.attest(attestation);
        let due = bench.members[turn].public().id();
        assert_eq!(bench.hub.beacon_member(), due);
        let (job, attestation, _, value) = parts(bench.reveal(&id, digest));
        let others = [bench.members[(turn + 1) % 3].public().id(), bench.agent.public().id()];
        for member in others {
            let refused = bench.refuse(Command::Reveal { job, attestation, member, value });
            assert_eq!(refused, Rejected::Reveal(RevealRefused::WrongMember(member)));
        }
        let event = bench.accept(Command::Reveal { job, attestation, member: due, value });
        assert_eq!(event, Event::Revealed { job });
    }
    assert_eq!(bench.hub.beacon_member(), bench.leader(), "the first again");
}

#[test]
fn a_link_is_for_a_batch_that_waits_for_it() {
    let mut bench = Bench::new(1);
    let unverified = bench.submit(&mix("none"));
    let digest_unverified = bench.attest_all(&unverified);
    let id = bench.submit(&mix("spotcheck"));
    let digest = bench.attest_all(&id);
    let (_, _, member, value) = parts(bench.reveal(&id, digest));
    let nowhere = JobId(Hash::ZERO);
    for (job, attestation) in
        [(unverified, digest_unverified), (id, digest_unverified), (nowhere, digest), (id, Hash::ZERO)]
    {
        let refused = bench.refuse(Command::Reveal { job, attestation, member, value });
        assert_eq!(refused, Rejected::Reveal(RevealRefused::NotAwaited));
    }
    bench.accept(Command::Reveal { job: id, attestation: digest, member, value });
    let again = bench.reveal(&id, digest);
    assert_eq!(bench.refuse(again), Rejected::Reveal(RevealRefused::NotAwaited), "a batch has one link");
}

#[test]
fn nothing_is_drawn_before_the_link_is_known() {
    let mut bench = Bench::new(1);
    let id = bench.submit(&mix("spotcheck"));
    let digest = bench.attest_all(&id);
    let ppm = bench.hub.genesis().parameters.spotcheck_ppm;
    let drawn = |bench: &Bench| bench.job(&id).challenged(&bench.job(&id).batches[0], ppm);
    assert!(drawn(&bench).is_empty());
    bench.accept(bench.reveal(&id, digest));
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
