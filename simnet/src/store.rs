//! The store of the simulator: the real storage on a disk in memory, each commit after a modelled sync.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::Arc;

use forgemesh_node::ports::Store;
use forgemesh_storage::{Batch, CommitError, Storage};
use tokio::time::{Duration, Instant, sleep_until};

use crate::draws::Draws;
use crate::fuse::Fuse;
use crate::trace::{Trace, batch_digest};

/// A disk that takes its time.
pub struct ModelledStore {
    storage: Arc<Storage>,
    draws: Draws,
    trace: Trace,
    fuse: Fuse,
    waiting: VecDeque<(Instant, u64, Batch)>,
}

impl ModelledStore {
    /// On `storage`.
    pub fn new(storage: Arc<Storage>, draws: Draws, trace: Trace, fuse: Fuse) -> ModelledStore {
        ModelledStore { storage, draws, trace, fuse, waiting: VecDeque::new() }
    }
}

impl Store for ModelledStore {
    fn submit(&mut self, token: u64, batch: Batch) {
        self.trace.step("store", token, batch_digest(&batch));
        // Mostly quick, now and then as slow as a busy disk.
        let slow = self.draws.between(0, 19) == 0;
        let sync = Duration::from_millis(self.draws.between(1, if slow { 400 } else { 8 }));
        let free = self.waiting.back().map_or_else(Instant::now, |(due, ..)| *due);
        self.waiting.push_back((free.max(Instant::now()) + sync, token, batch));
    }

    async fn next(&mut self) -> Result<u64, CommitError> {
        let Some((due, ..)) = self.waiting.front() else { return pending().await };
        sleep_until(*due).await;
        if self.fuse.burn() {
            return pending().await;
        }
        let Some((_, token, batch)) = self.waiting.pop_front() else { return pending().await };
        self.storage.commit(&batch)?;
        // Durable, and nobody hears of it.
        if self.fuse.burn() {
            return pending().await;
        }
        self.trace.step("stored", token, batch_digest(&batch));
        Ok(token)
    }

    fn is_low(&self) -> bool {
        false
    }
}
