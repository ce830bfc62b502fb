//! The hub role: applies what is committed and does what the record says is outstanding. Every member reduces and
//! votes; one of them leads: it proposes, lends, checks, and answers the agents.
//!
//! It keeps only soft state beside the replicated machine. Losing all of it costs time, never a result.

mod arrivals;
mod ballots;
mod copying;
mod deliveries;
mod evidence;
mod joining;
mod leading;
mod reducing;
mod requests;
mod seating;
mod signing;
mod standing;

use std::collections::{BTreeMap, BTreeSet};

use forgemesh_consensus::command::{Command, Entry};
use forgemesh_consensus::machine::{Applied, Event, Gap, Hub, Rejected, RestoreError};
use forgemesh_consensus::raft::Committed;
use forgemesh_consensus::settle::Concluded;
use forgemesh_consensus::todo::{self, Todo};
use forgemesh_protocol::canon::Bytes;
use forgemesh_protocol::charter::Charters;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::{JobId, NodeId};
use forgemesh_protocol::keys::Signable;
use forgemesh_protocol::limits;
use forgemesh_protocol::state::State;
use forgemesh_protocol::wire::Message;

use self::copying::Copying;
use self::deliveries::Deliveries;
use self::evidence::Evidence;
use self::leading::Lead;
use self::reducing::Reducing;
use self::signing::Signing;
use super::beacon::BeaconChain;
use super::books::{shelve, signed};
use super::fetcher::Fetcher;
use super::gateway::{Matter, Settled};
use super::scheduler::Scheduler;
use super::{AfterStore, Context, Entered, Now, Output, Progress, Queue};
use crate::job_file::{JobFile, UNSIGNED_NAMESPACE};
use crate::lacks;
use joining::refused;

/// What a hub member finds on its disk beside the log.
pub struct Found {
    /// Entries below this index are in a snapshot.
    pub compacted: u64,
    /// Claims of the batches that still have to be checked, by their attestation's digest.
    pub members: BTreeMap<Hash, Bytes>,
    pub beacon: BeaconChain,
    /// Final jobs whose receipts lack signatures.
    pub unsigned: Vec<JobFile>,
}

/// Why a member cannot go on: what it would say from now on would not be what the others say.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Halted {
    #[error(
        "the state that the hub's other members have sent cannot be read: {0}; install the same version of this program as theirs and start the node again"
    )]
    Snapshot(#[from] RestoreError),
    #[error("{0}; start the node again: it reads its log anew, and says so if it is damaged")]
    Gap(#[from] Gap),
    #[error(
        "the books of this node are not those of its log: another member, or an agent, has handed on the first {0} entries in another order; set FORGEMESH_HOME to another folder, join the mesh anew and have that node promoted in the place of this one"
    )]
    Books(u64),
    #[error("the node went on talking to itself, which is a fault of this program; start the node again")]
    Endless,
}

/// A member of the hub.
pub(crate) struct HubRole {
    node: NodeId,
    machine: Hub,
    /// What this node has been told of who may sit, whether its log says so yet or not.
    told: Charters,
    beacon: BeaconChain,
    /// When this member's beacon link was last offered.
    offered_ms: Option<u64>,
    /// Agents, and what is lent to them. Every member knows the agents; only the leader lends.
    scheduler: Scheduler,
    /// What this member does as the leader; none while another leads.
    lead: Option<Lead>,
    reducing: Reducing,
    signing: Signing,
    /// Batches whose blobs are being looked for, by their digest.
    copying: BTreeMap<Hash, Copying>,
    /// Batches that came with all that they claim, and are not logged yet.
    deliveries: Deliveries,
    /// What was delivered for open jobs and is on its way to the disk: the newest batch of each.
    delivered: BTreeMap<JobId, u64>,
    fetcher: Fetcher,
    evidence: Evidence,
    /// Jobs whose outstanding steps may have changed.
    touched: BTreeSet<JobId>,
    disk_low: bool,
    /// Claims of attested batches, until their job is final.
    members: BTreeMap<Hash, Bytes>,
    /// Entries below this index are in a snapshot.
    compacted: u64,
    /// Final jobs whose record is not durable yet.
    unrecorded: u64,
    /// Nodes whose admission is proposed.
    joining: BTreeSet<NodeId>,
    /// It does not sit: nothing but signatures is due.
    rests: bool,
}

