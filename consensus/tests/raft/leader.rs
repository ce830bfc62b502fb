//! A leader that is cut off, and one that comes back.

use forgemesh_storage::testing::Unsynced;

use super::world::{Weather, World, run, seeds};

#[test]
fn without_its_leader_a_hub_goes_on_within_two_seconds() {
    for seed in seeds(15) {
        println!("seed {seed}");
        run(seed, async {
            let mut world = World::new(seed, 3, 0, Weather::fair()).await;
            world.propose_every(2_000..6_000);
            world.until("leader", 5_000, |world| world.leader().is_some()).await;
            world.pass(500).await;
            let old = world.leader().unwrap();
            world.crash(old, Unsynced::Lost);
            let agreed = world.agreed.len();
            world.until("new leader", 2_000, |world| world.agreed.len() > agreed + 1).await;
            world.start(old).await;
            world.pass(500).await;
            world.stop_proposing();
            world.until("agreement", 2_000, World::is_level).await;
        });
    }
}

#[test]
fn what_a_leader_that_is_cut_off_writes_is_taken_back() {
    run(5, async {
        let mut world = World::new(5, 5, 0, Weather::fair()).await;
        world.until("leader", 5_000, |world| world.leader().is_some()).await;
        let old = world.leader().unwrap();
        world.isolate(old);
        let agreed = world.agreed.len();
        let before = world.members[old].storage().next_log_index().unwrap();
        for _ in 0..10 {
            assert!(world.propose(old), "it does not know yet");
        }
        let token = world.confirm(old);
        world.pass(200).await;
        assert!(world.members[old].storage().next_log_index().unwrap() > before, "written");
        assert_eq!(world.agreed.len(), agreed, "and not agreed on");
        world.until("new leader", 3_000, |world| world.leader().is_some_and(|leader| leader != old)).await;
        world.propose_every(1_000..2_000);
        world.pass(500).await;
        world.until("denial", 2_500, |world| world.confirmed.contains(&(old, token, false))).await;
        let new = world.leader().unwrap();
        let token = world.confirm(new);
        world.until("answer", 500, |world| world.confirmed.contains(&(new, token, true))).await;
        world.heal();
        world.pass(500).await;
        world.stop_proposing();
        world.until("agreement", 2_000, World::is_level).await;
        assert!(!world.members[old].leads && !world.propose(old), "who does not lead takes nothing");
        // It holds the log of the others, entry by entry, once what was proposed last is on its disk too.
        let log = |world: &World, member: usize| world.members[member].storage().log(0, 10_000).unwrap();
        world.until("the same log", 2_000, |world| log(world, old) == log(world, new)).await;
    });
}

#[test]
fn a_way_that_is_longer_than_a_heartbeat_is_no_obstacle() {
    run(6, async {
        let way_us = 80_000..120_000;
        let mut world = World::new(6, 3, 0, Weather { way_us, ..Weather::fair() }).await;
        world.until("leader", 20_000, |world| world.leader().is_some()).await;
        let (leader, agreed) = (world.leader().unwrap(), world.agreed.len());
        assert!(world.propose(leader));
        world.until("agreement", 1_000, |world| world.agreed.len() > agreed).await;
        world.until("all", 1_000, World::is_level).await;
        let token = world.confirm(leader);
        world.until("answer", 500, |world| world.confirmed.contains(&(leader, token, true))).await;
    });
}

#[test]
fn disks_that_take_as_long_as_an_elections_wait_are_no_obstacle() {
    // So it is where many processes start at once: votes came too late to count, and every wait ended before they came.
    for seed in seeds(10) {
        println!("seed {seed}");
        run(seed, async {
            let write_us = 300_000..450_000;
            let mut world = World::new(seed, 3, 0, Weather { write_us, ..Weather::fair() }).await;
            world.until("leader", 30_000, |world| world.leader().is_some()).await;
            world.propose_every(500_000..1_000_000);
            let agreed = world.agreed.len();
            world.until("entries", 30_000, |world| world.agreed.len() > agreed + 5).await;
        });
    }
}

#[test]
fn disks_as_slow_as_a_heartbeat_agree_while_entries_keep_coming() {
    // openraft gives a question one heartbeat and asks with more entries then: no answer would ever be the last question's.
    for seed in seeds(10) {
        println!("seed {seed}");
        run(seed, async {
            let write_us = 40_000..60_000;
            let mut world = World::new(seed, 3, 0, Weather { write_us, ..Weather::fair() }).await;
            world.until("leader", 30_000, |world| world.leader().is_some()).await;
            world.pass(1_000).await;
            let terms = world.leaders.len();
            world.propose_every(60_000..70_000);
            for _ in 0..20 {
                let agreed = world.agreed.len();
                world.until("entries", 250, |world| world.agreed.len() > agreed).await;
            }
            world.pass(5_000).await;
            assert_eq!(world.leaders.len(), terms, "nobody was taken for dead");
        });
    }
}

