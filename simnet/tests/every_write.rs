//! A crash at every write, resize and sync of a job's life, on the real node: what was acknowledged is there, nothing is
//! half visible, and the job comes to the same end.
//!
//! `FORGEMESH_EVERY_WRITE=all` finishes the job from every image, not from a sample.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::Arc;

use forgemesh_kernel::backend::Isa;
use forgemesh_kernel::job::Job;
use forgemesh_node::boot::{Membership, Parts, boot, found};
use forgemesh_node::core::{Reply, Request};
use forgemesh_node::job_file::JobFile;
use forgemesh_node::perform::Performer;
use forgemesh_node::ports::{Done, Executor, Store, Work};
use forgemesh_node::real::mesh::Alone;
use forgemesh_protocol::canon::Bytes;
use forgemesh_protocol::genesis::Genesis;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::JobId;
use forgemesh_protocol::keys::{SecretKey, Signed};
use forgemesh_protocol::submission::{Offer, Submission};
use forgemesh_storage::testing::{Disk, Unsynced};
use forgemesh_storage::{Batch, CommitError, Storage};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Duration;

const NOW_MS: u64 = 1_767_225_600_000;
const WAYS: [Unsynced; 5] =
    [Unsynced::Lost, Unsynced::Kept, Unsynced::Torn(1), Unsynced::Torn(2), Unsynced::Torn(3)];

/// So often everybody else has a turn before a batch is written.
const TURNS: usize = 50;

/// Computes at once.
struct Now {
    performer: Performer,
    storage: Arc<Storage>,
    done: VecDeque<(u64, Done)>,
}

impl Executor for Now {
    fn start(&mut self, ticket: u64, work: Work) {
        let done = self.performer.perform(work, &*self.storage);
        self.done.push_back((ticket, done));
    }

    async fn next(&mut self) -> (u64, Done) {
        match self.done.pop_front() {
            Some(done) => done,
            None => pending().await,
        }
    }

    fn capacity(&self) -> u64 {
        2
    }

    fn backend(&self) -> String {
        "cpu/test".to_owned()
    }
}

/// Commits once everybody else has had a turn: what is said too early is heard too early. First one batch of those that
/// wait, then up to two, then up to three together, and so on again.
struct InTurn {
    storage: Arc<Storage>,
    waiting: VecDeque<(u64, Batch)>,
    commits: usize,
    /// Written and to be told.
    stored: VecDeque<u64>,
    /// Says that a batch is durable before it is; the batch.
    hasty: Option<Option<Batch>>,
}

impl Store for InTurn {
    fn submit(&mut self, token: u64, batch: Batch, _: bool) {
        self.waiting.push_back((token, batch));
    }

    async fn next(&mut self) -> Result<u64, CommitError> {
        if let Some(token) = self.stored.pop_front() {
            return Ok(token);
        }
        for _ in 0..TURNS {
            tokio::task::yield_now().await;
        }
        if let Some(unwritten) = self.hasty.as_mut().and_then(Option::take) {
            self.storage.commit(&unwritten)?;
        }
        let several = (1 + self.commits % 3).min(self.waiting.len());
        let mut group = Batch::new();
        for (token, batch) in self.waiting.drain(..several) {
            self.stored.push_back(token);
            group.append(batch);
        }
        let Some(token) = self.stored.pop_front() else { return pending().await };
        self.commits += 1;
        match &mut self.hasty {
            Some(unwritten) => *unwritten = Some(group),
            None => self.storage.commit(&group)?,
        }
        Ok(token)
    }

    fn is_low(&self) -> bool {
        false
    }
}

struct World {
    secret: SecretKey,
    genesis: Genesis,
    submission: Signed<Submission>,
}

/// The job's id, and when (in changes of the disk) it was accepted and recorded.
struct Life {
    job: JobId,
    accepted: u64,
    recorded: u64,
}

impl World {
    fn new(envelope: &str) -> World {
        let secret = SecretKey::from_bytes(&[5; 32]);
        let (genesis, _) = found(&secret, "crashes".to_owned(), [1; 16], 64);
        let (job, terms) = Job::read(envelope.as_bytes()).expect("a job");
        let submission = Submission {
            envelope: Bytes(job.envelope(&terms)),
            offer: Offer::default(),
            nonce: Bytes(vec![7; 16]),
            expires_ms: NOW_MS + 60_000,
        };
        let submission = Signed::new(submission, genesis.mesh_id(), &SecretKey::from_bytes(&[6; 32]));
        World { secret, genesis, submission }
    }