impl HubRole {
    pub fn new(machine: Hub, found: Found, node: NodeId, told: Charters) -> Self {
        let Found { compacted, members, beacon, unsigned } = found;
        let mut role = HubRole {
            node,
            told,
            beacon,
            offered_ms: None,
            scheduler: Scheduler::default(),
            lead: None,
            reducing: Reducing::default(),
            signing: Signing::default(),
            copying: BTreeMap::new(),
            deliveries: Deliveries::default(),
            delivered: BTreeMap::new(),
            fetcher: Fetcher::default(),
            evidence: Evidence::default(),
            touched: machine.state().open.keys().copied().collect(),
            disk_low: false,
            members,
            compacted,
            unrecorded: 0,
            joining: BTreeSet::new(),
            rests: false,
            machine,
        };
        role.sign_on(unsigned);
        role
    }

    /// The replicated machine.
    pub fn machine(&self) -> &Hub {
        &self.machine
    }

    /// Entries are committed. What is in the machine already, from this node's own log, is not applied again.
    pub fn committed(&mut self, cx: &mut Context<'_>, entries: &[Committed]) -> Result<(), Halted> {
        for committed in entries {
            if committed.index() < self.machine.state().next {
                continue;
            }
            match committed {
                Committed::Other { index, term } => self.machine.pass_over(*index, *term)?,
                Committed::Entry(entry) => {
                    self.machine.expect(entry.index)?;
                    let applied = self.machine.apply(entry);
                    self.applied(cx, entry, applied);
                }
            }
        }
        Ok(())
    }

    /// The machine is replaced by a later one: what is known of the entries between is lost.
    pub fn restored(&mut self, cx: &mut Context<'_>, state: &[u8]) -> Result<(), Halted> {
        let machine = Hub::restore(self.machine.genesis().clone(), state)?;
        self.compacted = machine.state().next;
        let before = std::mem::replace(&mut self.machine, machine);
        let open = &self.machine.state().open;
        let over = before.state().open.keys().filter(|job| !open.contains_key(job)).copied();
        over.collect::<Vec<JobId>>().iter().for_each(|job| self.forget(job));
        self.copying.clear();
        self.touched = self.machine.state().open.keys().copied().collect();
        self.members.clear();
        self.copy_all(cx);
        Ok(())
    }

    /// A job is over.
    fn forget(&mut self, job: &JobId) {
        self.scheduler.forget(job);
        self.reducing.forget(job);
        self.delivered.remove(job);
        self.fetcher.forget(job);
    }

    fn applied(&mut self, cx: &mut Context<'_>, entry: &Entry, applied: Result<Applied, Rejected>) {
        match (&entry.command, &applied) {
            (Command::Submit { submission }, applied) => {
                let job = submission.job_id(cx.identity.mesh);
                self.settle(cx, Matter::Submission(job), applied.as_ref().err());
            }
            (Command::Cancel { cancellation }, applied) => {
                let matter = Matter::cancellation(&cancellation.body);
                self.settle(cx, matter, applied.as_ref().err());
            }
            (
                Command::Attest { attestation },
                Ok(Applied { event: Event::Attested { credited, .. }, .. }),
            ) => {
                if *credited == 0 {
                    self.leave(attestation);
                } else {
                    self.copy(cx, attestation);
                }
            }
            (Command::Attest { attestation }, _) => self.leave(attestation),
            (Command::Reveal { .. } | Command::Pass { .. } | Command::Seat { .. }, _) => {
                self.offered_ms = None
            }
            (Command::Consent { charter }, applied) => {
                self.settle(cx, Matter::consent(charter), applied.as_ref().err());
            }
            (Command::Enrol { join }, applied) if self.joining.remove(&join.key.id()) => {
                let answer = match applied {
                    Ok(_) => Message::Joined { join: join.body.digest() },
                    Err(reason) => refused(join, &reason.to_string()),
                };
                cx.send(join.key.id(), answer);
            }
            (Command::Invite { invitation }, applied) => {
                self.settle(cx, Matter::Enrolment(invitation.body.digest()), applied.as_ref().err());
            }
            (Command::Withdraw { withdrawal }, applied) => {
                self.settle(cx, Matter::Enrolment(withdrawal.body.digest()), applied.as_ref().err());
            }
            (Command::Expel { expulsion }, applied) => {
                if applied.is_ok() && !self.machine.admits(&expulsion.body.node) {
                    // Whatever it holds is another's now.
                    self.scheduler.reached(&expulsion.body.node, false, cx.now.up_ms);
                }
                self.settle(cx, Matter::Enrolment(expulsion.body.digest()), applied.as_ref().err());
            }
            _ => {}
        }
        self.lead_on(cx, &entry.command, &applied);
        let Ok(applied) = applied else { return };
        self.follow(cx, &applied.event);
        match applied.concluded {
            Some(concluded) => self.record(cx, *concluded),
            None => applied.event.job().into_iter().for_each(|job| self.report(cx, job)),
        }
    }

