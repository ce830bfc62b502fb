//! Votes on reductions that have reached the leader: they are kept until they make a majority, and logged together then.

use std::collections::BTreeMap;

use forgemesh_consensus::command::Command;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::{JobId, NodeId};
use forgemesh_protocol::keys::Signed;
use forgemesh_protocol::state::State;
use forgemesh_protocol::vote::ReductionVote;

use super::HubRole;
use crate::core::{Context, Output};

/// By job and voter.
#[derive(Default)]
pub(super) struct Ballots {
    by_job: BTreeMap<JobId, BTreeMap<NodeId, Ballot>>,
}

struct Ballot {
    vote: Signed<ReductionVote>,
    /// Its voter has waited for it to be logged.
    urged: bool,
    proposed: bool,
}

impl Ballots {
    /// An entry with this vote was applied.
    pub fn logged(&mut self, vote: &Signed<ReductionVote>) {
        if let Some(of_job) = self.by_job.get_mut(&vote.body.job) {
            of_job.retain(|_, ballot| ballot.vote != *vote);
        }
    }

    /// A job is over.
    pub fn forget(&mut self, job: &JobId) {
        self.by_job.remove(job);
    }
}

impl HubRole {
    /// A member's vote arrived.
    pub fn voted(&mut self, cx: &mut Context<'_>, vote: Signed<ReductionVote>) {
        let (id, voter) = (vote.body.job, vote.key.id());
        let Some(job) = self.machine.job(&id) else { return };
        let counts = self.machine.may_count(job, &vote.body) && !job.votes.contains(&vote);
        if !counts || !self.machine.seated().contains(&voter) {
            return;
        }
        let is_verified = job.state == State::Aggregating;
        let Some(lead) = &mut self.lead else { return };
        let of_job = lead.ballots.by_job.entry(id).or_default();
        match of_job.get_mut(&voter).filter(|ballot| ballot.vote == vote) {
            Some(ballot) => ballot.urged |= is_verified,
            None if vote.verify(cx.identity.mesh).is_ok() => {
                of_job.insert(voter, Ballot { vote, urged: false, proposed: false });
            }
            None => return,
        }
        self.log_votes(cx, &id, None);
    }

    /// Has the log take the votes on a job's stage, once a majority of them is equal. Those that are not, when they are all
    /// there or a voter has waited: the log shows then that the members disagree. `agreed`: the batch whose good verdict is
    /// on its way into the log.
    pub(super) fn log_votes(&mut self, cx: &mut Context<'_>, id: &JobId, agreed: Option<Hash>) {
        let (machine, members) = (&self.machine, self.machine.seated().len());
        let of_job = self.lead.as_mut().and_then(|lead| lead.ballots.by_job.get_mut(id));
        let (Some(job), Some(of_job)) = (machine.job(id), of_job) else { return };
        let settled = |batch: &_| job.is_settled(batch) || agreed == Some(batch.digest);
        let verified = job.state == State::Aggregating
            || (job.state == State::Verifying && job.current_batches().all(settled));
        if !verified {
            return;
        }
        of_job.retain(|_, ballot| machine.may_count(job, &ballot.vote.body));
        let logged: Vec<&ReductionVote> =
            job.votes.iter().map(|vote| &vote.body).filter(|vote| machine.may_count(job, vote)).collect();
        let held: Vec<ReductionVote> = of_job.values().map(|ballot| ballot.vote.body.clone()).collect();
        let all = logged.len() + held.len() >= members;
        let is_proposed = |ballot: &&Ballot| ballot.proposed;
        let mut taken: Vec<ReductionVote> =
            of_job.values().filter(is_proposed).map(|ballot| ballot.vote.body.clone()).collect();
        taken.extend(logged.iter().map(|vote| (*vote).clone()));
        for ballot in of_job.values_mut().filter(|ballot| !ballot.proposed) {
            let body = &ballot.vote.body;
            let equal = |votes: &[ReductionVote]| votes.iter().filter(|vote| *vote == body).count();
            let decides = equal(&held) + logged.iter().filter(|vote| **vote == body).count() > members / 2;
            // A further one would change nothing.
            let is_decided = equal(&taken) > members / 2;
            if !is_decided && (all || ballot.urged || decides) {
                ballot.proposed = true;
                taken.push(body.clone());
                cx.out.push(Output::Propose(Command::Vote { vote: ballot.vote.clone() }));
            }
        }
    }
}
