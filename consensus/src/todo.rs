//! What is still to be done for a job, read off its record: nothing is remembered from one step to the next, so
//! a restart, a lost message and a new leader all find the same list.

use forgemesh_protocol::challenge::LeafRef;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::JobId;
use forgemesh_protocol::state::State;

use crate::job::JobRecord;

/// One outstanding step. Leasing is not among them: leases are soft state of the leader. Nor is the beacon: one link
/// serves all jobs, see `Hub::awaits_reveal`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Todo {
    /// A batch's leaves are drawn and wait for a checker.
    Check { job: JobId, attestation: Hash, attempt: u64, leaves: Vec<LeafRef> },
    /// The stage is attested, and perhaps still being verified: this member reduces it.
    Reduce { job: JobId, stage: u64 },
}

impl Todo {
    /// The job it is for.
    pub fn job(&self) -> JobId {
        match self {
            Todo::Check { job, .. } | Todo::Reduce { job, .. } => *job,
        }
    }
}

/// The outstanding steps of `job`, in log order.
pub fn outstanding(job: &JobRecord, spotcheck_ppm: u64) -> Vec<Todo> {
    let id = job.id;
    if job.state == State::Aggregating {
        return vec![Todo::Reduce { job: id, stage: job.run().number }];
    }
    if !matches!(job.state, State::Running | State::Verifying) {
        return Vec::new();
    }
    let open = job.current_batches().filter(|batch| !job.is_settled(batch));
    let drawn = open.filter(|batch| batch.reveal.is_some());
    let checks = drawn.map(|batch| {
        let leaves = job.challenged(batch, spotcheck_ppm);
        Todo::Check { job: id, attestation: batch.digest, attempt: batch.unable, leaves }
    });
    // The vote is ready when the last verdict comes; it counts only then.
    let ahead = job.state == State::Verifying && !job.tells_of_verdicts();
    checks.chain(ahead.then(|| Todo::Reduce { job: id, stage: job.run().number })).collect()
}
