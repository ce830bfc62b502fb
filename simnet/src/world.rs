//! Runs a scenario: builds the machines, lets clients ask and faults strike, heals the world, waits for progress, and
//! has the end audited by a stranger.

use std::any::Any;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use forgemesh_consensus::raft::{self, Failure};
use forgemesh_consensus::settle;
use forgemesh_node::boot::{self, BootError};
use forgemesh_node::core::hub::Halted;
use forgemesh_node::core::{Reply, Request};
use forgemesh_node::job_file::JobFile;
use forgemesh_protocol::canon::CanonError;
use forgemesh_protocol::genesis::Genesis;
use forgemesh_protocol::id::JobId;
use forgemesh_protocol::keys::SecretKey;
use forgemesh_protocol::problem::Problems;
use forgemesh_storage::{CommitError, OpenError, ReadError, Storage};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{Duration, Instant, interval_at, sleep_until};

use crate::client::Client;
use crate::disk::Unsynced;
use crate::draws::Draws;
use crate::faults::Class;
use crate::invariants::Moment;
use crate::known::Known;
use crate::limits;
use crate::machine::{Ground, Machine, Make};
use crate::memo;
use crate::operators::Operators;
use crate::readers::Reader;
use crate::report::{FaultCount, JobReport, Report};
use crate::scenario::Scenario;
use crate::switchboard::Switchboard;
use crate::trace::Trace;
use crate::witness::{Violation, Witness};

/// What the clock calls the start: 2026-01-01, in milliseconds since 1970.
pub const EPOCH_MS: u64 = 1_767_225_600_000;
/// Between two questions about a node's queues.
const PROBE: Duration = Duration::from_secs(10);
/// Between two looks for the evidence that is still on its way.
const LOOK: Duration = Duration::from_secs(1);
/// Who looks at what the hub's members know.
const READERS: usize = 2;
/// Clients with keys of their own.
const CLIENTS: usize = 4;

