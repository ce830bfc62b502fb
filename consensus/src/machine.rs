//! The hub: the replicated state and the one function that changes it.

mod asking;
mod beacon;
mod seating;
mod voting;

use std::collections::BTreeMap;

use forgemesh_kernel::job::Job;
use forgemesh_protocol::attestation::Attestation;
use forgemesh_protocol::cancellation::Cancellation;
use forgemesh_protocol::canon::{self, CanonError};
use forgemesh_protocol::challenge::{CheckOutcome, Verdict};
use forgemesh_protocol::charter::{Charter, CharterError, Charters, Seating};
use forgemesh_protocol::envelope::Verify;
use forgemesh_protocol::failure::{Failure, FailureCode};
use forgemesh_protocol::genesis::Genesis;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::{JobId, MeshId, NodeId};
use forgemesh_protocol::keys::Signed;
use forgemesh_protocol::limits;
use forgemesh_protocol::organization::Organization;
use forgemesh_protocol::plan::StageRun;
use forgemesh_protocol::state::State;
use forgemesh_protocol::submission::Submission;
use forgemesh_protocol::vote::FinalResult;
use serde::{Deserialize, Serialize};

use crate::adjudicate::{
    self, AttestationRefused, CancelRefused, ChainHead, NoSuchBatch, RevealRefused, VerdictRefused,
};
use crate::admission::{self, AdmissionError};
use crate::command::{Command, Entry};
use crate::enrolment::{Change, Enrolment, EnrolmentRefused};
use crate::job::{Batch, JobRecord, Reason};
use crate::settle::{self, Concluded, FinishedJob};
use crate::shard_set::ShardSet;
pub use asking::check_signed;
pub use seating::SeatRefused;
pub use voting::VoteRefused;

/// What is replicated, and what a snapshot holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HubState {
    /// Index of the next entry to apply; the first entry has 0.
    pub next: u64,
    pub term: u64,
    /// Log time: the largest clock seen in the log, milliseconds since 1970.
    pub now_ms: u64,
    /// Jobs that are not final.
    pub open: BTreeMap<JobId, JobRecord>,
    /// Submissions that are not expired, open or final: a repetition is the same job.
    pub seen: BTreeMap<JobId, u64>,
    /// Each agent's last attestation.
    pub chains: BTreeMap<NodeId, ChainHead>,
    /// The last revealed link of everybody who ever sat in the hub; the anchor before the first.
    pub beacons: BTreeMap<NodeId, Beacon>,
    /// Turns at the beacon that went by without a link.
    #[serde(default, skip_serializing_if = "canon::is_zero")]
    pub passed: u64,
    /// Log time since when the member whose turn it is has been waited for; none while no batch waits for a link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_since_ms: Option<u64>,
    /// The ledger's next number and the digest of its last entry.
    pub ledger_len: u64,
    pub ledger_head: Hash,
    /// Who was invited, who was admitted.
    #[serde(default, skip_serializing_if = "Enrolment::is_empty")]
    pub enrolment: Enrolment,
    /// Who sits in the hub.
    pub seating: Seating,
    /// What charter each admitted key wants to be the next; the newest counts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub consents: BTreeMap<NodeId, Signed<Charter>>,
}

/// How far a member's beacon chain is revealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Beacon {
    pub revealed: u64,
    pub value: Hash,
}

/// The state machine over its genesis.
#[derive(Clone, Debug)]
pub struct Hub {
    /// Those of `state.seating`, checked.
    charters: Charters,
    mesh: MeshId,
    state: HubState,
}

/// What an entry did.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    pub event: Event,
    /// The job that became final, with its settlement.
    pub concluded: Option<Box<Concluded>>,
}

/// What happened, for observers and for the roles that wait for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Accepted now, or known already.
    Submitted {
        job: JobId,
        known: bool,
    },
    Started {
        job: JobId,
    },
    /// The agent's chain is one link longer; `credited` of its shards count.
    Attested {
        job: JobId,
        agent: NodeId,
        seq: u64,
        credited: u64,
    },
    /// So many batches have their leaves drawn.
    Revealed {
        batches: u64,
    },
    /// A member's turn at the beacon went by.
    Passed,
    Judged {
        job: JobId,
    },
    /// So many batches no longer count, the last ones of the record's list, on this agent's account; the job goes on
    /// without them.
    SetAside {
        job: JobId,
        agent: NodeId,
        batches: u64,
    },
    Voted {
        job: JobId,
    },
    StageOpened {
        job: JobId,
        stage: u64,
    },
    Finished {
        job: JobId,
    },
    /// Who belongs to the mesh has changed.
    Enrolment(Change),
    /// Somebody wants another charter; so many want the same.
    Consented {
        count: u64,
    },
    /// Others sit in the hub.
    Seated,
}

