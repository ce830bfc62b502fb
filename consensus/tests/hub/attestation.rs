//! Links of an agent's chain: what is refused, and which shards of a link count.

use forgemesh_consensus::adjudicate::AttestationRefused;
use forgemesh_consensus::machine::Rejected;
use forgemesh_protocol::attestation::Attestation;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::{JobId, MeshId};
use forgemesh_protocol::keys::{KeyError, SecretKey, Signable, Signed};
use forgemesh_protocol::lease::Lease;
use forgemesh_protocol::limits;
use forgemesh_protocol::state::State;

use super::bench::{Bench, mix, reserve};

fn refusal(bench: &mut Bench, attestation: Attestation) -> AttestationRefused {
    let command = bench.sign(attestation);
    match bench.refuse(command) {
        Rejected::Attestation(refused) => refused,
        other => panic!("a refused attestation, not {other:?}"),
    }
}

fn bench_with_job() -> (Bench, JobId) {
    let mut bench = Bench::new(1);
    let id = bench.submit(&mix("spotcheck"));
    (bench, id)
}

#[test]
fn a_replayed_attestation_is_refused_as_such() {
    let (mut bench, id) = bench_with_job();
    let first = bench.attestation(&id, vec![0]);
    bench.attest(first.clone());
    assert_eq!(refusal(&mut bench, first.clone()), AttestationRefused::Replayed { seq: 1 });
    let second = bench.attestation(&id, vec![1]);
    bench.attest(second);
    assert_eq!(refusal(&mut bench, first.clone()), AttestationRefused::Replayed { seq: 1 });
    assert_eq!(refusal(&mut bench, Attestation { seq: 0, ..first }), AttestationRefused::Replayed { seq: 0 });
}

#[test]
fn a_gap_in_the_chain_is_refused_and_closes_when_the_missing_link_comes() {
    let (mut bench, id) = bench_with_job();
    let first = bench.attestation(&id, vec![0]);
    let second = Attestation { seq: 2, prev: first.digest(), ..bench.attestation(&id, vec![1]) };
    let third = Attestation { seq: 3, prev: second.digest(), ..bench.attestation(&id, vec![2]) };
    let gap = |found| AttestationRefused::ChainGap { expected: 1, found };
    assert_eq!(refusal(&mut bench, second.clone()), gap(2));
    assert_eq!(refusal(&mut bench, third.clone()), gap(3));
    for link in [first, second, third] {
        assert_eq!(bench.attest(link).0, 1);
    }
    assert_eq!(bench.job(&id).state, State::Verifying);
}

#[test]
fn a_fork_of_the_chain_is_refused() {
    let (mut bench, id) = bench_with_job();
    let first = bench.attestation(&id, vec![0]);
    let fork = Attestation { prev: Hash([5; 32]), ..first.clone() };
    assert_eq!(refusal(&mut bench, fork), AttestationRefused::ChainFork { seq: 1 });
    bench.attest(first);
    let second = bench.attestation(&id, vec![1]);
    let fork = Attestation { prev: Hash::ZERO, ..second.clone() };
    assert_eq!(refusal(&mut bench, fork), AttestationRefused::ChainFork { seq: 2 });
    bench.attest(second);
}

#[test]
fn only_the_agent_itself_attests() {
    let (mut bench, id) = bench_with_job();
    let attestation = bench.attestation(&id, vec![0]);
    let stranger = SecretKey::from_bytes(&[0xcc; 32]);
    let signed = Signed::new(attestation.clone(), bench.hub.mesh(), &stranger);
    let named = bench.agent.public().id();
    let refused = bench.refuse(forgemesh_consensus::command::Command::Attest { attestation: signed });
    let expected = AttestationRefused::NotItsOwn { named, signer: stranger.public().id() };
    assert_eq!(refused, Rejected::Attestation(expected));

    let elsewhere = Signed::new(attestation.clone(), MeshId(Hash::ZERO), &bench.agent);
    let own = Signed::new(attestation.clone(), bench.hub.mesh(), &bench.agent);
    let changed = Signed { body: Attestation { paths: 2, ..attestation }, ..own };
    for attestation in [elsewhere, changed] {
        let refused = bench.refuse(forgemesh_consensus::command::Command::Attest { attestation });
        let expected = AttestationRefused::Signature(KeyError::BadSignature);
        assert_eq!(refused, Rejected::Attestation(expected));
    }
}

#[test]
fn lists_are_bounded_and_shards_ascend() {
    let (mut bench, id) = bench_with_job();
    let good = bench.attestation(&id, vec![0]);
    let shards = [vec![], vec![1, 0], vec![1, 1], (0..=limits::BATCH_SHARDS as u64).collect()];
    for shards in shards {
        let bad = Attestation { shards: shards.into(), ..good.clone() };
        assert_eq!(refusal(&mut bench, bad), AttestationRefused::ShardList);
    }
    for leases in [Vec::new(), vec![good.leases[0].clone(); limits::BATCH_LEASES + 1]] {
        let bad = Attestation { leases, ..good.clone() };
        assert_eq!(refusal(&mut bench, bad), AttestationRefused::LeaseList);
    }
    let bad = Attestation { backend: "x".repeat(65), ..good };
    assert_eq!(refusal(&mut bench, bad), AttestationRefused::Backend);
}

