//! The executor of the simulator: the real kernel's results after modelled time, without a thread.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::Arc;

use forgemesh_node::ports::{Done, Executor, Work};
use forgemesh_storage::Storage;
use tokio::time::{Duration, Instant, sleep_until};

use crate::adversary::Conduct;
use crate::draws::Draws;
use crate::fuse::Fuse;
use crate::gauge::Gauge;
use crate::ills::Ills;
use crate::memo;
use crate::planted::Bugs;
use crate::trace::{Trace, done_digest, work_digest};
use crate::witness::Witness;

/// How fast a modelled machine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    cores: usize,
    /// How many times as long as the estimate a shard takes on one of them.
    slowness: u64,
}

impl Pace {
    /// Of one machine: the same in all its lives.
    pub fn new(seed: u64, machine: usize) -> Pace {
        let mut draws = Draws::new(seed, &format!("pace of machine {machine}"));
        let mut one_of = |choices: &[u64]| choices[draws.between(0, choices.len() as u64 - 1) as usize];
        Pace { cores: one_of(&[1, 2, 4, 4, 8]) as usize, slowness: one_of(&[1, 1, 1, 2, 3, 10]) }
    }
}

/// A machine that computes.
pub struct ModelledExecutor {
    pub conduct: Box<dyn Conduct>,
    pub storage: Arc<Storage>,
    pub draws: Draws,
    pub trace: Trace,
    pub fuse: Fuse,
    pub gauge: Gauge,
    pub bugs: Bugs,
    pub queue: Queue,
    pub pace: Pace,
    pub ills: Ills,
    pub witness: Witness,
}

/// Work that waits, and work under way.
#[derive(Default)]
pub struct Queue {
    waiting: VecDeque<(u64, Work)>,
    /// When each ends, its ticket, how long it takes.
    running: Vec<(Instant, u64, Duration, Work)>,
}

impl ModelledExecutor {
    fn fill(&mut self) {
        while self.queue.running.len() < self.pace.cores
            && let Some((ticket, work)) = self.queue.waiting.pop_front()
        {
            let (low, high) = match work {
                Work::Run { .. } => (5, 200),
                Work::Open { .. } | Work::Check { .. } => (1, 40),
                Work::Reduce { .. } => (1, 80),
                Work::Load { .. } | Work::Lookup { .. } | Work::File { .. } | Work::Books { .. } => (1, 10),
                Work::Look { .. } | Work::Outline { .. } | Work::Piece { .. } | Work::Keeping { .. } => {
                    (1, 10)
                }
                Work::CheckOutline { .. } | Work::CheckPiece { .. } => (1, 5),
                Work::Scrub { .. } | Work::ScrubPieces { .. } => (10, 100),
                Work::Garbage { .. } | Work::Spent { .. } | Work::Lacks { .. } => (10, 100),
            };
            let mut takes = Duration::from_millis(self.draws.between(low, high));
            if let Work::Run { contract, run, .. } = &work {
                takes += Duration::from_nanos(memo::shard_ns(contract, run));
                takes *= self.pace.slowness as u32;
            }
            self.queue.running.push((Instant::now() + takes, ticket, takes, work));
        }
        let shards = self.queue.waiting.iter().filter(|(_, work)| matches!(work, Work::Run { .. })).count();
        self.gauge.executor(shards, self.queue.waiting.len() - shards, self.pace.cores);
    }

    fn first(&self) -> Option<usize> {
        let running = &self.queue.running;
        (0..running.len()).min_by_key(|&i| (running[i].0, running[i].1))
    }
}

/// What a shard comes to on an executor that is broken.
fn failed() -> Done {
    Done::Failed { detail: "the modelled executor fails for a while".to_owned() }
}

impl Executor for ModelledExecutor {
    fn start(&mut self, ticket: u64, work: Work) {
        let (kind, digest) = work_digest(&work);
        self.trace.step(kind, ticket, digest);
        match work.is_urgent() {
            true => self.queue.waiting.push_front((ticket, work)),
            false => self.queue.waiting.push_back((ticket, work)),
        }
        self.fill();
    }

    async fn next(&mut self) -> (u64, Done) {
        let Some(first) = self.first() else { return pending().await };
        sleep_until(self.queue.running[first].0).await;
        if self.fuse.burn() {
            return pending().await;
        }
        let (_, ticket, takes, work) = self.queue.running.swap_remove(first);
        let mut bugs = self.bugs.borrow_mut();
        let done = match (bugs.done(&work), &work) {
            (Some(done), _) => done,
            (None, Work::Run { contract, run, shard }) if self.ills.fails(contract, run.number, *shard) => {
                failed()
            }
            (None, _) => self.conduct.perform(work, &self.storage),
        };
        let mut done = bugs.ended(done);
        drop(bugs);
        if let Done::Ran { claim, .. } = &mut done {
            claim.wall_us = takes.as_micros() as u64;
            claim.cpu_us = claim.wall_us;
        }
        self.witness.ended(&done);
        let (kind, digest) = done_digest(&done);
        self.trace.step(kind, ticket, digest);
        self.fill();
        (ticket, done)
    }

    fn capacity(&self) -> u64 {
        self.pace.cores as u64 * self.bugs.borrow().boast()
    }

    fn backend(&self) -> String {
        "cpu/simulated".to_owned()
    }
}
