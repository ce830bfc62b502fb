//! What every member does with an attested stage: reduces it for itself, keeps the artifacts, votes, and votes again until
//! its vote is logged. It need not wait for the verdicts: the vote says what follows from the batches, and counts only
//! once they are verified. What is wrong with a batch is left to the verdicts as long as they may come.

use std::collections::{BTreeMap, BTreeSet};

use forgemesh_consensus::job::JobRecord;
use forgemesh_protocol::failure::{Failure, FailureCode};
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::JobId;
use forgemesh_protocol::keys::Signed;
use forgemesh_protocol::limits;
use forgemesh_protocol::state::State;
use forgemesh_protocol::vote::ReductionVote;
use forgemesh_protocol::wire::Message;
use forgemesh_storage::Batch;

use super::HubRole;
use crate::core::keeper::quarantine;
use crate::core::{AfterStore, AfterWork, Context, Reduction};
use crate::ports::{Done, Work};

/// Reductions and votes of this member.
#[derive(Default)]
pub(super) struct Reducing {
    /// Stages that are being reduced, or are, or wait for blobs.
    under_way: BTreeSet<Reduction>,
    /// Those from which nothing followed while their stage was being verified, or artifacts too large to be kept for what may
    /// be set aside: they are made again after that.
    early: BTreeSet<Reduction>,
    /// This member's votes, until they are logged or pointless.
    votes: BTreeMap<JobId, Vote>,
    /// Failed reductions of each open job that named no evidence.
    failed: BTreeMap<JobId, u32>,
    /// What a reduction lacks and has asked others for.
    lacking: BTreeMap<JobId, Lacking>,
    /// Batches from which nothing follows, until the leader has them set aside.
    unfit: BTreeMap<JobId, Unfit>,
}

struct Vote {
    signed: Signed<ReductionVote>,
    /// When it was last sent, or could have been; none: not to who leads now.
    sent_ms: Option<u64>,
}

struct Lacking {
    batches: Vec<Hash>,
    blobs: BTreeSet<Hash>,
    detail: String,
}

struct Unfit {
    batches: Vec<Hash>,
    detail: String,
}

impl Reducing {
    /// The job is final.
    pub fn forget(&mut self, job: &JobId) {
        self.under_way.retain(|reduction| reduction.job != *job);
        self.early.retain(|reduction| reduction.job != *job);
        self.votes.remove(job);
        self.failed.remove(job);
        self.lacking.remove(job);
        self.unfit.remove(job);
    }

    /// In how many milliseconds a vote is to be sent again.
    pub fn next_deadline(&self, up_ms: u64) -> u64 {
        let due = |vote: &Vote| vote.sent_ms.map_or(0, |sent_ms| sent_ms + limits::RETRY_MS);
        let next = self.votes.values().map(due).min();
        next.map_or(u64::MAX, |at_ms| at_ms.saturating_sub(up_ms))
    }
}

/// What would be reduced of a job now.
fn current(record: &JobRecord, seating: u64) -> Reduction {
    Reduction {
        job: record.id,
        stage: record.run().number,
        set_aside: record.set_aside.len() as u64,
        seating,
    }
}

impl HubRole {
    /// Starts the reduction of a job's stage, unless this member is at it or has voted; false if it has to wait.
    pub(super) fn reduce(&mut self, cx: &mut Context<'_>, job: JobId) -> bool {
        let Some(record) = self.machine.job(&job) else { return true };
        let reduction = current(record, self.machine.state().seating.number);
        let own = cx.identity.secret.public();
        let this = (reduction.stage, reduction.seating);
        let mut own_votes = record.votes.iter().filter(|vote| vote.key == own);
        let voted = own_votes.any(|vote| (vote.body.stage, vote.body.seating) == this);
        let again = record.state == State::Aggregating && self.reducing.early.contains(&reduction);
        if voted || (self.reducing.under_way.contains(&reduction) && !again) {
            return true;
        }
        // What was delivered is read from the disk.
        if self.is_copying(cx, &job) {
            return false;
        }
        let work = Work::Reduce { job: Box::new(record.clone()) };
        self.reducing.under_way.retain(|old| old.job != job);
        self.reducing.early.retain(|old| old.job != job);
        self.reducing.under_way.insert(reduction);
        cx.work(work, AfterWork::Reduction(reduction));
        true
    }

    /// A reduction is done: artifacts first, then the vote.
    pub fn reduced(&mut self, cx: &mut Context<'_>, reduction: Reduction, done: Done) {
        let Reduction { job, stage, set_aside, seating } = reduction;
        let now = self.machine.state().seating.number;
        if self.machine.job(&job).map(|record| current(record, now)) != Some(reduction) {
            // What it was made from no longer counts.
            return;
        }
        let is_small = matches!(&done, Done::Reduced { artifacts, .. }
            if artifacts.iter().map(Vec::len).sum::<usize>() <= limits::EARLY_ARTIFACT_BYTES);
        if !is_small && self.is_in(&job, State::Verifying) {
            self.reducing.early.insert(reduction);
            return;
        }
        let (outcome, artifacts) = match done {
            Done::Reduced { outcome, artifacts } => (outcome, artifacts),
            Done::Lacking { batches, blobs, detail } => {
                quarantine(cx, &blobs);
                return self.lacks(cx, job, batches, blobs, detail);
            }
            Done::Unfit { batches, detail } => {
                self.reducing.unfit.insert(job, Unfit { batches, detail });
                return self.set_aside_unfit(cx);
            }
            // A fault of this node's: it tries again, but not for ever.
            Done::Failed { detail } => {
                let attempts = self.reducing.failed.entry(job).or_default();
                *attempts += 1;
                if *attempts < limits::REDUCE_ATTEMPTS {
                    self.reduce_again(&job);
                } else if self.lead.is_some() {
                    self.give_up(cx, job, Failure::new(FailureCode::EvidenceLost, detail));
                }
                return;
            }
            _ => return,
        };
        let vote = ReductionVote { job, stage, outcome, set_aside, seating };
        let mut batch = Batch::new();
        for bytes in artifacts {
            batch.put_blob(bytes);
        }
        cx.store(batch, AfterStore::Artifacts(Box::new(vote)));
    }

