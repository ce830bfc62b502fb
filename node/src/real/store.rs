//! The store of production: one thread that commits, all batches that wait in one transaction.

use std::sync::Arc;
use std::sync::mpsc as queue;
use std::thread;

use forgemesh_storage::{Batch, CommitError, Storage};
use tokio::sync::mpsc;

use crate::ports::Store;

/// Bytes after which a transaction takes no further batch.
const GROUP_BYTES: usize = 64 << 20;

/// The thread's two ends.
pub struct StoreThread {
    submit: Option<queue::Sender<(u64, Batch)>>,
    done: mpsc::UnboundedReceiver<Result<u64, CommitError>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl StoreThread {
    /// Starts the thread.
    pub fn start(storage: Arc<Storage>) -> std::io::Result<StoreThread> {
        let (submit, batches) = queue::channel::<(u64, Batch)>();
        let (report, done) = mpsc::unbounded_channel();
        let run = move || {
            while let Ok((token, mut group)) = batches.recv() {
                let mut tokens = vec![token];
                while group.size() < GROUP_BYTES
                    && let Ok((token, batch)) = batches.try_recv()
                {
                    tokens.push(token);
                    group.append(batch);
                }
                match storage.commit(&group) {
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
        Ok(StoreThread { submit: Some(submit), done, thread: Some(thread) })
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
        false
    }
}
