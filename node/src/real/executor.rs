//! The executor of production: threads at a lower priority than the event loop, all cores, one shard a thread.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use forgemesh_kernel::backend::Isa;
use forgemesh_kernel::fpenv;
use forgemesh_kernel::job::{Job, ShardRun};
use forgemesh_protocol::attestation::Claim;
use forgemesh_protocol::canon::Bytes;
use forgemesh_protocol::challenge::{LeafRef, Mismatch, MismatchKind};
use forgemesh_protocol::contract::Contract;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::plan::StageRun;
use forgemesh_storage::Storage;
use tokio::sync::mpsc;

use crate::ports::{Done, Executor, Work};
use crate::prepared::Jobs;
use crate::reduce;

/// Bytes of leaf accumulators that are kept for openings; what is not here is executed again.
const TREE_BYTES: usize = 256 << 20;

/// The threads and their queue.
pub struct ThreadPool {
    shared: Arc<Shared>,
    done: mpsc::UnboundedReceiver<(u64, Done)>,
    threads: u64,
}

struct Shared {
    queue: Mutex<Queue>,
    ready: Condvar,
    isa: Isa,
    jobs: Jobs,
    trees: Mutex<Trees>,
    storage: Arc<Storage>,
    report: mpsc::UnboundedSender<(u64, Done)>,
}

#[derive(Default)]
struct Queue {
    work: VecDeque<(u64, Work)>,
    closed: bool,
}

/// The newest executed shards, by their task.
#[derive(Default)]
struct Trees {
    kept: VecDeque<(Hash, Arc<ShardRun>)>,
    bytes: usize,
}

impl ThreadPool {
    /// Starts `threads` threads that compute with `isa`.
    pub fn start(threads: usize, isa: Isa, storage: Arc<Storage>) -> std::io::Result<ThreadPool> {
        let (report, done) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            ready: Condvar::new(),
            isa,
            jobs: Jobs::default(),
            trees: Mutex::default(),
            storage,
            report,
        });
        for i in 0..threads.max(1) {
            let shared = Arc::clone(&shared);
            thread::Builder::new().name(format!("forgemesh-work-{i}")).spawn(move || shared.serve())?;
        }
        Ok(ThreadPool { shared, done, threads: threads.max(1) as u64 })
    }
}

impl Drop for ThreadPool {
    /// Idle threads end at once, busy ones with their shard; nobody waits for a result that nobody reads.
    fn drop(&mut self) {
        let mut queue = self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.closed = true;
        queue.work.clear();
        self.shared.ready.notify_all();
    }
}

impl Executor for ThreadPool {
    fn start(&mut self, ticket: u64, work: Work) {
        let mut queue = self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
        // Checks and reductions are what everything else waits for: they go before shards.
        match work {
            Work::Run { .. } => queue.work.push_back((ticket, work)),
            Work::Open { .. } | Work::Check { .. } | Work::Reduce { .. } => {
                queue.work.push_front((ticket, work))
            }
        }
        self.shared.ready.notify_one();
    }

    async fn next(&mut self) -> (u64, Done) {
        match self.done.recv().await {
            Some(done) => done,
            None => std::future::pending().await,
        }
    }

    fn capacity(&self) -> u64 {
        self.threads
    }

    fn backend(&self) -> String {
        format!("cpu/{}", self.shared.isa)
    }
}

impl Shared {
    fn serve(&self) {
        lower_priority();
        while let Some((ticket, work)) = self.take() {
            // A bug in a profile must cost a job, not the node.
            let done = catch_unwind(AssertUnwindSafe(|| self.perform(work))).unwrap_or_else(|_| {
                Done::Failed { detail: "the executor panicked; please report it".to_owned() }
            });
            if self.report.send((ticket, done)).is_err() {
                return;
            }
        }
    }

    fn take(&self) -> Option<(u64, Work)> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(work) = queue.work.pop_front() {
                return Some(work);
            }
            if queue.closed {
                return None;
            }
            queue = self.ready.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn perform(&self, work: Work) -> Done {
        let result = match work {
            Work::Run { contract, run, shard } => self.run(&contract, &run, shard),
            Work::Open { contract, run, leaves } => self.open(&contract, &run, &leaves),
            Work::Check { contract, run, claims, leaves, openings } => {
                self.check(&contract, &run, &claims, &leaves, &openings)
            }
            Work::Reduce { job } => reduce::reduce(&job, &self.jobs, &*self.storage),
        };
        result.unwrap_or_else(|detail| Done::Failed { detail })
    }

