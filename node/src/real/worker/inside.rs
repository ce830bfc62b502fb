//! The worker's own side: reads pieces of work, computes them on its threads, answers. Confined before the first piece.
//!
//! Must never be used by a node: whoever calls this gives up files and network for the rest of the process.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TrySendError, sync_channel};
use std::sync::{Arc, Barrier, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use forgemesh_kernel::backend::{Isa, IsaError};

use super::confine::{confine, prepare};
use super::frame::{
    self, Answered, Asked, FIRST_BYTES, FRAME_BYTES, FrameError, Outcome, Piece, Ready, Start,
};
use crate::perform::Performer;
use crate::ports::Done;

/// Threads that a node may ask for.
const THREADS: u64 = 1_024;
/// Bytes of a thread's stack; they come on top of what a worker may have.
const STACK_BYTES: usize = 2 << 20;
/// A worker that has had nothing to do for so long, or up to twice that, keeps nothing for openings: batches are opened
/// within seconds.
const REST: Duration = Duration::from_secs(10);
/// The share of its memory in which a worker keeps executed shards for openings.
const KEPT_SHARE: u64 = 4;

/// Why a worker does not work.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    #[error(
        "a worker is started by a node, for its own shards, and takes its work from there alone; `forgemesh up` or `forgemesh run` starts both"
    )]
    NoNode,
    #[error(
        "the node is version {node} of this program, this is {}; stop the node and start it again",
        super::VERSION
    )]
    Version { node: String },
    #[error("{0}")]
    Isa(#[from] IsaError),
    #[error("the system refuses: {0}; raise the limit on threads or lower --threads")]
    System(#[from] std::io::Error),
    #[error("what came is no frame of a node: {0}; stop the node and start it again")]
    Frame(#[from] FrameError),
    #[error("the node asks for more at once than there are threads; stop it and start it again")]
    Flooded,
}

/// Serves the node at the other end of this process's pipes, until it hangs up.
pub fn serve() -> Result<(), WorkerError> {
    let (mut pieces, mut answers) = (pipe(std::io::stdin())?, pipe(std::io::stdout())?);
    let start: Start = frame::read(&mut pieces, FIRST_BYTES).ok().flatten().ok_or(WorkerError::NoNode)?;
    if start.version != super::VERSION {
        return Err(WorkerError::Version { node: start.version });
    }
    let isa = Isa::from_request(Some(&start.isa))?;
    let threads = start.threads.clamp(1, THREADS) as usize;
    prepare();
    let (queue, queued) = sync_channel(threads);
    let desk = Arc::new(Desk {
        performer: Performer::keeping(
            isa,
            usize::try_from(start.memory_bytes / KEPT_SHARE).unwrap_or(usize::MAX),
        ),
        queued: Mutex::new(queued),
        answers: Mutex::new(answers.try_clone()?),
        busy: AtomicUsize::new(0),
    });
    // A thread that begins asks for more than one that runs: all must run before anything is refused.
    let running = Arc::new(Barrier::new(threads + 1));
    for i in 0..threads {
        let (desk, running) = (Arc::clone(&desk), Arc::clone(&running));
        let work = move || {
            running.wait();
            desk.serve();
        };
        let thread = thread::Builder::new().name(format!("forgemesh-shard-{i}")).stack_size(STACK_BYTES);
        thread.spawn(work)?;
    }
    running.wait();
    let gaps = confine(start.memory_bytes.saturating_add((threads * STACK_BYTES) as u64));
    frame::write(&mut answers, &Ready { gaps }, FIRST_BYTES)?;
    while let Some(asked) = frame::read::<Asked>(&mut pieces, FRAME_BYTES)? {
        queue.try_send(asked).map_err(|refused| match refused {
            TrySendError::Full(_) | TrySendError::Disconnected(_) => WorkerError::Flooded,
        })?;
    }
    Ok(())
}

/// A standard stream, if a program is at its other end.
fn pipe(stream: impl AsFd) -> Result<File, WorkerError> {
    let file = File::from(stream.as_fd().try_clone_to_owned().map_err(|_| WorkerError::NoNode)?);
    let is_pipe = file.metadata().is_ok_and(|found| found.file_type().is_fifo());
    if is_pipe { Ok(file) } else { Err(WorkerError::NoNode) }
}

/// What the threads share.
struct Desk {
    performer: Performer,
    queued: Mutex<Receiver<Asked>>,
    answers: Mutex<File>,
    /// Threads that compute.
    busy: AtomicUsize,
}

impl Desk {
    /// Computes what comes, until nobody is left to answer.
    fn serve(&self) {
        while let Some(Asked { ticket, piece }) = self.next() {
            // A bug in a profile must cost a shard, not those beside it.
            let outcome = catch_unwind(AssertUnwindSafe(|| self.measure(piece))).unwrap_or_else(|_| {
                Outcome::Failed { detail: "the executor panicked; please report it".to_owned() }
            });
            self.busy.fetch_sub(1, Ordering::Relaxed);
            if self.answer(ticket, outcome).is_err() {
                return;
            }
        }
    }

    fn next(&self) -> Option<Asked> {
        let queued = self.queued.lock().unwrap_or_else(PoisonError::into_inner);
        let mut idle = false;
        loop {
            match queued.recv_timeout(REST) {
                Ok(asked) => {
                    self.busy.fetch_add(1, Ordering::Relaxed);
                    return Some(asked);
                }
                Err(RecvTimeoutError::Timeout) => {
                    // What another thread has just ended may still be opened.
                    let was_idle = std::mem::replace(&mut idle, self.busy.load(Ordering::Relaxed) == 0);
                    if was_idle && idle {
                        self.performer.rest();
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    fn answer(&self, ticket: u64, outcome: Outcome) -> Result<(), FrameError> {
        let encoded = frame::encode(&Answered { ticket, outcome }, FRAME_BYTES).or_else(|error| {
            let outcome = Outcome::Failed { detail: error.to_string() };
            frame::encode(&Answered { ticket, outcome }, FRAME_BYTES)
        });
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(answers.write_all(&encoded?)?)
    }

    /// The outcome, with what this thread took for it.
    fn measure(&self, piece: Piece) -> Outcome {
        let (wall, cpu) = (Instant::now(), cpu_time_us());
        let done = match piece {
            Piece::Run { contract, run, shard } => self.performer.run(&contract, &run, shard),
            Piece::Open { contract, run, leaves } => self.performer.open(&contract, &run, &leaves),
            Piece::Check { contract, run, claims, leaves, openings } => {
                self.performer.check(&contract, &run, &claims, &leaves, &openings)
            }
        };
        let mut outcome = Outcome::of(done.unwrap_or_else(|detail| Done::Failed { detail }));
        if let Outcome::Ran { claim, .. } = &mut outcome {
            claim.wall_us = wall.elapsed().as_micros() as u64;
            claim.cpu_us = cpu_time_us().saturating_sub(cpu);
        }
        outcome
    }
}

/// Processor time of this thread.
fn cpu_time_us() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0) / 1_000
}
