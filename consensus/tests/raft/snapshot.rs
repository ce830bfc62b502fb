//! Snapshots: who is far behind catches up with one, whatever is lost on the way.

use forgemesh_storage::testing::Unsynced;

use super::world::{Weather, World, run};

#[test]
fn who_was_away_for_long_gets_a_snapshot() {
    for seed in 0..3 {
        run(seed, async {
            // Several parts each.
            let weather =
                Weather { loss: 10, repeat: 10, snapshot_every: 300, padding: 3 << 20, ..Weather::fair() };
            let mut world = World::new(seed, 3, 0, weather).await;
            world.until("leader", 10_000, |world| world.leader().is_some()).await;
            let away = (world.leader().unwrap() + 1) % 3;
            world.crash(away, Unsynced::Lost);
            world.propose_every(500..1_500);
            world.until("entries", 60_000, |world| world.agreed.len() > 1_000).await;
            let kept = world.members[world.leader().unwrap()].storage().log(0, 1);
            assert!(kept.is_err(), "the start of the log is gone");
            world.start(away).await;
            world.until("restored state", 30_000, |world| world.members[away].restored > 0).await;
            // It is durable: its next life begins with it.
            let restored = world.members[away].snapshot;
            world.crash(away, Unsynced::Lost);
            world.start(away).await;
            assert!(world.members[away].next >= restored && restored >= 300);
            world.stop_proposing();
            world.until("agreement", 30_000, World::is_level).await;
        });
    }
}

#[test]
fn who_is_a_little_behind_gets_entries() {
    run(9, async {
        let mut world = World::new(9, 3, 0, Weather { snapshot_every: 50, ..Weather::fair() }).await;
        world.propose_every(1_000..3_000);
        world.until("leader", 5_000, |world| world.leader().is_some()).await;
        world.pass(1_000).await;
        let away = (world.leader().unwrap() + 1) % 3;
        world.isolate(away);
        let agreed = world.agreed.len();
        world.until("entries", 10_000, |world| world.agreed.len() > agreed + 100).await;
        world.heal();
        world.stop_proposing();
        world.until("agreement", 10_000, World::is_level).await;
        assert_eq!(world.members[away].restored, 0);
    });
}