    fn job(&self, contract: &Contract) -> Result<Arc<Job>, String> {
        self.jobs.get(contract).map_err(|error| error.to_string())
    }

    fn execute(&self, job: &Job, run: &StageRun, shard: u64) -> Result<Arc<ShardRun>, String> {
        fpenv::check().map_err(|error| error.to_string())?;
        let shard_run = job.run_shard(self.isa, run, shard).map_err(|error| error.to_string())?;
        // Checked at the end too: a library may have changed it in between.
        fpenv::check().map_err(|error| error.to_string())?;
        let shard_run = Arc::new(shard_run);
        self.trees.lock().unwrap_or_else(PoisonError::into_inner).keep(Arc::clone(&shard_run));
        Ok(shard_run)
    }

    fn run(&self, contract: &Contract, run: &StageRun, shard: u64) -> Result<Done, String> {
        let (wall, cpu) = (Instant::now(), cpu_time_us());
        let job = self.job(contract)?;
        let shard_run = self.execute(&job, run, shard)?;
        let accumulator = shard_run.totals().encode();
        let claim = Claim {
            shard,
            task: shard_run.task_hash(),
            tree: shard_run.root(),
            totals: shard_run.totals_digest(),
            blob: Hash::blob(&accumulator),
            wall_us: wall.elapsed().as_micros() as u64,
            cpu_us: cpu_time_us().saturating_sub(cpu),
        };
        Ok(Done::Ran { claim, accumulator, paths: shard_run.paths() })
    }

    fn open(&self, contract: &Contract, run: &StageRun, leaves: &[LeafRef]) -> Result<Done, String> {
        let job = self.job(contract)?;
        let mut openings = Vec::new();
        let mut current: Option<(u64, Arc<ShardRun>)> = None;
        for leaf in leaves {
            let shard_run = match &current {
                Some((shard, shard_run)) if *shard == leaf.shard => Arc::clone(shard_run),
                _ => {
                    let task = job.task(run, leaf.shard).map_err(|error| error.to_string())?.hash();
                    let kept = self.trees.lock().unwrap_or_else(PoisonError::into_inner).get(&task);
                    match kept {
                        Some(shard_run) => shard_run,
                        None => self.execute(&job, run, leaf.shard)?,
                    }
                }
            };
            openings.push(Bytes(shard_run.open(leaf.leaf).map_err(|error| error.to_string())?));
            current = Some((leaf.shard, shard_run));
        }
        Ok(Done::Opened { openings })
    }

    fn check(
        &self,
        contract: &Contract,
        run: &StageRun,
        claims: &[Claim],
        leaves: &[LeafRef],
        openings: &[Bytes],
    ) -> Result<Done, String> {
        let job = self.job(contract)?;
        let mut mismatches = Vec::new();
        for (i, at) in leaves.iter().enumerate() {
            let unavailable = Mismatch { at: *at, kind: MismatchKind::Unavailable, recomputed: Hash::ZERO };
            let claim = claims.iter().find(|claim| claim.shard == at.shard);
            let (Some(claim), Some(opening)) = (claim, openings.get(i)) else {
                mismatches.push(unavailable);
                continue;
            };
            let checked =
                job.check_leaf(self.isa, run, claim, at.leaf, &opening.0).map_err(|e| e.to_string())?;
            if let Err((kind, recomputed)) = checked {
                mismatches.push(Mismatch { at: *at, kind, recomputed });
            }
        }
        Ok(Done::Checked { mismatches })
    }
}

impl Trees {
    fn keep(&mut self, shard_run: Arc<ShardRun>) {
        self.bytes += shard_run.size();
        self.kept.push_back((shard_run.task_hash(), shard_run));
        while self.bytes > TREE_BYTES
            && let Some((_, oldest)) = self.kept.pop_front()
        {
            self.bytes -= oldest.size();
        }
    }

    fn get(&self, task: &Hash) -> Option<Arc<ShardRun>> {
        self.kept.iter().rev().find(|(kept, _)| kept == task).map(|(_, shard_run)| Arc::clone(shard_run))
    }
}

/// On Linux a thread has a niceness of its own; elsewhere the event loop takes its chances.
fn lower_priority() {
    #[cfg(target_os = "linux")]
    {
        // Refused in some sandboxes; it is a courtesy, not a need.
        let _ = rustix::process::setpriority_process(None, 5);
    }
}

/// Processor time of this thread.
fn cpu_time_us() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0) / 1_000
}