    /// One life on `disk`, until the job is in the books and what is no longer needed has had time to go.
    fn live(&self, disk: &Disk, hasty: bool) -> Life {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime").block_on(async {
            let storage = Arc::new(Storage::with_backend(disk.clone()).expect("it opens"));
            let performer = Performer::new(Isa::best());
            let parts = Parts {
                secret: self.secret.clone(),
                membership: Membership::Joined(self.genesis.clone()),
                stand: None,
                mesh: Alone,
                executor: Now { performer, storage: storage.clone(), done: VecDeque::new() },
                store: InTurn {
                    storage: storage.clone(),
                    waiting: VecDeque::new(),
                    commits: 0,
                    stored: VecDeque::new(),
                    hasty: hasty.then_some(None),
                },
            };
            let driver = boot(&storage, parts).expect("it boots");
            let handle = driver.handle();
            let client = async {
                let mut reports = handle.watch();
                let request = Request::Submit(Box::new(self.submission.clone()));
                let Ok(Reply::Accepted(job)) = handle.request(request).await else { panic!("refused") };
                let accepted = disk.counts().changes();
                while storage.job(&job.0).expect("it reads").is_none() {
                    // Whose store promises too early is told too early, and not again.
                    let report = tokio::time::timeout(Duration::from_secs(1), reports.recv()).await;
                    if matches!(report, Ok(Err(RecvError::Closed))) {
                        pending::<()>().await;
                    }
                }
                let recorded = disk.counts().changes();
                tokio::time::sleep(Duration::from_secs(5)).await;
                Life { job, accepted, recorded }
            };
            tokio::select! {
                ended = driver.run(|| NOW_MS, pending()) => panic!("{ended:?}"),
                life = client => life,
            }
        })
    }
}

/// The result in the books; none if the job is not in them. What is there must be whole.
fn books(storage: &Storage, job: &JobId) -> Option<Hash> {
    let rows = storage.jobs(None, 10).expect("it reads");
    assert_eq!(rows.len() as u64, storage.ledger_len().expect("it reads"), "a record without its entry");
    let bytes = storage.job(&job.0).expect("it reads")?;
    let finished = JobFile::decode(&bytes).expect("a whole record").finished;
    let result = finished.result.expect("a result");
    for artifact in &result.artifacts {
        assert!(storage.blob(&artifact.blake3).expect("it reads").is_some(), "an artifact is missing");
    }
    Some(result.result_hash)
}

fn every_crash(envelope: &str, hasty: bool) {
    let all = std::env::var("FORGEMESH_EVERY_WRITE").as_deref() == Ok("all");
    let world = World::new(envelope);
    let disk = Disk::new(1);
    drop(Storage::with_backend(disk.clone()).expect("it opens"));
    let begun = disk.counts().changes();
    disk.record();
    let life = world.live(&disk, hasty);
    let result = {
        let storage = Storage::with_backend(disk.power_loss(Unsynced::Lost)).expect("it opens");
        books(&storage, &life.job).expect("acknowledged: durable before anything is synced again")
    };
    let (mut images, mut finished, mut open) = (0u64, 0u64, 0u64);
    disk.each_crash(&WAYS, |moment, way, image| {
        images += 1;
        let at = format!("crash at change {moment}, {way:?}");
        let disk = Disk::with_image(moment, image);
        let storage = Storage::with_backend(disk.clone()).unwrap_or_else(|error| panic!("{at}: {error}"));
        let found = books(&storage, &life.job);
        assert!(found.is_none_or(|found| found == result), "{at}: another result");
        assert!(moment < life.recorded || found.is_some(), "{at}: recorded, and gone");
        let hub = forgemesh_node::boot::hub(&storage, &world.secret);
        let hub = hub.unwrap_or_else(|error| panic!("{at}: {error}"));
        let known = hub.is_some_and(|hub| hub.state().seen.contains_key(&life.job));
        assert!(moment < life.accepted || known, "{at}: accepted, and forgotten");
        open += u64::from(known && found.is_none());
        drop(storage);
        if all || images % 23 == 0 {
            finished += 1;
            let again = world.live(&disk, false);
            let storage = Storage::with_backend(disk.clone()).expect("it opens");
            assert_eq!((again.job, books(&storage, &life.job)), (life.job, Some(result)), "{at}");
        }
    });
    let (until, after) = (life.recorded - begun, disk.counts().changes() - life.recorded);
    println!(
        "{images} images of {until} changes until the job was in the books and {after} after that, {open} with it under \
         way, {finished} finished"
    );
    assert!(images > 500 && finished > 20 && open > 100, "too few to show anything");
}

#[test]
fn a_diagnosis_survives_a_crash_at_every_write() {
    every_crash(
        r#"{"op":{"name":"diag","version":1,"profile":"mix.v1"},"args":{"iterations":400000},"policy":{"verify":"spotcheck"}}"#,
        false,
    );
}

#[test]
#[should_panic(expected = "accepted, and forgotten")]
fn a_store_that_promises_too_early_is_found_out() {
    every_crash(r#"{"op":{"name":"diag","version":1,"profile":"noop.v1"},"args":{"shards":2}}"#, true);
}

#[test]
fn a_reserve_that_stops_early_survives_a_crash_at_every_write() {
    every_crash(
        r#"{"op":{"name":"mc","version":1,"profile":"reserve.v1"},"args":{"triangle":[[100,150,170],[110,160],[120]],"iterations":60000,"convergence":{"relative_half_width":0.02}}}"#,
        false,
    );
}
