//! Which snapshots become a machine: what is derived from an open job relies on what admission and votes have made of it.

use forgemesh_consensus::job::JobRecord;
use forgemesh_consensus::machine::Hub;
use forgemesh_protocol::canon;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::state::State;

use super::bench::{Bench, reserve};
use super::vote::open_second_stage;

type Change = (&'static str, fn(&mut JobRecord));

#[test]
fn an_open_job_that_no_log_could_have_made_is_refused() {
    let mut bench = Bench::new(1);
    let id = bench.submit(&reserve());
    bench.verify_stage(&id);
    open_second_stage(&mut bench, &id);
    let changes: [Change; 13] = [
        ("its contract", |job| job.contract.args.0.clear()),
        ("its plan", |job| job.plan.leaf_paths = 0),
        ("its stages", |job| job.runs.clear()),
        ("its id", |job| job.id.0 = Hash::ZERO),
        ("its state", |job| job.state = State::Failed),
        ("the shards of its current stage", |job| assert!(job.attested.insert(u64::MAX - 1))),
        ("the number of its first stage", |job| job.runs[0].number = u64::MAX),
        ("its first stage", |job| drop(job.runs.remove(0))),
        ("its second stage", |job| job.runs[1].stage.leaves_per_shard = 0),
        ("what its second stage needs", |job| job.runs[1].input = None),
        ("the stage of a batch", |job| job.batches[0].attestation.body.stage = 2),
        ("what counts of a batch", |job| job.batches[0].credited = vec![u64::MAX].into()),
        ("how often it counts", |job| job.batches[0].credited = vec![0, 0].into()),
    ];
    let restored = |change: fn(&mut JobRecord)| {
        let mut state = bench.hub.state().clone();
        change(state.open.get_mut(&id).expect("it is open"));
        Hub::restore(bench.hub.genesis().clone(), &canon::to_bytes(&state))
    };
    assert_eq!(restored(|_| {}).map(|hub| hub.state().clone()).as_ref(), Ok(bench.hub.state()));
    for (what, change) in changes {
        assert!(restored(change).is_err(), "{what} was changed");
    }
}