#[test]
fn without_a_valid_lease_no_shard_counts_and_the_chain_still_grows() {
    let (mut bench, id) = bench_with_job();
    let other = bench.submit(&mix("none"));
    let good = bench.lease(&id);
    let stranger = SecretKey::from_bytes(&[0xcc; 32]);
    let mesh = bench.hub.mesh();
    let foreign = [
        // The first is the hub's own for this agent: it makes the agent known.
        Lease { job: other, ..good.clone() },
        Lease { agent: stranger.public().id(), ..good.clone() },
        Lease { stage: 1, ..good.clone() },
        Lease { first_shard: 1, ..good.clone() },
        Lease { shards: 0, ..good.clone() },
        Lease { shards: limits::LEASE_SHARDS + 1, ..good.clone() },
        Lease { first_shard: u64::MAX, shards: u64::MAX, ..good.clone() },
        Lease { expires_ms: bench.now_ms - 1, ..good.clone() },
    ];
    let mut leases: Vec<Signed<Lease>> = foreign.into_iter().map(|lease| bench.sign_lease(lease)).collect();
    leases.push(Signed::new(good.clone(), mesh, &stranger));
    leases.push(Signed::new(good.clone(), mesh, &bench.agent));
    leases.push(Signed::new(good.clone(), MeshId(Hash::ZERO), &bench.members[0]));
    let mut forged = bench.sign_lease(good.clone());
    forged.body.expires_ms += 1;
    leases.push(forged);
    for (i, lease) in leases.into_iter().enumerate() {
        let attestation = Attestation { leases: vec![lease], ..bench.attestation(&id, vec![0]) };
        let (credited, digest) = bench.attest(attestation);
        assert_eq!(credited, 0, "lease {i}");
        let head = bench.hub.chain(&bench.agent.public().id());
        assert_eq!((head.seq, head.digest), (i as u64 + 1, digest), "lease {i}");
    }
    let job = bench.job(&id);
    assert_eq!((job.state, job.batches.len(), job.attested.len()), (State::Planned, 0, 0));
    let attestation = bench.attestation(&id, vec![0]);
    assert_eq!(bench.attest(attestation).0, 1);
}

#[test]
fn a_lease_is_good_up_to_its_last_millisecond() {
    let (mut bench, id) = bench_with_job();
    let lease = bench.lease(&id);
    let leases = vec![bench.sign_lease(lease.clone())];
    bench.now_ms = lease.expires_ms;
    let attestation = Attestation { leases: leases.clone(), ..bench.attestation(&id, vec![0]) };
    assert_eq!(bench.attest(attestation).0, 1);
    bench.now_ms += 1;
    let attestation = Attestation { leases: leases.clone(), ..bench.attestation(&id, vec![1]) };
    assert_eq!(bench.attest(attestation).0, 0);
    bench.now_ms -= 1_000;
    let attestation = Attestation { leases, ..bench.attestation(&id, vec![1]) };
    assert_eq!(bench.attest(attestation).0, 0, "log time never goes back");
}

#[test]
fn the_first_valid_attestation_of_a_shard_wins() {
    let (mut bench, id) = bench_with_job();
    let attestation = bench.attestation(&id, vec![0, 1]);
    assert_eq!(bench.attest(attestation).0, 2);
    let attestation = bench.attestation(&id, vec![1, 2]);
    let (credited, digest) = bench.attest(attestation);
    assert_eq!(credited, 1);
    let batch = bench.job(&id).batches.iter().find(|batch| batch.digest == digest).unwrap();
    assert_eq!(batch.credited, vec![2].into(), "shard 1 is superseded");
    let attestation = bench.attestation(&id, vec![0, 1, 2]);
    assert_eq!(bench.attest(attestation).0, 0);
    assert_eq!(bench.job(&id).batches.len(), 2, "a batch of which nothing counts is not kept");
}

#[test]
fn shards_that_are_not_there_do_not_count() {
    let (mut bench, id) = bench_with_job();
    let mut attestation = bench.attestation(&id, vec![2, 3, u64::MAX]);
    let wide = Lease { shards: limits::LEASE_SHARDS, ..bench.lease(&id) };
    attestation.leases = vec![bench.sign_lease(wide)];
    assert_eq!(bench.attest(attestation).0, 1);
    let wrong_stage = Attestation { stage: 1, ..bench.attestation(&id, vec![0]) };
    assert_eq!(bench.attest(wrong_stage).0, 0);
    let no_job = Attestation { job: JobId(Hash::ZERO), ..bench.attestation(&id, vec![0]) };
    assert_eq!(bench.attest(no_job).0, 0);
}

#[test]
fn a_late_attestation_for_a_past_stage_does_not_count() {
    let mut bench = Bench::new(1);
    let id = bench.submit(&reserve());
    let late = bench.attestation(&id, bench.shards(&id));
    bench.verify_stage(&id);
    super::vote::open_second_stage(&mut bench, &id);
    let head = bench.hub.chain(&bench.agent.public().id());
    let late = Attestation { seq: head.seq + 1, prev: head.digest, ..late };
    assert_eq!(bench.attest(late).0, 0);
    assert_eq!(bench.job(&id).attested.len(), 0);
}

#[test]
fn every_agent_has_a_chain_of_its_own() {
    let (mut bench, id) = bench_with_job();
    let attestation = bench.attestation(&id, vec![0]);
    bench.attest(attestation);
    bench.agent = SecretKey::from_bytes(&[0xa1; 32]);
    let attestation = bench.attestation(&id, vec![1]);
    assert_eq!((attestation.seq, attestation.prev), (1, Hash::ZERO));
    assert_eq!(bench.attest(attestation).0, 1);
    assert_eq!(bench.hub.state().chains.len(), 2);
}