    /// A request's entry was applied: who asked for it hears of it, on this node or elsewhere.
    fn settle(&mut self, cx: &mut Context<'_>, matter: Matter, refused: Option<&Rejected>) {
        let outcome = refused.cloned().map_or(Ok(()), Err);
        if let Some(lead) = &mut self.lead {
            let text = refused.map(ToString::to_string);
            let askers = lead.requests.settled(&matter);
            for asker in askers.into_iter().filter(|asker| *asker != self.node) {
                cx.send(asker, matter.answer(text.clone()));
            }
        }
        cx.replies.push_back(Settled { matter, outcome });
    }

    /// Notes what an event changes in the soft state.
    fn follow(&mut self, cx: &mut Context<'_>, event: &Event) {
        self.scheduler.touch();
        match event.job() {
            Some(job) => drop(self.touched.insert(job)),
            None => self.touched.extend(self.machine.state().open.keys()),
        }
        if let Event::SetAside { job, agent, batches } = event {
            self.lent_in_vain(cx, job, *agent, *batches);
        }
    }

    fn report(&self, cx: &mut Context<'_>, id: JobId) {
        let Some(job) = self.machine.job(&id) else { return };
        let run = job.run();
        let done = job.attested.len() * run.stage.leaves_per_shard;
        let before = if job.runs.len() > 1 { run.stage.first_leaf } else { 0 };
        cx.out.push(Output::Progress(Progress {
            job: id,
            state: job.state,
            stage: run.number,
            done_leaves: before + done.min(run.stage.leaves),
            leaves: job.plan.leaves(),
            unverified: job.current_batches().filter(|batch| !job.is_settled(batch)).count() as u64,
            recorded: false,
        }));
    }

    /// Writes a final job into the books: record with receipt, ledger entry, pointers.
    fn record(&mut self, cx: &mut Context<'_>, concluded: Concluded) {
        let finished = &concluded.job;
        let (id, state) = (finished.record.id, finished.record.state);
        if self.lead.is_some() {
            // Those that only held some of it hear of it when they attest it.
            for agent in self.scheduler.engaged(&id) {
                cx.send(agent, Message::Over { job: id });
            }
        }
        self.forget(&id);
        let set_aside = finished.record.set_aside.iter().map(|set_aside| &set_aside.batch);
        for attested in finished.record.batches.iter().chain(set_aside) {
            self.members.remove(&attested.digest);
            self.copying.remove(&attested.digest);
        }
        self.unrecorded += 1;
        let progress = Progress {
            job: id,
            state,
            stage: finished.record.run().number,
            done_leaves: finished.result.as_ref().map_or(finished.record.plan.leaves(), |r| r.stop_leaf),
            leaves: finished.record.plan.leaves(),
            unverified: 0,
            recorded: true,
        };
        cx.out.push(Output::Progress(Progress { recorded: false, ..progress.clone() }));
        let mut file = signed(concluded, self.machine.charters(), &cx.identity.secret);
        let signed = self.sign(cx, &mut file, &progress);
        let mut batch = shelve(&file);
        if !signed {
            batch.put_kv(UNSIGNED_NAMESPACE, &id.to_string(), Vec::new());
        }
        let after = AfterStore::Recorded(signed.then(|| Box::new(progress)));
        cx.finished.push(Entered::Final { finished: Box::new(file.finished), batch, after });
    }

    /// A final job is in the books; `progress`, if its receipt is complete.
    pub fn recorded(&mut self, cx: &mut Context<'_>, progress: Option<Box<Progress>>) {
        self.unrecorded -= 1;
        cx.out.extend(progress.map(|progress| Output::Progress(*progress)));
    }

    /// Takes up whatever is outstanding and not under way.
    pub fn advance(&mut self, cx: &mut Context<'_>) {
        self.deliveries.expire(cx.now.up_ms);
        self.rests = !cx.sits() && self.lead.is_none();
        if self.rests {
            // Who stands by, or catches up, keeps the log and what follows from it, and does nothing else.
            self.collect(cx);
            return self.compact(cx);
        }
        self.lead_before(cx);
        let ppm = self.machine.genesis().parameters.spotcheck_ppm;
        for id in std::mem::take(&mut self.touched) {
            let todos = self.machine.job(&id).map(|job| todo::outstanding(job, ppm)).unwrap_or_default();
            for todo in todos {
                let taken_up = match todo {
                    Todo::Reduce { job, .. } => self.reduce(cx, job),
                    Todo::Check { job, attestation, leaves, .. } => self.check(cx, job, attestation, leaves),
                };
                if !taken_up {
                    self.touched.insert(id);
                }
            }
            self.log_votes(cx, &id, None);
        }
        self.offer_link(cx);
        self.lead_after(cx);
        self.vote_again(cx);
        self.collect(cx);
        self.fetch(cx);
        self.complete(cx);
        self.compact(cx);
    }

