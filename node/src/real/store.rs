//! The store of production: one thread that commits, all batches that wait in one transaction.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc as queue;
use std::thread;
use std::time::Duration;

use forgemesh_storage::{Batch, CommitError, Storage};
use tokio::sync::mpsc;

use crate::ports::Store;

/// How often the room on the disk is looked at while nothing is written.
const LOOK: Duration = Duration::from_secs(2);
/// Bytes after which a transaction takes no further batch.
const GROUP_BYTES: usize = 64 << 20;

/// The thread's two ends.
pub struct StoreThread {
    submit: Option<queue::Sender<(u64, Batch)>>,
    done: mpsc::UnboundedReceiver<Result<u64, CommitError>>,
    thread: Option<thread::JoinHandle<()>>,
    low: Arc<AtomicBool>,
}

impl StoreThread {
    /// Starts the thread.
    pub fn start(storage: Arc<Storage>) -> std::io::Result<StoreThread> {
        let (submit, batches) = queue::channel::<(u64, Batch)>();
        let (report, done) = mpsc::unbounded_channel();
        let low = Arc::new(AtomicBool::new(storage.room().low));
        let flag = low.clone();
        let look = move |storage: &Storage| {
            let low = storage.room().low;
            if flag.swap(low, Ordering::Relaxed) && !low {
                storage.restock_reserve();
            }
        };
        let run = move || {
            loop {
                let (token, mut group) = match batches.recv_timeout(LOOK) {
                    Ok(first) => first,
                    Err(queue::RecvTimeoutError::Timeout) => {
                        look(&storage);
                        continue;
                    }
                    Err(queue::RecvTimeoutError::Disconnected) => return,
                };
                let mut tokens = vec![token];
                while group.size() < GROUP_BYTES
                    && let Ok((token, batch)) = batches.try_recv()
                {
                    tokens.push(token);
                    group.append(batch);
                }
                let committed = storage.commit(&group);
                look(&storage);
                match committed {
                    Ok(()) => tokens.into_iter().for_each(|token| {
                        // A loop that has ended needs no completion.
                        let _ = report.send(Ok(token));
                    }),
                    Err(error) => {
                        let _ = report.send(Err(error));
                        return;
                    }
                }
            }
        };
        let thread = thread::Builder::new().name("forgemesh-store".to_owned()).spawn(run)?;
        Ok(StoreThread { submit: Some(submit), done, thread: Some(thread), low })
    }
}

impl Drop for StoreThread {
    /// Waits until everything that was submitted is on the disk.
    fn drop(&mut self) {
        self.submit = None;
        if let Some(thread) = self.thread.take() {
            // It has no state that a panic could leave half done: redb's transaction is dropped.
            let _ = thread.join();
        }
    }
}

impl Store for StoreThread {
    fn submit(&mut self, token: u64, batch: Batch) {
        if let Some(submit) = &self.submit {
            // A thread that has stopped has reported why; the loop ends on that report.
            let _ = submit.send((token, batch));
        }
    }

    async fn next(&mut self) -> Result<u64, CommitError> {
        self.done.recv().await.unwrap_or(Err(CommitError::Dead))
    }

    fn is_low(&self) -> bool {
        self.low.load(Ordering::Relaxed)
    }
}
