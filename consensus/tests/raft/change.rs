//! Members that come and go.

use std::collections::BTreeSet;

use forgemesh_consensus::raft::ChangeError;
use forgemesh_protocol::id::NodeId;
use forgemesh_storage::testing::Unsynced;

use super::world::{Weather, World, run};

fn ids(world: &World, members: &[usize]) -> BTreeSet<NodeId> {
    members.iter().map(|member| world.members[*member].id).collect()
}

async fn change(
    world: &mut World,
    token: u64,
    voters: &[usize],
    learners: &[usize],
) -> Result<(), ChangeError> {
    let (voters, learners) = (ids(world, voters), ids(world, learners));
    let leader = world.leader().expect("a leader");
    world.members[leader].replica.as_mut().unwrap().change(token, voters, learners);
    let is_answer = move |(answered, _): &&(u64, _)| *answered == token;
    world.until("change", 70_000, |world| world.changed.iter().any(|answer| is_answer(&answer))).await;
    world.changed.iter().find(is_answer).unwrap().1.clone()
}

#[test]
fn newcomers_catch_up_and_take_over() {
    run(1, async {
        let weather = Weather { loss: 5, snapshot_every: 200, padding: 1 << 20, ..Weather::fair() };
        let mut world = World::new(1, 3, 3, weather).await;
        world.propose_every(1_000..3_000);
        world.until("entries", 20_000, |world| world.agreed.len() > 700).await;
        assert_eq!(change(&mut world, 1, &[0, 1, 2], &[3, 4, 5]).await, Ok(()));
        assert!(world.members[3].restored == 1, "by a snapshot");
        assert_eq!(change(&mut world, 2, &[3, 4, 5], &[]).await, Ok(()));
        world.until("leader", 5_000, |world| world.leader().is_some_and(|leader| leader > 2)).await;
        for old in 0..3 {
            world.crash(old, Unsynced::Lost);
        }
        let agreed = world.agreed.len();
        world.until("entries", 5_000, |world| world.agreed.len() > agreed + 100).await;
        let members = world.members[3].replica.as_ref().unwrap().members();
        assert_eq!((members.voters, members.learners), (vec![ids(&world, &[3, 4, 5])], BTreeSet::new()));
        // The new ones live by what they have stored alone.
        for new in 3..6 {
            world.crash(new, Unsynced::Lost);
            world.start(new).await;
        }
        let agreed = world.agreed.len();
        world.until("entries", 5_000, |world| world.agreed.len() > agreed + 100).await;
    });
}

#[test]
fn who_never_comes_keeps_nobody_waiting_for_ever() {
    run(2, async {
        let mut world = World::new(2, 3, 1, Weather::fair()).await;
        world.until("leader", 5_000, |world| world.leader().is_some()).await;
        world.isolate(3);
        assert_eq!(change(&mut world, 1, &[0, 1, 2, 3], &[]).await, Err(ChangeError::TooSlow));
        assert_eq!(change(&mut world, 2, &[], &[0]).await, Err(ChangeError::Bounds));
        let follower = (world.leader().unwrap() + 1) % 3;
        let voters = ids(&world, &[0, 1]);
        world.members[follower].replica.as_mut().unwrap().change(3, voters, BTreeSet::new());
        world
            .until("refusal", 5_000, |world| world.changed.contains(&(3, Err(ChangeError::NotLeading))))
            .await;
        world.heal();
        assert_eq!(change(&mut world, 4, &[0, 1, 2, 3], &[]).await, Ok(()));
        world.propose_every(1_000..2_000);
        world.pass(300).await;
        world.stop_proposing();
        world.until("agreement", 5_000, World::is_level).await;
    });
}