#[test]
fn leader_and_followers_write_at_the_same_time() {
    run(8, async {
        let (way_us, write_us) = (1_000..1_001, 20_000..20_001);
        let mut world = World::new(8, 3, 0, Weather { way_us, write_us, ..Weather::fair() }).await;
        world.until("leader", 30_000, |world| world.leader().is_some()).await;
        world.pass(1_000).await;
        let (leader, agreed) = (world.leader().unwrap(), world.agreed.len());
        assert!(world.propose(leader));
        // There and back, and one write: two would take 42 ms.
        world.until("agreement", 30, |world| world.agreed.len() > agreed).await;
    });
}

#[test]
fn a_leader_whose_disk_hangs_is_followed_by_another() {
    for seed in seeds(30) {
        println!("seed {seed}");
        run(seed, async {
            let mut world = World::new(seed, 3, 0, Weather::fair()).await;
            world.until("leader", 5_000, |world| world.leader().is_some()).await;
            world.propose_every(2_000..6_000);
            world.pass(500).await;
            let (old, terms) = (world.leader().unwrap(), world.leaders.len());
            world.hung = Some(old);
            // A moment's hanging is none.
            world.pass(2_000).await;
            assert_eq!(world.leaders.len(), terms);
            let agreed = world.agreed.len();
            for _ in 0..100 {
                // Who reads keeps it no longer in power.
                world.confirm(old);
                world.pass(200).await;
            }
            assert!(world.agreed.len() > agreed + 10, "{}", world.describe());
            assert_ne!(world.leader(), Some(old));
            world.unhang();
            world.pass(1_000).await;
            world.stop_proposing();
            world.until("agreement", 2_000, World::is_level).await;
        });
    }
}

#[test]
fn who_led_asks_for_votes_anew_after_a_restart() {
    // Others may have entries of its term that its disk has lost.
    run(9, async {
        let write_us = 20_000..30_000;
        let mut world = World::new(9, 3, 0, Weather { write_us, ..Weather::fair() }).await;
        world.until("leader", 30_000, |world| world.leader().is_some()).await;
        world.propose_every(1_000..2_000);
        for _ in 0..10 {
            world.pass(700).await;
            let Some(leader) = world.leader() else { continue };
            let term = *world.leaders.last_key_value().unwrap().0;
            world.crash(leader, Unsynced::Lost);
            world.start(leader).await;
            world
                .until("later term", 5_000, |world| {
                    world.leader().is_some() && *world.leaders.last_key_value().unwrap().0 > term
                })
                .await;
        }
        world.stop_proposing();
        world.until("agreement", 5_000, World::is_level).await;
    });
}

/// Proposes so many entries at once, again and again, in a hub of three. A round costs each follower a question, an answer,
/// and the word that it is agreed on. The milliseconds that all of it took.
async fn rounds_of(together: usize, rounds: u64, seed: u64) -> u64 {
    let mut world = World::new(seed, 3, 0, Weather::fair()).await;
    world.until("leader", 5_000, |world| world.leader().is_some()).await;
    world.until("calm", 2_000, World::is_level).await;
    let (leader, sent, begun_us) = (world.leader().unwrap(), world.sent, world.now_us());
    for _ in 0..rounds {
        let agreed = world.agreed.len() + together;
        assert!((0..together).all(|_| world.propose(leader)));
        world.until("agreement", 500, |world| world.agreed.len() >= agreed && world.is_level()).await;
    }
    let passed_ms = (world.now_us() - begun_us) / 1_000;
    let beats = passed_ms / world.timing.heartbeat_ms + 1;
    let (sent, most) = (world.sent - sent, rounds * 2 * 3 + beats * 2 * 2);
    assert!(sent <= most, "{sent} messages for {rounds} rounds and {beats} beats");
    passed_ms
}

#[test]
fn who_has_an_entry_is_told_and_not_asked_that_it_is_agreed_on() {
    run(8, rounds_of(1, 50, 8));
}

/// However many are proposed together, they cost what one costs.
#[test]
fn entries_that_come_together_travel_together() {
    let (together, rounds) = (10, 20);
    let passed_ms = run(9, rounds_of(together, rounds, 9));
    // Here each entry is a write of its own. Nobody waits for a sign of life.
    assert!(passed_ms <= rounds * (3 + together as u64), "{passed_ms} ms for {rounds} rounds");
}

/// Word that nobody answers waits for no disk: else it would take the places of what is answered.
#[test]
fn a_follower_whose_disk_hangs_for_a_while_follows_on() {
    for seed in seeds(10) {
        println!("seed {seed}");
        run(seed, async {
            let mut world = World::new(seed, 3, 0, Weather::fair()).await;
            world.until("leader", 5_000, |world| world.leader().is_some()).await;
            world.propose_every(2_000..6_000);
            world.pass(500).await;
            let (leader, terms) = (world.leader().unwrap(), world.leaders.len());
            world.hung = Some((leader + 1) % 3);
            world.pass(8_000).await;
            world.unhang();
            world.pass(2_000).await;
            assert_eq!((world.leader(), world.leaders.len()), (Some(leader), terms), "{}", world.describe());
            world.stop_proposing();
            world.until("agreement", 2_000, World::is_level).await;
        });
    }
}