    pub(super) fn reduce_again(&mut self, job: &JobId) {
        self.reducing.under_way.retain(|reduction| reduction.job != *job);
        self.touched.insert(*job);
    }

    /// Who leads has unfit batches set aside; who follows found the same, and waits for that: the record will be another.
    pub(super) fn set_aside_unfit(&mut self, cx: &mut Context<'_>) {
        if self.lead.is_some() {
            for (job, Unfit { batches, detail }) in std::mem::take(&mut self.reducing.unfit) {
                self.lost(cx, job, &batches, detail);
            }
        }
    }

    /// A reduction lacks blobs that batches claim: others may have them.
    fn lacks(
        &mut self,
        cx: &mut Context<'_>,
        job: JobId,
        batches: Vec<Hash>,
        blobs: Vec<Hash>,
        detail: String,
    ) {
        let Some(record) = self.machine.job(&job) else { return };
        let of_batch = |digest: &Hash| record.batches.iter().find(|batch| batch.digest == *digest);
        let agents: Option<Vec<_>> =
            batches.iter().map(|digest| Some(of_batch(digest)?.attestation.body.agent)).collect();
        let sources =
            agents.as_ref().and_then(|agents| agents.first()).map(|&agent| self.sources(cx, agent, []));
        let Some(sources) = sources.filter(|sources| !sources.is_empty() && !blobs.is_empty()) else {
            return self.lost(cx, job, &batches, detail);
        };
        blobs.iter().for_each(|&blob| self.fetcher.want(job, blob, sources.clone()));
        let blobs = blobs.into_iter().collect();
        self.reducing.lacking.insert(job, Lacking { batches, blobs, detail });
    }

    /// A blob is on its way to the disk: perhaps a reduction waits for it.
    pub(super) fn lacks_no_more(&mut self, blob: &Hash) {
        let mut ready = Vec::new();
        for (job, lacking) in &mut self.reducing.lacking {
            if lacking.blobs.remove(blob) && lacking.blobs.is_empty() {
                ready.push(*job);
            }
        }
        for job in ready {
            self.reducing.lacking.remove(&job);
            self.reduce_again(&job);
        }
    }

    /// Nobody has this blob: the batches that need it are given up, or asked for anew.
    pub(super) fn lacks_for_ever(&mut self, cx: &mut Context<'_>, blob: &Hash) {
        let waits = |(job, lacking): (&JobId, &Lacking)| lacking.blobs.contains(blob).then_some(*job);
        let jobs: Vec<JobId> = self.reducing.lacking.iter().filter_map(waits).collect();
        for job in jobs {
            if let Some(Lacking { batches, detail, .. }) = self.reducing.lacking.remove(&job) {
                self.lost(cx, job, &batches, detail);
            }
        }
    }

    /// The artifacts are durable: the vote may name them.
    pub fn vote(&mut self, cx: &mut Context<'_>, vote: ReductionVote) {
        let job = vote.job;
        let signed = Signed::new(vote, cx.identity.mesh, &cx.identity.secret);
        cx.send_leader(Message::Vote(Box::new(signed.clone())));
        self.reducing.votes.insert(job, Vote { signed, sent_ms: Some(cx.now.up_ms) });
    }

    /// Sends votes again that have not shown in the log.
    pub(super) fn vote_again(&mut self, cx: &mut Context<'_>) {
        let machine = &self.machine;
        self.reducing.votes.retain(|job, vote| {
            machine.job(job).is_some_and(|record| {
                let body = &vote.signed.body;
                machine.may_count(record, body) && !record.votes.contains(&vote.signed)
            })
        });
        for (job, vote) in &mut self.reducing.votes {
            let Some(sent_ms) = vote.sent_ms else {
                vote.sent_ms = Some(cx.now.up_ms);
                cx.send_leader(Message::Vote(Box::new(vote.signed.clone())));
                continue;
            };
            if cx.now.up_ms >= sent_ms + limits::RETRY_MS {
                vote.sent_ms = Some(cx.now.up_ms);
                // Before it is verified, the leader waits for other things than votes.
                if machine.job(job).is_some_and(|record| record.state == State::Aggregating) {
                    cx.send_leader(Message::Vote(Box::new(vote.signed.clone())));
                }
            }
        }
    }

    /// Another leads: it hears this member's votes at once.
    pub(super) fn votes_to_new_leader(&mut self) {
        self.reducing.votes.values_mut().for_each(|vote| vote.sent_ms = None);
    }
}
