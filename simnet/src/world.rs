//! Runs a scenario and audits what came of it: one real node, its clients, and the oracle that knows better.

use std::cell::Cell;
use std::sync::Arc;

use forgemesh_kernel::accumulator::Accumulator;
use forgemesh_kernel::backend::Isa;
use forgemesh_kernel::job::Job;
use forgemesh_node::boot::{BootError, Membership, Parts, boot};
use forgemesh_node::core::{Rejected, Reply, Request};
use forgemesh_node::driver::{DriverError, Handle};
use forgemesh_node::job_file::JobFile;
use forgemesh_node::real::mesh::Alone;
use forgemesh_protocol::canon::{self, Bytes, CanonError};
use forgemesh_protocol::failure::Failure;
use forgemesh_protocol::genesis::Genesis;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::JobId;
use forgemesh_protocol::keys::{SecretKey, Signed};
use forgemesh_protocol::ledger::LedgerEntry;
use forgemesh_protocol::limits;
use forgemesh_protocol::problem::Problems;
use forgemesh_protocol::receipt::Verification;
use forgemesh_protocol::submission::{Offer, Submission};
use forgemesh_storage::{OpenError, ReadError, Storage};
use serde::Serialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Duration, Instant, interval_at, sleep, sleep_until};

use crate::adversary;
use crate::disk::Disk;
use crate::draws::Draws;
use crate::executor::ModelledExecutor;
use crate::fuse::Fuse;
use crate::scenario::Scenario;
use crate::store::ModelledStore;
use crate::trace::Trace;

/// What the clock calls the start: 2026-01-01, in milliseconds since 1970.
const EPOCH_MS: u64 = 1_767_225_600_000;

/// What came of a scenario.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    pub seed: u64,
    pub virtual_ms: u64,
    /// Ticks of a virtual second that were seen.
    pub heartbeats: u64,
    pub restarts: u64,
    /// Steps of the ports.
    pub steps: u64,
    pub finalized: u64,
    pub failed: u64,
    pub trace: Hash,
    pub jobs: Vec<JobReport>,
}

/// What came of one job.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct JobReport {
    pub job: JobId,
    pub result_hash: Option<Hash>,
    pub failure: Option<Failure>,
    /// What executing the contract here and now gives.
    pub oracle: Hash,
    pub verification: Verification,
}