/// Why a simulation did not come to its end, or which invariant did not hold.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    #[error("{}: {}", .0.invariant, .0.detail)]
    Invariant(Violation),
    #[error("a node or the simulator panicked: {0}")]
    Panicked(String),
    #[error("the process would have been ended by a panic within a panic")]
    Aborted,
    #[error("the runtime: {0}")]
    Runtime(#[from] std::io::Error),
    #[error("an envelope of the scenario: {0}")]
    Envelope(#[from] Problems),
    #[error("a disk in good order: {0}")]
    Open(#[from] OpenError),
    #[error("a disk in good order: {0}")]
    Read(#[from] ReadError),
    #[error("a node did not come to life: {0}")]
    Boot(#[from] BootError),
    #[error("a store refused a batch: {0}")]
    Refused(CommitError),
    #[error("the replica of machine {machine}: {failure}")]
    Replica { machine: usize, failure: Failure },
    #[error("machine {machine}: {halted}")]
    Halted { machine: usize, halted: Halted },
    #[error("the node of machine {machine} ended for a disk that has failed in nothing")]
    Unprovoked { machine: usize },
    #[error("the disk of machine {machine} is damaged and was never harmed: {detail}")]
    Damaged { machine: usize, detail: String },
    #[error("the log has what no restarted node can read: {0}")]
    Log(CanonError),
    #[error("a client was told {0}")]
    Answer(String),
    #[error("the record of job {job} cannot be read: {detail}")]
    Record { job: String, detail: String },
    #[error("the oracle cannot execute job {job}: {detail}")]
    Oracle { job: JobId, detail: String },
}

impl Broken {
    /// What a panic left.
    pub fn of_panic(panic: &(dyn Any + Send)) -> Broken {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Broken::Panicked(text.unwrap_or_default())
    }

    /// By what a shortened scenario must fail, too.
    pub fn kind(&self) -> String {
        match self {
            Broken::Invariant(violation) => violation.invariant.to_owned(),
            Broken::Panicked(_) => "panic".to_owned(),
            other => {
                let text = format!("{other:?}");
                text.split(['(', ' ', '{']).next().unwrap_or_default().to_owned()
            }
        }
    }
}

/// Runs `scenario` in this thread, in virtual time, and audits the end.
pub fn run(scenario: &Scenario) -> Result<Report, Broken> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    let local = LocalSet::new();
    raft::seed(scenario.seed);
    runtime.block_on(local.run_until(simulate(scenario)))
}

/// A world under way.
struct World {
    ground: Ground,
    machines: Rc<Vec<Machine>>,
    /// Machines, faults and the clock of invariants: none of them ends before the world.
    tasks: JoinSet<Result<(), Broken>>,
    clients: JoinSet<Result<(), Broken>>,
    heartbeats: Rc<std::cell::Cell<u64>>,
}

async fn simulate(scenario: &Scenario) -> Result<Report, Broken> {
    let mut world = World::build(scenario)?;
    let heal = world.ground.trace.started() + Duration::from_millis(scenario.heal_ms() + 1);
    world.until(sleep_until(heal)).await?;
    world.heal();
    let deadline = Instant::now() + Duration::from_millis(limits::PROGRESS_MS);
    while !world.is_done() && Instant::now() < deadline {
        let witness = world.ground.witness.clone();
        world
            .until(async {
                tokio::select! {
                    biased;
                    () = witness.changed() => {}
                    () = sleep_until(deadline) => {}
                }
            })
            .await?;
    }
    let deadline = Instant::now() + Duration::from_millis(limits::EVIDENCE_MS);
    while world.is_done() && Instant::now() < deadline && !world.has_evidence()? {
        world.until(sleep_until(Instant::now() + LOOK)).await?;
    }
    world.finish(scenario).await
}

impl World {
    fn build(scenario: &Scenario) -> Result<World, Broken> {
        let (seed, envelopes) = (scenario.seed, scenario.envelopes()?);
        let mut keys = Draws::new(seed, "keys");
        let secrets: Vec<SecretKey> =
            (0..scenario.machines.max(1)).map(|_| SecretKey::from_bytes(&keys.bytes())).collect();
        let clients: Vec<SecretKey> = (0..CLIENTS).map(|_| SecretKey::from_bytes(&keys.bytes())).collect();
        let genesis = founded(&secrets[..scenario.hubs.clamp(1, secrets.len())]);
        let liars = scenario.liars.iter().map(|(machine, _)| secrets[*machine].public().id());
        let known = Known { liars: liars.collect(), ..Known::default() };
        let nodes = secrets.iter().map(|secret| secret.public().id()).collect();
        let witness = Witness::new(genesis.clone(), nodes, known);
        let (trace, board) = (Trace::start(), Switchboard::new(seed));
        let ground = Ground { seed, genesis, board, trace, witness };
        let machine = |(number, secret): (usize, &SecretKey)| {
            let misdeed =
                scenario.liars.iter().find(|(liar, _)| *liar == number).map(|(_, misdeed)| *misdeed);
            let is_member = ground.genesis.member(&secret.public()).is_some();
            let bug = scenario.bug.filter(|bug| bug.is_of_agents() != is_member);
            let stands = number >= scenario.hubs && number < scenario.hubs + scenario.standbys;
            let stand = stands.then_some(limits::BEACON_LINKS);
            let is_member = is_member || stands;
            Machine::new(
                Make { number, secret: secret.clone(), stand, misdeed, bug, is_member },
                ground.clone(),
            )
        };
        let machines: Result<Vec<Machine>, OpenError> = secrets.iter().enumerate().map(machine).collect();
        let machines = Rc::new(machines?);
        let (mut tasks, mut asking) = (JoinSet::new(), JoinSet::new());
        // Faults first: who is away from the beginning is not switched on.
        tasks.spawn_local(strike(scenario.clone(), Rc::clone(&machines), ground.clone()));
        for machine in machines.iter() {
            tasks.spawn_local(machine.clone().live());
        }
        for machine in machines.iter() {
            tasks.spawn_local(probe(machine.clone(), ground.clone()));
        }
        for number in 0..READERS {
            let reader = Reader { number, members: scenario.hubs + scenario.standbys };
            tasks.spawn_local(reader.read(Rc::clone(&machines), ground.clone()));
        }
        if scenario.standbys > 0 {
            let operators = Operators {
                at_ms: scenario.admitted_ms,
                members: secrets[..scenario.hubs].to_vec(),
                standbys: founded(&secrets[scenario.hubs..scenario.hubs + scenario.standbys]).hub,
            };
            tasks.spawn_local(operators.admit(Rc::clone(&machines), ground.clone()));
        }
        let heartbeats = Rc::default();
        tasks.spawn_local(beat(Rc::clone(&heartbeats), Rc::clone(&machines), ground.clone()));
        for (number, (arrival, envelope)) in scenario.jobs.iter().zip(envelopes).enumerate() {
            let secret = clients[number % CLIENTS].clone();
            let (at_ms, cancel_ms) = (arrival.at_ms, arrival.cancel_ms);
            let client = Client { number, at_ms, cancel_ms, envelope, secret };
            asking.spawn_local(client.ask(Rc::clone(&machines), ground.clone()));
        }
        Ok(World { ground, machines, tasks, clients: asking, heartbeats })
    }

    /// Runs the world until `moment` comes, or something is broken.
    async fn until(&mut self, moment: impl Future<Output = ()>) -> Result<(), Broken> {
        tokio::pin!(moment);
        loop {
            let step = tokio::select! {
                biased;
                () = self.ground.witness.violated() => Ok(false),
                Some(ended) = self.tasks.join_next() => ended.map_err(panicked).flatten().map(|()| false),
                Some(answer) = self.clients.join_next() => {
                    // It may have been all that was missing.
                    self.ground.witness.answered();
                    answer.map_err(panicked).flatten().map(|()| false)
                }
                () = &mut moment => Ok(true),
            };
            // What an invariant saw explains what broke after it.
            if let Some(violation) = self.ground.witness.violation() {
                return Err(Broken::Invariant(violation));
            }
            if step? {
                return Ok(());
            }
        }
    }

    /// Cuts are lifted, links are fair, every process runs, disks have room. Whoever was away is back by now.
    fn heal(&self) {
        self.ground.board.heal();
        for machine in self.machines.iter() {
            machine.gate().open();
            machine.heal();
        }
        self.ground.trace.step("healed", 0, forgemesh_protocol::hash::Hash::ZERO);
    }

    fn is_done(&self) -> bool {
        self.clients.is_empty() && self.ground.witness.unfinished().is_empty()
    }

    /// Do the members in good order that sit have what their receipts stand on?
    fn has_evidence(&self) -> Result<bool, Broken> {
        let sound = self.ground.witness.sound();
        let alive: Option<Vec<(usize, Arc<Storage>)>> =
            sound.into_iter().map(|number| Some((number, self.machines[number].storage()?))).collect();
        let Some(alive) = alive else { return Ok(false) };
        let storages: Vec<(usize, &Storage)> =
            alive.iter().map(|(number, storage)| (*number, &**storage)).collect();
        Ok(self.ground.witness.missing_evidence(&storages)?.is_none())
    }

    async fn finish(mut self, scenario: &Scenario) -> Result<Report, Broken> {
        let mut unfinished = self.ground.witness.unfinished();
        if !self.clients.is_empty() {
            unfinished.push(format!("{} clients have no answer", self.clients.len()));
        }
        // Everything that ran on the disk goes first; then it is opened as a stranger would.
        self.clients.shutdown().await;
        self.tasks.shutdown().await;
        let witness = &self.ground.witness;
        let open = |number: usize| Ok((number, self.machines[number].disk().after(Unsynced::Lost).open()?));
        let storages: Vec<(usize, Storage)> =
            witness.sound().into_iter().map(open).collect::<Result<_, OpenError>>()?;
        witness.look(Moment::Over { storages: &storages, unfinished: &unfinished });
        if let Some(violation) = witness.violation() {
            return Err(Broken::Invariant(violation));
        }
        let jobs = match storages.first() {
            Some((_, storage)) => jobs(storage, witness)?,
            None => Vec::new(),
        };
        Ok(self.report(scenario, jobs))
    }

    fn report(&self, scenario: &Scenario, jobs: Vec<JobReport>) -> Report {
        let (trace, steps) = self.ground.trace.digest();
        let mut faults = BTreeMap::<Class, FaultCount>::new();
        scenario.faults.iter().for_each(|f| faults.entry(f.what.class()).or_default().scheduled += 1);
        for (class, struck) in self.ground.witness.strikes() {
            faults.entry(class).or_default().struck = struck;
        }
        let mut failed = BTreeMap::new();
        for failure in jobs.iter().filter_map(|job| job.failure.as_ref()) {
            *failed.entry(failure.code.as_str()).or_default() += 1;
        }
        let counts = || self.machines.iter().map(Machine::counts);
        let (ledger, log) = self.ground.witness.lengths();
        Report {
            seed: scenario.seed,
            machines: scenario.machines as u64,
            hubs: scenario.hubs as u64,
            standbys: scenario.standbys as u64,
            virtual_ms: self.ground.trace.elapsed_ms(),
            heartbeats: self.heartbeats.get(),
            submitted: scenario.jobs.len() as u64,
            finalized: jobs.iter().filter(|job| job.result_hash.is_some()).count() as u64,
            failed,
            faults,
            events: self.ground.witness.events(),
            liars: scenario.liars.len() as u64,
            crashes: counts().map(|counts| counts.crashes).sum(),
            disk_errors: counts().map(|counts| counts.disk_errors).sum(),
            replaced_disks: counts().map(|counts| counts.replaced_disks).sum(),
            parcels: self.ground.board.counts(),
            checks: self.ground.witness.checks(),
            log,
            ledger,
            steps,
            trace,
            jobs,
        }
    }
}

/// A mesh whose hub members have these keys.
fn founded(members: &[SecretKey]) -> Genesis {
    boot::found_together(members, "simnet".to_owned(), [7; 16], limits::BEACON_LINKS).0
}

fn panicked(error: tokio::task::JoinError) -> Broken {
    let Ok(panic) = error.try_into_panic() else {
        return Broken::Panicked("a task was cancelled".to_owned());
    };
    Broken::of_panic(&*panic)
}

/// Begins and ends every fault at its time.
async fn strike(scenario: Scenario, machines: Rc<Vec<Machine>>, ground: Ground) -> Result<(), Broken> {
    let begins = scenario.faults.iter().enumerate().map(|(n, fault)| (fault.at_ms, n, true));
    let ends = scenario.faults.iter().enumerate().map(|(n, fault)| (fault.at_ms + fault.for_ms, n, false));
    let mut times: Vec<(u64, usize, bool)> = begins.chain(ends).collect();
    times.sort_by_key(|&(at_ms, number, begins)| (at_ms, number, !begins));
    for (at_ms, number, begins) in times {
        if at_ms > 0 {
            sleep_until(ground.trace.started() + Duration::from_millis(at_ms)).await;
        }
        let fault = &scenario.faults[number];
        if begins {
            ground.trace.step("fault", number as u64, forgemesh_protocol::hash::Hash::ZERO);
            fault.begin(&machines, &ground.board, &ground.witness);
        } else {
            fault.end(&machines, &ground.board);
        }
    }
    Ok(())
}

/// Counts virtual seconds: timers are alive; and has the queues looked at.
async fn beat(
    heartbeats: Rc<std::cell::Cell<u64>>,
    machines: Rc<Vec<Machine>>,
    ground: Ground,
) -> Result<(), Broken> {
    let second = Duration::from_secs(1);
    let mut ticks = interval_at(Instant::now() + second, second);
    loop {
        ticks.tick().await;
        heartbeats.set(heartbeats.get() + 1);
        for machine in machines.iter() {
            let waiting = machine.gauge().read();
            ground.witness.look(Moment::Beat { machine: machine.number(), waiting });
        }
    }
}

/// Asks a node now and then what waits within it.
async fn probe(machine: Machine, ground: Ground) -> Result<(), Broken> {
    let mut ticks = interval_at(Instant::now() + PROBE, PROBE);
    loop {
        ticks.tick().await;
        let (_, handle) = machine.alive(0).await;
        if let Ok(Reply::Queues(queues)) = handle.request(Request::Queues).await {
            ground.witness.look(Moment::Queues { machine: machine.number(), queues: &queues });
        }
    }
}

/// What the books on the disk say of every job, beside what the oracle knows.
fn jobs(storage: &Storage, witness: &Witness) -> Result<Vec<JobReport>, Broken> {
    let (mut out, mut before) = (Vec::new(), None);
    loop {
        let page = storage.jobs(before, 100)?;
        let Some(last) = page.last() else { break };
        before = Some(last.seq);
        for row in page {
            let file = JobFile::decode(&row.record);
            let broken =
                |error: CanonError| Broken::Record { job: row.id.to_string(), detail: error.to_string() };
            let finished = file.map_err(broken)?.finished;
            let job = finished.record.id;
            let oracle =
                memo::result(&finished.record.contract).map_err(|detail| Broken::Oracle { job, detail })?;
            let verification = settle::verification(&finished.record);
            let result_hash = finished.result.as_ref().map(|result| result.result_hash);
            let contract = finished.record.plan.contract;
            let leaves = finished.record.plan.leaves();
            let stopped_early = finished.result.as_ref().is_some_and(|result| result.stop_leaf < leaves);
            let stages = finished.record.runs.len() as u64;
            let by_liar = witness.knows_a_liar_in(&finished.record);
            let failure = finished.failure;
            out.push(JobReport {
                job,
                contract,
                result_hash,
                stages,
                stopped_early,
                failure,
                oracle: oracle.ok(),
                verification,
                by_liar,
            });
        }
    }
    out.reverse();
    Ok(out)
}
