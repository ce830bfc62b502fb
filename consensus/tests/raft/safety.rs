//! Random schedules: cuts, crashes in the middle of writes, lost and repeated messages.

use std::panic::catch_unwind;

use forgemesh_protocol::hash::Hash;
use forgemesh_storage::testing::Unsynced;

use super::world::{Weather, World, run, seeds};

/// What the schedule of `seed` does to a hub of so many; the digest of all that happened and what it amounted to.
fn schedule(seed: u64, members: usize) -> (Hash, u64, usize) {
    schedule_with(seed, members, false)
}

fn schedule_with(seed: u64, members: usize, hasty: bool) -> (Hash, u64, usize) {
    run(seed, async {
        let mut weather = Weather { snapshot_every: 40, ..Weather::fair() };
        weather.way_us = 200..20_000;
        weather.write_us = 100..8_000;
        let mut world = World::new(seed, members, 0, weather).await;
        world.hasty = hasty;
        world.propose_every(1_000..30_000);
        for _ in 0..40 {
            trouble(&mut world);
            let ms = 50 + world.random.below(800) as u64;
            world.pass(ms).await;
        }
        mend(&mut world).await;
        let lives = world.members.iter().map(|member| member.life).sum();
        (world.trace(), lives, world.agreed.len())
    })
}

fn trouble(world: &mut World) {
    let member = world.random.below(world.members.len());
    match world.random.below(12) {
        0..=2 => world.heal(),
        3 => world.isolate(world.leader().unwrap_or(member)),
        4 => world.isolate(member),
        5 => {
            // One way only.
            let other = world.random.below(world.members.len());
            world.cut.insert((member, other));
        }
        6 | 7 => {
            if world.members[member].replica.is_some() {
                let way = match world.random.below(3) {
                    0 => Unsynced::Lost,
                    1 => Unsynced::Kept,
                    _ => Unsynced::Torn(world.random.draw()),
                };
                world.crash(member, way);
            }
            let us = world.random.below(1_500_000) as u64;
            world.reopen_after(member, us);
        }
        // The power fails in the middle of a write.
        8 | 9 => world.members[member].disk.light_fuse(world.random.below(60) as u64),
        10 => world.weather.loss = [0, 5, 20, 40][world.random.below(4)],
        _ => world.weather.repeat = [0, 10, 50][world.random.below(3)],
    }
    if let Some(leader) = world.leader() {
        world.confirm(leader);
    }
}

/// All come back and agree, and agree on something new.
async fn mend(world: &mut World) {
    world.heal();
    (world.weather.loss, world.weather.repeat) = (0, 0);
    for member in 0..world.members.len() {
        // Fuses go out with the disk.
        world.crash(member, Unsynced::Lost);
        world.reopen_after(member, 1_000);
    }
    let agreed = world.agreed.len();
    world.until("new agreement", 10_000, |world| world.agreed.len() > agreed + 3).await;
    world.stop_proposing();
    world.until("agreement of all", 10_000, World::is_level).await;
}

#[test]
fn what_is_agreed_on_stays_whatever_happens() {
    let (mut lives, mut agreed) = (0, 0);
    for seed in seeds(12) {
        let members = if seed.is_multiple_of(3) { 5 } else { 3 };
        println!("FORGEMESH_RAFT_SEED={seed} cargo test -p forgemesh-consensus --test raft stays_whatever");
        let (_, some_lives, some_agreed) = schedule(seed, members);
        (lives, agreed) = (lives + some_lives, agreed + some_agreed);
    }
    println!("{lives} lives, {agreed} entries agreed on");
}

#[test]
fn one_seed_is_one_trace() {
    for seed in [3, 1_001] {
        assert_eq!(schedule(seed, 3), schedule(seed, 3), "seed {seed}");
    }
    assert_ne!(schedule(3, 3).0, schedule(4, 3).0);
}

#[test]
fn a_disk_that_promises_too_early_is_found_out() {
    let found = (0..20).find(|seed| catch_unwind(|| schedule_with(*seed, 3, true)).is_err());
    println!("found with seed {found:?}");
    assert!(found.is_some(), "the rules have missed what was lost");
}