/// Why a simulation did not come to its end, or which invariant did not hold.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    #[error("the runtime: {0}")]
    Runtime(#[from] std::io::Error),
    #[error("an envelope of the scenario: {0}")]
    Envelope(#[from] Problems),
    #[error("the disk: {0}")]
    Open(#[from] OpenError),
    #[error("the disk: {0}")]
    Read(#[from] ReadError),
    #[error("the node did not come to life: {0}")]
    Boot(#[from] BootError),
    #[error("the node stopped: {0}")]
    Driver(#[from] DriverError),
    #[error("the log has what no restarted node can read: {0}")]
    Log(CanonError),
    #[error("a job was refused: {0}")]
    Refused(Rejected),
    #[error("the node says that it is no hub member")]
    NoHub,
    #[error("job {0} was acknowledged and is lost")]
    Lost(JobId),
    #[error("the record of job {job} cannot be read: {detail}")]
    Record { job: JobId, detail: String },
    #[error("the oracle cannot execute job {job}: {detail}")]
    Oracle { job: JobId, detail: String },
    #[error("job {job} has the result {found}, the oracle has {expected}")]
    WrongResult { job: JobId, found: Hash, expected: Hash },
    #[error("job {job} failed in an honest mesh: {failure}")]
    Blamed { job: JobId, failure: Failure },
    #[error("ledger entry {seq} does not follow the one before it")]
    Ledger { seq: u64 },
    #[error("the ledger has {found} entries for {expected} jobs")]
    LedgerLength { expected: u64, found: u64 },
}

/// A client's job.
struct Wanted {
    at_ms: u64,
    envelope: Vec<u8>,
    submission: Option<Signed<Submission>>,
    accepted: Option<JobId>,
    recorded: bool,
}

/// Runs `scenario` in this thread, in virtual time, and audits the end. With a misdeed the results are reported and
/// not held against the oracle: that is the caller's to judge.
pub fn run(scenario: &Scenario) -> Result<Report, Broken> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    runtime.block_on(simulate(scenario))
}

async fn simulate(scenario: &Scenario) -> Result<Report, Broken> {
    let seed = scenario.seed;
    let trace = Trace::start();
    let mut keys = Draws::new(seed, "keys");
    let (node, client) = (SecretKey::from_bytes(&keys.bytes()), SecretKey::from_bytes(&keys.bytes()));
    let mut wanted = Vec::new();
    for arrival in &scenario.jobs {
        let (job, terms) = Job::read(arrival.envelope.as_bytes())?;
        let envelope = job.envelope(&terms);
        wanted.push(Wanted {
            at_ms: arrival.at_ms,
            envelope,
            submission: None,
            accepted: None,
            recorded: false,
        });
    }
    let mut steps = Draws::new(seed, "fuses");
    let (heartbeats, mut restarts, mut disk) = (Cell::new(0), 0, Disk::default());
    let genesis = loop {
        let storage = Arc::new(Storage::with_backend(disk.clone())?);
        let fuse = Fuse::new((restarts < scenario.restarts).then(|| steps.between(0, 150)));
        let life = restarts;
        let part = |what: &str| Draws::new(seed, &format!("{what} of life {life}"));
        let conduct = adversary::conduct(scenario.misdeed);
        let executor =
            ModelledExecutor::new(conduct, storage.clone(), part("executor"), trace.clone(), fuse.clone());
        let store = ModelledStore::new(storage.clone(), part("store"), trace.clone(), fuse.clone());
        let nonce = [7; 16];
        let parts = Parts {
            secret: node.clone(),
            membership: Membership::Founder { name: "simnet".to_owned(), nonce },
            mesh: Alone,
            executor,
            store,
        };
        let driver = boot(&storage, parts)?;
        let hub = driver.core().hub().expect("invariant: a founder is a hub member");
        for id in wanted.iter().filter_map(|job| job.accepted) {
            if !hub.state().seen.contains_key(&id) {
                return Err(Broken::Lost(id));
            }
        }
        let genesis = hub.genesis().clone();
        let handle = driver.handle();
        let clock = trace.clone();
        let wall_ms = move || EPOCH_MS + clock.elapsed_ms();
        let done = tokio::select! {
            biased;
            ended = driver.run(wall_ms, fuse.blown()) => { ended?; false }
            clients = attend(&handle, &storage, &client, &mut wanted, &trace) => { clients?; true }
            () = beat(&heartbeats) => false,
        };
        if done {
            break genesis;
        }
        restarts += 1;
        disk = disk.image()?;
        trace.step("crash", restarts, Hash::ZERO);
        sleep(Duration::from_millis(part("pause").between(1, 5_000))).await;
    };
    // Everything that ran on the disk is gone by now; it is opened as a stranger would.
    let storage = Storage::with_backend(disk.image()?)?;
    let jobs = audit(&storage, &genesis, &wanted, scenario.misdeed.is_none())?;
    let (digest, steps) = trace.digest();
    let finalized = jobs.iter().filter(|job| job.result_hash.is_some()).count() as u64;
    Ok(Report {
        seed,
        virtual_ms: trace.elapsed_ms(),
        heartbeats: heartbeats.get(),
        restarts,
        steps,
        finalized,
        failed: jobs.len() as u64 - finalized,
        trace: digest,
        jobs,
    })
}

/// The clients: each asks at its time, asks again after a crash, and waits until its job is in the books.
async fn attend(
    handle: &Handle,
    storage: &Storage,
    client: &SecretKey,
    wanted: &mut [Wanted],
    trace: &Trace,
) -> Result<(), Broken> {
    let started = Instant::now() - Duration::from_millis(trace.elapsed_ms());
    let mut reports = handle.watch();
    for (number, job) in wanted.iter_mut().enumerate().filter(|(_, job)| job.accepted.is_none()) {
        sleep_until(started + Duration::from_millis(job.at_ms)).await;
        let (at_ms, envelope) = (job.at_ms, &job.envelope);
        let submission = job.submission.get_or_insert_with(|| {
            let submission = Submission {
                envelope: Bytes(envelope.clone()),
                offer: Offer::default(),
                nonce: Bytes(Hash::blob(&(number as u64).to_le_bytes()).0[..16].to_vec()),
                expires_ms: EPOCH_MS + at_ms + limits::SUBMISSION_TTL_MS,
            };
            Signed::new(submission, handle.mesh(), client)
        });
        // A node that has stopped answers nobody; its next life is asked again.
        let Ok(reply) = handle.request(Request::Submit(Box::new(submission.clone()))).await else {
            return std::future::pending().await;
        };
        match reply {
            Reply::Accepted(id) => {
                trace.step("accepted", number as u64, id.0);
                job.accepted = Some(id);
            }
            Reply::Refused(reason) => return Err(Broken::Refused(reason)),
            Reply::Elsewhere { .. } | Reply::DiskLow | Reply::Queues(_) => return Err(Broken::NoHub),
        }
    }
    loop {
        for job in wanted.iter_mut().filter(|job| !job.recorded) {
            job.recorded = match job.accepted {
                Some(id) => storage.job(&id.0)?.is_some(),
                None => false,
            };
        }
        if wanted.iter().all(|job| job.recorded) {
            return Ok(());
        }
        match reports.recv().await {
            Ok(progress) => {
                let digest = Hash::blob(format!("{progress:?}").as_bytes());
                trace.step("progress", progress.stage, digest);
            }
            Err(RecvError::Lagged(missed)) => trace.step("missed", missed, Hash::ZERO),
            Err(RecvError::Closed) => return std::future::pending().await,
        }
    }
}

/// Counts virtual seconds: timers are alive.
async fn beat(heartbeats: &Cell<u64>) {
    let second = Duration::from_secs(1);
    let mut ticks = interval_at(Instant::now() + second, second);
    loop {
        ticks.tick().await;
        heartbeats.set(heartbeats.get() + 1);
    }
}

/// Reads the books as they are on the disk and holds them against the oracle.
fn audit(
    storage: &Storage,
    genesis: &Genesis,
    wanted: &[Wanted],
    honest: bool,
) -> Result<Vec<JobReport>, Broken> {
    let found = storage.ledger_len()?;
    if found != wanted.len() as u64 {
        return Err(Broken::LedgerLength { expected: wanted.len() as u64, found });
    }
    let mut prev = Hash::ZERO;
    for seq in 0..found {
        let bytes = storage.ledger(seq)?.ok_or(Broken::Ledger { seq })?;
        let entry = canon::from_bytes::<LedgerEntry>(&bytes, limits::COMMAND_BYTES);
        let entry = entry.map_err(|_| Broken::Ledger { seq })?;
        if (entry.seq, entry.prev) != (seq, prev) {
            return Err(Broken::Ledger { seq });
        }
        prev = entry.hash();
    }
    wanted.iter().filter_map(|job| job.accepted).map(|id| audit_job(storage, genesis, id, honest)).collect()
}

fn audit_job(storage: &Storage, genesis: &Genesis, id: JobId, honest: bool) -> Result<JobReport, Broken> {
    let bytes = storage.job(&id.0)?.ok_or(Broken::Lost(id))?;
    let file =
        JobFile::decode(&bytes).map_err(|error| Broken::Record { job: id, detail: error.to_string() })?;
    let finished = file.finished;
    let oracle = oracle(id, &finished.record.contract)?;
    let found = finished.result.as_ref().map(|result| result.result_hash);
    if honest {
        if let Some(failure) = finished.failure {
            return Err(Broken::Blamed { job: id, failure });
        }
        if let Some(found) = found.filter(|found| *found != oracle) {
            return Err(Broken::WrongResult { job: id, found, expected: oracle });
        }
    }
    let verification = finished.statement(genesis).predicate.verification;
    Ok(JobReport { job: id, result_hash: found, failure: finished.failure, oracle, verification })
}

/// What the contract comes to, executed here and now by the kernel alone.
fn oracle(id: JobId, contract: &forgemesh_protocol::contract::Contract) -> Result<Hash, Broken> {
    let broken = |detail: String| Broken::Oracle { job: id, detail };
    let job = Job::of_contract(contract.clone()).map_err(|error| broken(error.to_string()))?;
    let result = job.execute(|job, run| {
        let shards: Result<Vec<Accumulator>, _> =
            (0..run.stage.shards()).map(|shard| job.shard_totals(Isa::best(), run, shard)).collect();
        Ok(Accumulator::merge_all(job.empty(run)?, shards?)?)
    });
    match result {
        Ok(Ok(output)) => Ok(output.body.hash()),
        Ok(Err(failure)) => Err(broken(failure.to_string())),
        Err(error) => Err(broken(error.to_string())),
    }
}
