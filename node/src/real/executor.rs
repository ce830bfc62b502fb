//! The executor of production: threads at a lower priority than the event loop, all cores, one piece of work a thread.
//!
//! A thread does itself what needs the store. What runs a profile it hands to the worker and waits: so the queue, its
//! order and the throttle are here alone, and the worker never has more to do than there are threads.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use forgemesh_kernel::backend::Isa;
use forgemesh_storage::Storage;
use tokio::sync::mpsc;

use crate::perform::Performer;
use crate::ports::{Done, Executor, Work};
use crate::real::worker::NICENESS;
use crate::real::worker::frame::{Piece, Place};

/// What computes shards: the worker, or what a test puts in its place.
pub trait Compute: Send + Sync {
    /// Computes a piece of work, and waits for it.
    fn compute(&self, piece: Piece) -> Done;
    /// Ends, and with it what is being computed.
    fn close(&self);
}

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
    worker: Box<dyn Compute>,
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
    /// Starts `threads` threads, for which `worker` computes with `isa`.
    pub fn start(
        threads: usize,
        isa: Isa,
        storage: Arc<Storage>,
        worker: impl Compute + 'static,
    ) -> std::io::Result<ThreadPool> {
        let (report, done) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            ready: Condvar::new(),
            performer: Performer::new(isa),
            worker: Box::new(worker),
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
    /// The worker and all who wait for it end at once, whoever reads or writes the store when that is done; nobody
    /// waits for a result that nobody reads.
    fn drop(&mut self) {
        let mut queue = self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.closed = true;
        queue.work.clear();
        self.shared.ready.notify_all();
        drop(queue);
        self.shared.worker.close();
    }
}

impl Executor for ThreadPool {
    fn start(&mut self, ticket: u64, work: Work) {
        let mut queue = self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
        match work.is_urgent() {
            true => queue.work.push_front((ticket, work)),
            false => queue.work.push_back((ticket, work)),
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
            // A bug in a reduction must cost a job, not the node.
            let done = catch_unwind(AssertUnwindSafe(|| self.perform(work))).unwrap_or_else(|_| {
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

    fn perform(&self, work: Work) -> Done {
        match Place::of(work) {
            Place::Worker(piece) => self.worker.compute(piece),
            Place::Node(work) => self.performer.perform(work, &*self.storage),
        }
    }
}

/// On Linux a thread has a niceness of its own; elsewhere the event loop takes its chances.
fn lower_priority() {
    #[cfg(target_os = "linux")]
    {
        // Refused in some sandboxes; it is a courtesy, not a need.
        let _ = rustix::process::setpriority_process(None, NICENESS);
    }
}

#[cfg(test)]
mod tests {
    use forgemesh_kernel::job::Job;
    use forgemesh_protocol::plan::StageRun;

    use super::*;

    /// Computes in the thread that asks.
    struct Here(Performer);

    impl Compute for Here {
        fn compute(&self, piece: Piece) -> Done {
            let Piece::Run { contract, run, shard } = piece else { panic!("only shards are run here") };
            self.0.run(&contract, &run, shard).expect("it runs")
        }

        fn close(&self) {}
    }

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
        let here = Here(Performer::new(Isa::Portable));
        let mut pool = ThreadPool::start(4, Isa::Portable, storage, here).expect("threads");
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
