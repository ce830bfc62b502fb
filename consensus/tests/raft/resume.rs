//! What is found in a data folder at a start.

use std::sync::Arc;

use forgemesh_consensus::raft::{Logged, Replica, Start, StartError, Timing, agreed};
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::NodeId;
use forgemesh_storage::testing::{Disk, Unsynced};
use forgemesh_storage::{Batch, MetaKey, Storage};

use super::world::{Weather, World, run};

fn start(storage: Storage) -> Result<(), StartError> {
    let node = NodeId(Hash::ZERO);
    let start = Start { node, voters: vec![node], storage: Arc::new(storage), timing: Timing::default() };
    run(1, Replica::start(start)).map(drop)
}

#[test]
fn what_no_replica_wrote_is_refused_by_name() {
    let mut nonsense = Batch::new();
    nonsense.append_log(0, b"nonsense".to_vec());
    let mut elsewhere = Batch::new();
    let logged = Logged { index: 4, term: 1, payload: forgemesh_consensus::raft::Payload::Blank };
    elsewhere.append_log(0, logged.encode());
    let (mut vote, mut start_of_log, mut snapshot) = (Batch::new(), Batch::new(), Batch::new());
    vote.put_meta(MetaKey::RaftVote, b"nonsense".to_vec());
    start_of_log.purge_log(3);
    snapshot.put_snapshot(0, b"an older program's state".to_vec());
    let cases = [
        (nonsense, "a log entry"),
        (elsewhere, "a log entry"),
        (vote, "the vote"),
        (start_of_log, "the start of the log"),
        (snapshot, "the snapshot"),
    ];
    for (batch, place) in cases {
        let storage = Storage::with_backend(Disk::new(1)).unwrap();
        storage.commit(&batch).unwrap();
        match start(storage) {
            Err(StartError::Damaged { what, .. }) => assert_eq!(what, place),
            other => panic!("{place}: {other:?}"),
        }
    }
}

#[test]
fn a_hub_without_voters_and_times_without_an_election_are_refused() {
    let open = || Arc::new(Storage::with_backend(Disk::new(1)).unwrap());
    let node = NodeId(Hash::ZERO);
    let voters = |count: u8| (0..count).map(|n| NodeId(Hash([n; 32]))).collect::<Vec<NodeId>>();
    for count in [0, 6] {
        let start = Start { node, voters: voters(count), storage: open(), timing: Timing::default() };
        assert!(matches!(run(1, Replica::start(start)), Err(StartError::Voters)));
    }
    for (heartbeat_ms, election_ms) in [(0, 100..200), (100, 100..200), (50, 200..200)] {
        let timing = Timing { heartbeat_ms, election_ms };
        let start = Start { node, voters: voters(3), storage: open(), timing };
        assert!(matches!(run(1, Replica::start(start)), Err(StartError::Timing)));
    }
}

#[test]
fn a_closed_folder_tells_how_far_agreement_went() {
    run(7, async {
        let mut world = World::new(7, 3, 0, Weather { snapshot_every: 100, ..Weather::fair() }).await;
        world.propose_every(1_000..3_000);
        world.until("leader", 5_000, |world| world.leader().is_some()).await;
        for round in 0..20 {
            world.pass(100).await;
            let member = round % 3;
            world.crash(member, Unsynced::Lost);
            world.start(member).await;
            let found = agreed(world.members[member].storage(), world.members[member].id).unwrap();
            let found = found.map_or(0, |found| found as usize + 1);
            // Never more than the truth, and no less than what was agreed on before the last entries came.
            assert!(found <= world.agreed.len(), "{found} of {}", world.agreed.len());
            assert!(found + 60 > world.agreed.len() || round < 3, "{found} of {}", world.agreed.len());
            world.until("leader", 5_000, |world| world.leader().is_some()).await;
        }
    });
}
