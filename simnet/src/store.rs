//! The store of a simulated machine: the real storage on a disk in memory, each commit after a modelled sync. Of the
//! batches that wait it writes one or several together, as a busy disk in production does.

use std::cell::Cell;
use std::collections::VecDeque;
use std::future::pending;
use std::sync::Arc;

use forgemesh_node::ports::Store;
use forgemesh_protocol::hash::Hash;
use forgemesh_storage::{Batch, CommitError, Storage};
use tokio::time::{Duration, Instant, sleep_until};

use crate::draws::Draws;
use crate::faults::Class;
use crate::fuse::Fuse;
use crate::gauge::Gauge;
use crate::ills::Ills;
use crate::observer::Observer;
use crate::planted::Bugs;
use crate::trace::{Trace, batch_digest};

/// A disk that takes its time.
pub struct ModelledStore {
    pub storage: Arc<Storage>,
    pub draws: Draws,
    pub trace: Trace,
    pub fuse: Fuse,
    pub gauge: Gauge,
    pub bugs: Bugs,
    /// Who hears what is durable.
    pub observer: Observer,
    pub waiting: VecDeque<Waiting>,
    /// Written with others, and to be told.
    pub stored: VecDeque<(u64, Hash)>,
    /// What a planted bug has called durable and not written yet.
    pub unwritten: Vec<Batch>,
    pub ills: Ills,
    /// Whether there was too little room when it was looked at last.
    pub was_low: Cell<bool>,
}

/// A batch before its sync.
pub struct Waiting {
    due: Instant,
    token: u64,
    batch: Batch,
}

impl Store for ModelledStore {
    fn submit(&mut self, token: u64, batch: Batch, _: bool) {
        self.trace.step("store", token, batch_digest(&batch));
        // Mostly quick, now and then as slow as a busy disk.
        let slow = self.draws.between(0, 19) == 0;
        let sync = Duration::from_millis(self.draws.between(1, if slow { 400 } else { 8 }));
        let free = self.waiting.back().map_or_else(Instant::now, |last| last.due);
        self.waiting.push_back(Waiting { due: free.max(Instant::now()) + sync, token, batch });
        self.gauge.store(self.waiting.len());
    }

    async fn next(&mut self) -> Result<u64, CommitError> {
        if self.stored.is_empty() {
            let Some(first) = self.waiting.front() else { return pending().await };
            sleep_until(first.due).await;
            if self.fuse.burn() {
                return pending().await;
            }
            self.write()?;
            // Durable, and nobody hears of it.
            if self.fuse.burn() {
                return pending().await;
            }
        }
        let Some((token, digest)) = self.stored.pop_front() else { return pending().await };
        self.trace.step("stored", token, digest);
        if self.bugs.borrow_mut().is_told() { Ok(token) } else { pending().await }
    }

    fn is_low(&self) -> bool {
        let low = self.storage.room().low;
        if low {
            self.ills.strike(Class::DiskFull);
        } else if self.was_low.get() {
            self.storage.restock_reserve();
        }
        self.was_low.set(low);
        low
    }
}

impl ModelledStore {
    /// Writes the first of the batches that wait, or several.
    fn write(&mut self) -> Result<(), CommitError> {
        let several = self.draws.between(1, self.waiting.len() as u64) as usize;
        let mut group = Batch::new();
        for Waiting { token, batch, .. } in self.waiting.drain(..several) {
            let batch = self.bugs.borrow_mut().batch(batch);
            self.stored.push_back((token, batch_digest(&batch)));
            group.append(batch);
        }
        self.gauge.store(self.waiting.len());
        self.observer.attempted(&group);
        self.commit(&group)?;
        self.observer.committed(&group);
        self.ills.stored(&group, &self.storage);
        if several > 1 {
            self.observer.witness.wrote_together();
        }
        Ok(())
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), CommitError> {
        if self.bugs.borrow_mut().is_early() {
            self.unwritten.push(batch.clone());
            return Ok(());
        }
        self.unwritten.drain(..).try_for_each(|early| self.storage.commit(&early))?;
        self.storage.commit(batch)
    }
}
