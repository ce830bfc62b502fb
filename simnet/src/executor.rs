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
use crate::trace::{Trace, done_digest, work_digest};

/// Cores of the modelled machine.
const CORES: usize = 4;

/// A machine that computes.
pub struct ModelledExecutor {
    conduct: Box<dyn Conduct>,
    storage: Arc<Storage>,
    draws: Draws,
    trace: Trace,
    fuse: Fuse,
    waiting: VecDeque<(u64, Work)>,
    /// When each ends, its ticket, how long it takes.
    running: Vec<(Instant, u64, Duration, Work)>,
}

impl ModelledExecutor {
    /// A machine that does what `conduct` does.
    pub fn new(
        conduct: Box<dyn Conduct>,
        storage: Arc<Storage>,
        draws: Draws,
        trace: Trace,
        fuse: Fuse,
    ) -> ModelledExecutor {
        let (waiting, running) = (VecDeque::new(), Vec::new());
        ModelledExecutor { conduct, storage, draws, trace, fuse, waiting, running }
    }

    fn fill(&mut self) {
        while self.running.len() < CORES
            && let Some((ticket, work)) = self.waiting.pop_front()
        {
            let (low, high) = match work {
                Work::Run { .. } => (5, 200),
                Work::Open { .. } | Work::Check { .. } => (1, 40),
                Work::Reduce { .. } => (1, 80),
                Work::Load { .. } => (1, 10),
                Work::Scrub { .. } => (10, 100),
            };
            let takes = Duration::from_millis(self.draws.between(low, high));
            self.running.push((Instant::now() + takes, ticket, takes, work));
        }
    }

    fn first(&self) -> Option<usize> {
        (0..self.running.len()).min_by_key(|&i| (self.running[i].0, self.running[i].1))
    }
}

impl Executor for ModelledExecutor {
    fn start(&mut self, ticket: u64, work: Work) {
        let (kind, digest) = work_digest(&work);
        self.trace.step(kind, ticket, digest);
        // As in production: checks and reductions go before shards.
        match work {
            Work::Run { .. } | Work::Scrub { .. } => self.waiting.push_back((ticket, work)),
            Work::Open { .. } | Work::Check { .. } | Work::Reduce { .. } | Work::Load { .. } => {
                self.waiting.push_front((ticket, work));
            }
        }
        self.fill();
    }

    async fn next(&mut self) -> (u64, Done) {
        let Some(first) = self.first() else { return pending().await };
        sleep_until(self.running[first].0).await;
        if self.fuse.burn() {
            return pending().await;
        }
        let (_, ticket, takes, work) = self.running.swap_remove(first);
        let mut done = self.conduct.perform(work, &self.storage);
        if let Done::Ran { claim, .. } = &mut done {
            claim.wall_us = takes.as_micros() as u64;
            claim.cpu_us = claim.wall_us;
        }
        let (kind, digest) = done_digest(&done);
        self.trace.step(kind, ticket, digest);
        self.fill();
        (ticket, done)
    }

    fn capacity(&self) -> u64 {
        CORES as u64
    }

    fn backend(&self) -> String {
        "cpu/simulated".to_owned()
    }
}