impl Event {
    /// The job it is about; none if it is about all of them.
    pub fn job(&self) -> Option<JobId> {
        Some(match self {
            Event::Submitted { job, .. }
            | Event::Started { job }
            | Event::Attested { job, .. }
            | Event::Judged { job }
            | Event::SetAside { job, .. }
            | Event::Voted { job }
            | Event::StageOpened { job, .. }
            | Event::Finished { job } => *job,
            Event::Revealed { .. }
            | Event::Passed
            | Event::Enrolment(_)
            | Event::Consented { .. }
            | Event::Seated => return None,
        })
    }
}

/// Why an entry changed nothing but the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    #[error("{0}")]
    Submission(#[from] AdmissionError),
    #[error("{0}")]
    Attestation(#[from] AttestationRefused),
    #[error("{0}")]
    Reveal(#[from] RevealRefused),
    #[error("{0}")]
    Verdict(#[from] VerdictRefused),
    #[error("{0}")]
    Vote(#[from] VoteRefused),
    #[error("{0}")]
    Discard(#[from] NoSuchBatch),
    #[error("{0}")]
    Cancellation(#[from] CancelRefused),
    #[error("{0}")]
    Enrolment(#[from] EnrolmentRefused),
    #[error("{0}")]
    Seat(#[from] SeatRefused),
    #[error("job {0} is not open")]
    NotOpen(JobId),
    #[error("job {job} has not timed out: log time is {now_ms} ms")]
    NotTimedOut { job: JobId, now_ms: u64 },
    #[error("{0}")]
    OutOfOrder(#[from] Gap),
}

impl Hub {
    /// The state before the first entry.
    pub fn new(genesis: Genesis) -> Hub {
        let anchor = |m: &forgemesh_protocol::genesis::HubMember| {
            (m.key.id(), Beacon { revealed: 0, value: m.beacon_anchor })
        };
        let state = HubState {
            next: 0,
            term: 0,
            now_ms: 0,
            open: BTreeMap::new(),
            seen: BTreeMap::new(),
            chains: BTreeMap::new(),
            beacons: genesis.hub.iter().map(anchor).collect(),
            passed: 0,
            waiting_since_ms: None,
            ledger_len: 0,
            ledger_head: Hash::ZERO,
            enrolment: Enrolment::default(),
            seating: Seating::of(&genesis),
            consents: BTreeMap::new(),
        };
        Hub { mesh: genesis.mesh_id(), charters: Charters::new(genesis), state }
    }

    /// The state a snapshot holds.
    pub fn restore(genesis: Genesis, snapshot: &[u8]) -> Result<Hub, RestoreError> {
        let state: HubState = canon::from_bytes(snapshot, limits::SNAPSHOT_BYTES)?;
        // What is derived from an open job takes it as admission made it.
        for (id, record) in &state.open {
            let refused = |why: String| RestoreError::Job { job: *id, why };
            let job =
                Job::of_contract(record.contract.clone()).map_err(|error| refused(error.to_string()))?;
            record.is_of(&job).map_err(|foreign| refused(foreign.to_string()))?;
            if record.id != *id || record.state.is_final() {
                return Err(refused("it is another job, or none that is open".to_owned()));
            }
        }
        Ok(Hub { mesh: genesis.mesh_id(), charters: state.seating.charters(genesis)?, state })
    }

    /// The bytes of a snapshot.
    pub fn snapshot(&self) -> Vec<u8> {
        canon::to_bytes(&self.state)
    }

    /// The replicated state.
    pub fn state(&self) -> &HubState {
        &self.state
    }

    /// The mesh's genesis.
    pub fn genesis(&self) -> &Genesis {
        self.charters.genesis()
    }

    /// Who may make up the hub, from the genesis to the charter in force.
    pub fn charters(&self) -> &Charters {
        &self.charters
    }

    /// Who makes it up.
    pub fn seated(&self) -> &[NodeId] {
        &self.state.seating.seated
    }

    /// The mesh's id.
    pub fn mesh(&self) -> MeshId {
        self.mesh
    }

    /// An open job.
    pub fn job(&self, id: &JobId) -> Option<&JobRecord> {
        self.state.open.get(id)
    }

    /// The agent's last link in the log.
    pub fn chain(&self, agent: &NodeId) -> ChainHead {
        self.state.chains.get(agent).copied().unwrap_or(ChainHead::EMPTY)
    }

    /// Is this the next entry?
    ///
    /// # Errors
    /// If it is not: what was applied without the entries between would be another state than the mesh's.
    pub fn expect(&self, index: u64) -> Result<(), Gap> {
        let due = self.state.next;
        if index == due { Ok(()) } else { Err(Gap { due, found: index }) }
    }

    /// Takes note of an entry that is the log's own.
    ///
    /// # Errors
    /// If it is not the next one; nothing has changed then.
    pub fn pass_over(&mut self, index: u64, term: u64) -> Result<(), Gap> {
        self.expect(index)?;
        self.state.next = index + 1;
        self.state.term = self.state.term.max(term);
        Ok(())
    }

    /// Applies the next entry. A rejected entry stays in the log and changes nothing but log time.
    pub fn apply(&mut self, entry: &Entry) -> Result<Applied, Rejected> {
        self.expect(entry.index)?;
        self.state.next += 1;
        self.state.term = self.state.term.max(entry.term);
        self.state.now_ms = self.state.now_ms.max(entry.at_ms);
        match &entry.command {
            Command::Submit { submission } => self.submit(submission),
            Command::Start { job } => self.start(job),
            Command::Attest { attestation } => self.attest(entry.index, attestation),
            Command::Reveal { member, value } => self.reveal(entry.index, member, value),
            Command::Pass { member } => self.pass(member),
            Command::Judge { verdict } => self.judge(verdict),
            Command::Vote { vote } => self.vote(vote),
            Command::Discard { job, attestation } => self.discard(job, attestation),
            Command::Cancel { cancellation } => self.cancel(cancellation),
            Command::Fail { job, failure } => self.fail(job, failure),
            Command::Invite { invitation } => {
                self.enrolment(|e, charters, now_ms| e.invite(invitation, charters, now_ms))
            }
            Command::Withdraw { withdrawal } => {
                self.enrolment(|e, charters, _| e.withdraw(withdrawal, charters))
            }
            Command::Enrol { join } => {
                self.enrolment(|e, charters, now_ms| e.enrol(join, charters.mesh(), now_ms, entry.index))
            }
            Command::Expel { expulsion } => self.enrolment(|e, charters, _| e.expel(expulsion, charters)),
            Command::Consent { charter } => self.consent(charter),
            Command::Seat { charter, seated } => self.seat(charter, seated, entry.index),
        }
    }

    /// Changes who belongs to the mesh.
    fn enrolment(
        &mut self,
        step: impl FnOnce(&mut Enrolment, &Charters, u64) -> Result<Change, EnrolmentRefused>,
    ) -> Result<Applied, Rejected> {
        let change = step(&mut self.state.enrolment, &self.charters, self.state.now_ms)?;
        Ok(Applied::event(Event::Enrolment(change)))
    }

    /// May this node work in the mesh?
    pub fn admits(&self, node: &NodeId) -> bool {
        self.state.enrolment.admits(node, &self.charters)
    }

    /// To which organization does this node belong?
    pub fn organization(&self, node: &NodeId) -> Option<&Organization> {
        self.state.enrolment.organization(node, &self.charters)
    }

    fn submit(&mut self, submission: &Signed<Submission>) -> Result<Applied, Rejected> {
        let id = submission.job_id(self.mesh);
        // The id does not cover the signature: who repeats a submission must have signed it, too.
        submission.verify(self.mesh).map_err(AdmissionError::Signature)?;
        if self.state.seen.contains_key(&id) {
            return Ok(Applied::event(Event::Submitted { job: id, known: true }));
        }
        let now_ms = self.state.now_ms;
        let (job, terms) = admission::read(&submission.body, now_ms)?;
        if self.state.open.len() >= limits::OPEN_JOBS {
            return Err(AdmissionError::TooManyOpen.into());
        }
        let remembered = self.state.seen.values().filter(|expires_ms| **expires_ms > now_ms).count();
        if remembered >= limits::NONCES {
            return Err(AdmissionError::TooManyNonces.into());
        }
        // Only now: a refused entry changes nothing.
        self.state.seen.retain(|_, expires_ms| *expires_ms > now_ms);
        let plan = job.plan().clone();
        let first = plan.stages.first().expect("invariant: every plan has a stage").clone();
        let mut record = JobRecord {
            id,
            submission: submission.clone(),
            contract: job.contract().clone(),
            terms,
            plan,
            state: State::Pending,
            accepted_ms: now_ms,
            runs: vec![StageRun { number: 0, stage: first, input: None }],
            attested: ShardSet::default(),
            batches: Vec::new(),
            votes: Vec::new(),
            convicted: Vec::new(),
            set_aside: Vec::new(),
        };
        record.advance(State::Planned);
        self.state.seen.insert(id, submission.body.expires_ms);
        self.state.open.insert(id, record);
        Ok(Applied::event(Event::Submitted { job: id, known: false }))
    }

    fn start(&mut self, id: &JobId) -> Result<Applied, Rejected> {
        let job = self.state.open.get_mut(id).ok_or(Rejected::NotOpen(*id))?;
        if job.state == State::Planned {
            job.advance(State::Running);
        }
        Ok(Applied::event(Event::Started { job: *id }))
    }

    fn attest(&mut self, index: u64, signed: &Signed<Attestation>) -> Result<Applied, Rejected> {
        let attestation = &signed.body;
        let head = self.chain(&attestation.agent);
        adjudicate::check_chain(signed, &self.charters, &head)?;
        if !self.admits(&attestation.agent) {
            return Err(AttestationRefused::NotAdmitted.into());
        }
        // From here on the chain is longer, whether or not any shard counts.
        let digest = forgemesh_protocol::keys::Signable::digest(attestation);
        self.state.chains.insert(attestation.agent, ChainHead { seq: attestation.seq, digest });
        let waited = self.state.waiting_since_ms.is_some() && self.awaits_reveal();
        let (charters, now_ms) = (&self.charters, self.state.now_ms);
        let mut credited = Vec::new();
        if let Some(job) = self.state.open.get_mut(&attestation.job) {
            let leases = adjudicate::valid_leases(attestation, job, charters, now_ms);
            for shard in attestation.shards.iter() {
                if adjudicate::check_shard(attestation, shard, job, &leases).is_ok() {
                    credited.push(shard);
                }
            }
            credited.iter().for_each(|&shard| {
                job.attested.insert(shard);
            });
            if !credited.is_empty() {
                if job.state == State::Planned {
                    job.advance(State::Running);
                }
                job.batches.push(Batch {
                    attestation: signed.clone(),
                    digest,
                    logged: index,
                    credited: credited.iter().copied().collect(),
                    reveal: None,
                    unable: 0,
                    verdict: None,
                });
                if !waited && job.terms.policy.verify != Verify::None {
                    self.state.waiting_since_ms = Some(now_ms);
                }
                move_on(job);
            }
        }
        let (job, agent, seq) = (attestation.job, attestation.agent, attestation.seq);
        Ok(Applied::event(Event::Attested { job, agent, seq, credited: credited.len() as u64 }))
    }

    fn judge(&mut self, signed: &Signed<Verdict>) -> Result<Applied, Rejected> {
        let verdict = &signed.body;
        let job = self.state.open.get_mut(&verdict.job).ok_or(VerdictRefused::NotAwaited)?;
        let at = job.batches.iter().position(|batch| batch.digest == verdict.attestation);
        let at = at.ok_or(VerdictRefused::NotAwaited)?;
        adjudicate::check_verdict(signed, job, &job.batches[at], &self.charters)?;
        if verdict.outcome == CheckOutcome::Unable {
            job.batches[at].unable += 1;
            if job.batches[at].unable < limits::CHECK_ATTEMPTS {
                return Ok(Applied::event(Event::Judged { job: verdict.job }));
            }
            let detail = format!("{} attempts to check a batch checked nothing", limits::CHECK_ATTEMPTS);
            return Ok(self.finish(verdict.job, Err(Failure::new(FailureCode::CheckUnable, detail))));
        }
        job.batches[at].verdict = Some(Box::new(signed.clone()));
        let agent = job.batches[at].attestation.body.agent;
        match verdict.outcome {
            CheckOutcome::Agreed | CheckOutcome::Unable => {
                move_on(job);
                Ok(Applied::event(Event::Judged { job: verdict.job }))
            }
            CheckOutcome::Unopened => Ok(self.set_aside(verdict.job, agent, |batch| {
                (batch.digest == verdict.attestation).then_some(Reason::Unopened)
            })),
            CheckOutcome::Differs => {
                // The checker is a hub member, whose recomputation decides: the dispute ends in the same step.
                job.advance(State::Disputed);
                job.convicted.push(agent);
                Ok(self.set_aside(verdict.job, agent, |batch| {
                    let same = batch.attestation.body.agent == agent;
                    let this = batch.digest == verdict.attestation;
                    same.then_some(if this { Reason::False } else { Reason::Convicted })
                }))
            }
        }
    }

    /// Sets batches of an open job aside; ends it, if that has happened too often.
    fn set_aside(&mut self, id: JobId, agent: NodeId, reason: impl Fn(&Batch) -> Option<Reason>) -> Applied {
        let job = self.state.open.get_mut(&id).expect("invariant: the caller has just looked it up");
        let before = job.set_aside.len();
        job.set_aside(reason);
        let batches = (job.set_aside.len() - before) as u64;
        if job.incidents() > limits::SET_ASIDE {
            let detail = format!("batches were set aside more than {} times", limits::SET_ASIDE);
            return self.finish(id, Err(Failure::new(FailureCode::AttemptsExhausted, detail)));
        }
        Applied::event(Event::SetAside { job: id, agent, batches })
    }

    fn discard(&mut self, id: &JobId, attestation: &Hash) -> Result<Applied, Rejected> {
        let job = self.state.open.get(id).ok_or(Rejected::NotOpen(*id))?;
        let found = job.batches.iter().find(|batch| batch.digest == *attestation).ok_or(NoSuchBatch)?;
        let agent = found.attestation.body.agent;
        Ok(self.set_aside(*id, agent, |batch| (batch.digest == *attestation).then_some(Reason::Lost)))
    }

    fn cancel(&mut self, signed: &Signed<Cancellation>) -> Result<Applied, Rejected> {
        let id = signed.body.job;
        signed.verify(self.mesh).map_err(CancelRefused::Signature)?;
        let job = self.state.open.get(&id).ok_or(Rejected::NotOpen(id))?;
        if job.submission.key != signed.key {
            return Err(CancelRefused::NotTheSubmitter.into());
        }
        Ok(self.finish(id, Err(Failure::new(FailureCode::Cancelled, "by its submitter"))))
    }

    fn fail(&mut self, id: &JobId, failure: &Failure) -> Result<Applied, Rejected> {
        let now_ms = self.state.now_ms;
        let job = self.state.open.get(id).ok_or(Rejected::NotOpen(*id))?;
        if failure.code == FailureCode::TimedOut {
            let timeout_ms = job.terms.policy.timeout_ms;
            if timeout_ms == 0 || now_ms < job.accepted_ms.saturating_add(timeout_ms) {
                return Err(Rejected::NotTimedOut { job: *id, now_ms });
            }
        }
        Ok(self.finish(*id, Err(failure.clone())))
    }

    fn finish(&mut self, id: JobId, outcome: Result<FinalResult, Failure>) -> Applied {
        let mut job = self.state.open.remove(&id).expect("invariant: the caller has just looked it up");
        job.advance(if outcome.is_ok() { State::Finalized } else { State::Failed });
        let at = settle::Place {
            seq: self.state.ledger_len,
            prev: self.state.ledger_head,
            at_ms: self.state.now_ms,
        };
        let concluded = settle::settle(job, outcome, &self.charters, at);
        self.state.ledger_len += 1;
        self.state.ledger_head = concluded.job.entry.hash();
        Applied { event: Event::Finished { job: id }, concluded: Some(Box::new(concluded)) }
    }
}

/// An entry that is not the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("entry {found} of the hub's log came where entry {due} is due")]
pub struct Gap {
    pub due: u64,
    pub found: u64,
}

/// Why a snapshot does not become a machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    #[error("{0}")]
    Canon(#[from] CanonError),
    #[error("{0}")]
    Charter(#[from] CharterError),
    #[error("open job {job}: {why}")]
    Job { job: JobId, why: String },
}

impl Applied {
    fn event(event: Event) -> Applied {
        Applied { event, concluded: None }
    }

    /// The job that became final.
    pub fn finished(&self) -> Option<&FinishedJob> {
        self.concluded.as_ref().map(|concluded| &concluded.job)
    }
}

/// Running → Verifying → Aggregating, as far as the record allows.
fn move_on(job: &mut JobRecord) {
    if job.state == State::Running && job.is_attested() {
        job.advance(State::Verifying);
    }
    if job.state == State::Verifying && job.is_verified() {
        job.advance(State::Aggregating);
    }
}
