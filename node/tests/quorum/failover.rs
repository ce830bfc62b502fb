//! The leader, or another member, is gone in the middle: the job goes on, with the same digest, and nothing is settled
//! twice.

use forgemesh_consensus::command::Command;
use forgemesh_node::core::Input;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::limits;
use forgemesh_protocol::state::State;

use super::bench::Bench;
use super::work::INSURANCE;

/// Kills member `dead` at the n-th log entry, has another elected if it led, and waits for the end.
fn killed_at(entries: usize, dead: usize) -> bool {
    let mut bench = Bench::new(3, 0, 2);
    bench.elect(0);
    let job = bench.submit(0, INSURANCE);
    bench.run(60_000, |bench| bench.log.len() >= entries || bench.finished(2, &job).is_some());
    if bench.finished(2, &job).is_some() {
        return false;
    }
    bench.kill(dead);
    if bench.leader.is_none() {
        bench.elect(1);
    }
    let living: Vec<usize> = (0..3).filter(|member| *member != dead).collect();
    if bench.log.is_empty() {
        return true;
    }
    bench.run(120_000, |bench| living.iter().all(|member| bench.finished(*member, &job).is_some()));
    let finished = bench.finished(living[0], &job).expect("books").finished;
    assert_eq!(finished.record.state, State::Finalized, "killed {dead} at {entries}");
    let other = bench.finished(living[1], &job).expect("books").finished;
    assert_eq!((&finished.entry, &finished.result), (&other.entry, &other.result));
    assert!(finished.record.convicted.is_empty());
    // The dead one comes back, and has what it missed.
    bench.revive(dead);
    let signatures =
        |bench: &Bench, node| bench.finished(node, &job).map_or(0, |file| file.receipt.signatures.len());
    bench.run(30_000, |bench| (0..5).all(|node| signatures(bench, node) >= 2));
    true
}

#[test]
fn the_leader_may_die_at_every_entry() {
    let mut at = 1;
    while killed_at(at, 0) {
        at += 1;
    }
    assert!(at > 6, "there were {at} entries");
}

/// Those whose connections have ended are waited for a second, not until they are sure to be dead: what they have lent, what
/// they have not opened, and what only they had is others' work.
#[test]
fn nobody_waits_long_for_a_node_that_is_gone() {
    const JOB: &str =
        r#"{"op":{"name":"mc","version":1,"profile":"insurance.v1"},"args":{"iterations":600000}}"#;
    let (mut longest_ms, mut stayed) = (0, 0);
    for at in 1.. {
        let mut bench = Bench::new(3, 1, 1);
        bench.elect(0);
        bench.run(1_000, Bench::queue_is_empty);
        let job = bench.submit(3, JOB);
        bench.run(60_000, |bench| bench.log.len() >= at || bench.finished(2, &job).is_some());
        if bench.finished(2, &job).is_some() {
            assert!(at > 6, "there were {at} entries");
            break;
        }
        // What others have attested stays, and so does what of the dead one's is verified: only the rest is done again.
        let record = bench.nodes[1].core.hub().and_then(|hub| hub.job(&job).cloned());
        let dead = bench.id(0);
        let kept: Vec<Hash> = record
            .iter()
            .flat_map(|record| {
                record
                    .current_batches()
                    .filter(|batch| record.is_settled(batch) || batch.attestation.body.agent != dead)
            })
            .map(|batch| batch.digest)
            .collect();
        stayed += kept.len();
        bench.kill(0);
        bench.part(0);
        bench.elect(1);
        let begun_ms = bench.now_ms;
        bench.run(120_000, |bench| (1..3).all(|member| bench.finished(member, &job).is_some()));
        let took_ms = bench.now_ms - begun_ms;
        assert!(took_ms < 2 * limits::PARTED_MS, "killed at {at}: {took_ms} ms");
        longest_ms = longest_ms.max(took_ms);
        let record = bench.finished(1, &job).expect("books").finished.record;
        assert_eq!(record.state, State::Finalized);
        let counts = |digest: &Hash| record.batches.iter().any(|batch| batch.digest == *digest);
        assert!(kept.iter().all(counts), "killed at {at}: {kept:?}");
    }
    assert!(stayed > 0, "nothing was attested by others before");
    assert!(longest_ms >= limits::PARTED_MS, "{longest_ms} ms: nothing was waited for");
}

#[test]
fn a_follower_may_die_at_every_entry() {
    let mut at = 1;
    while killed_at(at, 1) {
        at += 1;
    }
    // Its turn at the beacon went by.
    let mut bench = Bench::new(3, 0, 1);
    bench.elect(0);
    bench.kill(1);
    for _ in 0..2 {
        let job = bench.submit(0, INSURANCE);
        bench.run(60_000, |bench| bench.finished(0, &job).is_some());
    }
    assert!(bench.logged(|command| matches!(command, Command::Pass { .. })) > 0);
}

#[test]
fn a_leader_that_is_replaced_without_dying_follows() {
    let mut bench = Bench::new(3, 1, 1);
    bench.elect(0);
    let job = bench.submit(0, INSURANCE);
    for leader in [1, 2, 0, 1, 0, 2] {
        let entries = bench.log.len() + 2;
        bench.run(60_000, |bench| bench.log.len() >= entries || bench.finished(0, &job).is_some());
        bench.elect(leader);
    }
    bench.run(60_000, |bench| (0..3).all(|member| bench.finished(member, &job).is_some()));
    assert_eq!(bench.finished(0, &job).expect("books").finished.record.state, State::Finalized);
}

/// Its network said so: a relay had dialled itself. It chose itself as the checker, and another at once, for ever.
#[test]
fn a_leader_that_hears_that_it_is_gone_itself_goes_on() {
    let mut bench = Bench::new(3, 0, 2);
    bench.elect(0);
    bench.hand(0, Input::Parted { node: bench.id(0) });
    let gone_ms = bench.now_ms + 2 * limits::PARTED_MS;
    bench.run(60_000, |bench| bench.now_ms >= gone_ms);
    let job = bench.submit(0, INSURANCE);
    bench.run(60_000, |bench| (0..3).all(|member| bench.finished(member, &job).is_some()));
    assert_eq!(bench.finished(0, &job).expect("books").finished.record.state, State::Finalized);
}