    /// Offers this member's next beacon link, if it is due and a batch waits for it.
    fn offer_link(&mut self, cx: &mut Context<'_>) {
        let member = self.machine.beacon_member();
        if member != self.node || !self.machine.awaits_reveal() {
            self.offered_ms = None;
            return;
        }
        if self.offered_ms.is_some_and(|at_ms| cx.now.up_ms < at_ms + limits::RETRY_MS) {
            return;
        }
        let revealed = self.machine.state().beacons.get(&member).map_or(0, |beacon| beacon.revealed);
        match self.beacon.next(revealed) {
            Some(value) => {
                self.offered_ms = Some(cx.now.up_ms);
                cx.send_leader(Message::Reveal { value });
            }
            None => self.without_links(cx),
        }
    }

    /// Nodes are gone, and one is back: what is lent to those goes to others.
    pub fn reach(&mut self, gone: &[NodeId], back: Option<&NodeId>, up_ms: u64) {
        gone.iter().for_each(|node| self.scheduler.reached(node, false, up_ms));
        back.into_iter().for_each(|node| self.scheduler.reached(node, true, up_ms));
    }

    /// The disk has too little room for new work, or has room again.
    pub fn disk_low(&mut self, low: bool) {
        self.disk_low = low;
    }

    /// Is there too little room for new work?
    pub fn is_disk_low(&self) -> bool {
        self.disk_low
    }

    /// Does this member lead?
    pub fn leads(&self) -> bool {
        self.lead.is_some()
    }

    /// What waits here, and how much may.
    pub fn queues(&self) -> Vec<Queue> {
        let state = self.machine.state();
        let agents = self.scheduler.agents() as u64;
        let pending = limits::PENDING_BATCHES as u64;
        let (intake, checks) =
            self.lead.as_ref().map_or((0, 0), |lead| (lead.intake.len() as u64, lead.checking.len() as u64));
        vec![
            Queue::new("hub: open jobs", state.open.len() as u64, limits::OPEN_JOBS as u64),
            Queue::new("hub: agents", agents, limits::AGENTS as u64),
            Queue::new("hub: attestations not logged", intake, (agents + 1) * pending),
            Queue::new("hub: checks", checks, limits::CHECKS as u64),
            Queue::new("hub: batches delivered", self.deliveries.len() as u64, limits::DELIVERIES as u64),
            Queue::new(
                "hub: blobs wanted",
                self.fetcher.len() as u64,
                state.open.len() as u64 * limits::STAGE_SHARDS,
            ),
            Queue::new(
                "hub: evidence wanted",
                self.evidence.fetcher.len() as u64,
                (lacks::MOST + limits::BATCH_SHARDS) as u64,
            ),
        ]
    }

    /// Replaces a long log by a snapshot, once everything that follows from it is in the books.
    fn compact(&mut self, cx: &mut Context<'_>) {
        let next = self.machine.state().next;
        if next - self.compacted >= limits::LOG_ENTRIES && self.unrecorded == 0 {
            self.compacted = next;
            cx.out.push(Output::Snapshot { index: next - 1, state: self.machine.snapshot() });
        }
    }

    /// In how many milliseconds something is due.
    pub fn next_deadline(&self, now: Now) -> u64 {
        if self.rests {
            return self.signing.next_deadline(now.up_ms);
        }
        let offer = self.offered_ms.map(|at_ms| (at_ms + limits::RETRY_MS).saturating_sub(now.up_ms));
        offer
            .unwrap_or(u64::MAX)
            .min(self.lead_deadline(now))
            .min(self.reducing.next_deadline(now.up_ms))
            .min(self.signing.next_deadline(now.up_ms))
            .min(self.fetcher.next_deadline(now.up_ms))
            .min(self.evidence_deadline(now))
    }

    /// A job that is open and in this state.
    fn is_in(&self, job: &JobId, state: State) -> bool {
        self.machine.job(job).is_some_and(|record| record.state == state)
    }

    /// Who may have the blobs of a batch of `agent`'s, this node aside.
    fn sources(
        &self,
        cx: &Context<'_>,
        agent: NodeId,
        others: impl IntoIterator<Item = NodeId>,
    ) -> Vec<NodeId> {
        let mut sources: Vec<NodeId> = Vec::new();
        let members = cx.members.iter().copied();
        for node in cx.leader.into_iter().chain([agent]).chain(members).chain(others) {
            if node != cx.identity.node && !sources.contains(&node) {
                sources.push(node);
            }
        }
        sources
    }
}
