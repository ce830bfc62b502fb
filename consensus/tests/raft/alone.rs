//! One member alone.

use forgemesh_consensus::raft::{Committed, Event, Proposed, agreed};
use forgemesh_storage::testing::Unsynced;

use super::world::{Weather, World, run};

#[test]
fn one_member_agrees_with_itself_in_one_write() {
    run(1, async {
        let mut world = World::new(1, 1, 0, Weather::fair()).await;
        world.until("leader", 1_000, |world| world.leader().is_some()).await;
        // Its members, and its first entry as a leader.
        assert_eq!(world.agreed.len(), 2);
        let member = &mut world.members[0];
        let replica = member.replica.as_mut().unwrap();
        let command = forgemesh_consensus::command::Command::Start {
            job: forgemesh_protocol::id::JobId(forgemesh_protocol::hash::Hash::ZERO),
        };
        assert_eq!(replica.propose(command.clone(), 77), Proposed::Taken);
        let Event::Write { token, batch, urgent: false } = replica.next().await else { panic!("a write") };
        assert_eq!(batch.writes().len(), 2, "the entry, and how far agreement went before it");
        assert!(replica.is_sole());
        let Event::Apply(entries) = replica.next().await else { panic!("an entry") };
        assert!(replica.is_ahead(), "nobody else has it");
        replica.stored(token);
        assert!(!replica.is_ahead());
        let [Committed::Entry(entry)] = &entries[..] else { panic!("one entry") };
        assert_eq!((entry.index, entry.at_ms, &entry.command), (2, 77, &command));
        assert_eq!(world.sent, 0);
    });
}

#[test]
fn who_was_the_only_voter_has_agreed_on_all_that_it_holds() {
    run(2, async {
        let mut world = World::new(2, 1, 0, Weather { snapshot_every: 30, ..Weather::fair() }).await;
        let id = world.members[0].id;
        world.propose_every(1_000..5_000);
        for _ in 0..20 {
            world.pass(300).await;
            world.crash(0, Unsynced::Lost);
            let before = world.agreed.len() as u64;
            world.start(0).await;
            let found = agreed(world.members[0].storage(), id).unwrap();
            assert!(found.is_none_or(|found| found + 1 >= before), "{found:?} of {before}");
            // Written and not yet applied: it will be.
            world.until("log", 2_000, |world| found.is_none_or(|found| world.members[0].next > found)).await;
        }
        assert!(world.agreed.len() > 200 && world.members[0].storage().first_log_index().unwrap() > 0);
    });
}

#[test]
fn a_dropped_replica_leaves_no_task_behind() {
    run(3, async {
        let mut world = World::new(3, 3, 0, Weather::fair()).await;
        world.propose_every(1_000..3_000);
        world.until("leader", 5_000, |world| world.leader().is_some()).await;
        world.pass(200).await;
        let leader = world.leader().unwrap();
        // In the middle of a write: openraft waits for it.
        world.until("write", 1_000, |world| !world.members[leader].writes.is_empty()).await;
        for member in 0..3 {
            world.crash(member, Unsynced::Lost);
        }
        tokio::time::sleep(std::time::Duration::from_millis(1_000)).await;
        assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 0);
    });
}
