//! The executor of production: threads at a lower priority than the event loop, all cores, one shard a thread.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use forgemesh_kernel::backend::Isa;
use forgemesh_storage::Storage;
use tokio::sync::mpsc;

use crate::perform::Performer;
use crate::ports::{Done, Executor, Work};

/// The threads and their queue.
pub struct ThreadPool {
    shared: Arc<Shared>,
    done: mpsc::UnboundedReceiver<(u64, Done)>,
    threads: u64,
}

struct Shared {
    queue: Mutex<Queue>,
    ready: Condvar,
    performer: Performer,
    storage: Arc<Storage>,
    report: mpsc::UnboundedSender<(u64, Done)>,
}

#[derive(Default)]
struct Queue {
    work: VecDeque<(u64, Work)>,
    closed: bool,
    /// Threads that compute now, and how many may; none: all.
    busy: usize,
    limit: Option<usize>,
}

/// Changes how many of a pool's threads may compute.
#[derive(Clone)]
pub struct Throttle(Arc<Shared>);

impl Throttle {
    /// So many from now on, but what is begun is finished; none: all.
    pub fn set(&self, threads: Option<usize>) {
        let mut queue = self.0.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.limit = threads.map(|threads| threads.max(1));
        self.0.ready.notify_all();
    }
}

impl ThreadPool {
    /// Starts `threads` threads that compute with `isa`.
    pub fn start(threads: usize, isa: Isa, storage: Arc<Storage>) -> std::io::Result<ThreadPool> {
        let (report, done) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            ready: Condvar::new(),
            performer: Performer::new(isa),
            storage,
            report,
        });
        for i in 0..threads.max(1) {
            let shared = Arc::clone(&shared);
            thread::Builder::new().name(format!("forgemesh-work-{i}")).spawn(move || shared.serve())?;
        }
        Ok(ThreadPool { shared, done, threads: threads.max(1) as u64 })
    }

    /// What changes how many of the threads compute, while they do.
    pub fn throttle(&self) -> Throttle {
        Throttle(Arc::clone(&self.shared))
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
            Work::Run { .. } | Work::Scrub { .. } => queue.work.push_back((ticket, work)),
            Work::Open { .. }
            | Work::Check { .. }
            | Work::Reduce { .. }
            | Work::Load { .. }
            | Work::Lookup { .. }
            | Work::File { .. }
            | Work::Books { .. } => queue.work.push_front((ticket, work)),
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
        format!("cpu/{}", self.shared.performer.isa())
    }
}

impl Shared {
    fn serve(&self) {
        lower_priority();
        while let Some((ticket, work)) = self.take() {
            // A bug in a profile must cost a job, not the node.
            let done = catch_unwind(AssertUnwindSafe(|| self.measure(work))).unwrap_or_else(|_| {
                Done::Failed { detail: "the executor panicked; please report it".to_owned() }
            });
            self.release();
            if self.report.send((ticket, done)).is_err() {
                return;
            }
        }
    }

    fn take(&self) -> Option<(u64, Work)> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let free = queue.limit.is_none_or(|limit| queue.busy < limit);
            if free && let Some(work) = queue.work.pop_front() {
                queue.busy += 1;
                return Some(work);
            }
            if queue.closed {
                return None;
            }
            queue = self.ready.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A thread has done its work: another may begin, if they are not all allowed to.
    fn release(&self) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.busy -= 1;
        if queue.limit.is_some() {
            self.ready.notify_one();
        }
    }

    /// The work, with what this thread took for it.
    fn measure(&self, work: Work) -> Done {
        let (wall, cpu) = (Instant::now(), cpu_time_us());
        let mut done = self.performer.perform(work, &*self.storage);
        if let Done::Ran { claim, .. } = &mut done {
            claim.wall_us = wall.elapsed().as_micros() as u64;
            claim.cpu_us = cpu_time_us().saturating_sub(cpu);
        }
        done
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

#[cfg(test)]
mod tests {
    use forgemesh_kernel::job::Job;
    use forgemesh_protocol::plan::StageRun;

    use super::*;

    #[test]
    fn no_more_threads_compute_than_are_allowed() {
        let folder = tempfile::tempdir().expect("a folder");
        let storage = Arc::new(Storage::open(folder.path()).expect("it opens"));
        let envelope =
            r#"{"op":{"name":"diag","version":1,"profile":"mix.v1"},"args":{"iterations":2000000}}"#;
        let (job, _) = Job::read(envelope.as_bytes()).expect("a job");
        let run = StageRun { number: 0, stage: job.plan().stages[0].clone(), input: None };
        let shards = run.stage.shards();
        assert!(shards > 4, "{shards} shards say nothing");
        let mut pool = ThreadPool::start(4, Isa::Portable, storage).expect("threads");
        let throttle = pool.throttle();
        for (limit, most) in [(Some(1), 1), (Some(2), 2), (None, 4)] {
            throttle.set(limit);
            for shard in 0..shards {
                let (contract, run) = (job.contract().clone(), run.clone());
                pool.start(shard, Work::Run { contract, run, shard });
            }
            let mut done = 0;
            while done < shards {
                let busy = pool.shared.queue.lock().expect("nobody panics with it").busy;
                assert!(busy <= most, "{busy} of {most}");
                match pool.done.try_recv() {
                    Ok((_, outcome)) => {
                        assert!(matches!(outcome, Done::Ran { .. }), "{outcome:?}");
                        done += 1;
                    }
                    Err(_) => thread::yield_now(),
                }
            }
        }
    }
}
