//! The store of production: one thread that commits, all batches that wait in one transaction.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc as queue;
use std::thread;
use std::time::{Duration, Instant};

use forgemesh_storage::{Batch, CommitError, Storage};
use tokio::sync::mpsc;

use crate::ports::Store;

/// How often the room on the disk is looked at while nothing is written.
const LOOK: Duration = Duration::from_secs(2);
/// How long a batch that is not urgent waits for another.
const LAZY: Duration = Duration::from_millis(5);
/// Bytes after which a transaction takes no further batch.
const GROUP_BYTES: usize = 64 << 20;

/// The thread's two ends.
pub struct StoreThread {
    submit: Option<queue::Sender<Submitted>>,
    done: mpsc::UnboundedReceiver<Result<u64, CommitError>>,
    thread: Option<thread::JoinHandle<()>>,
    low: Arc<AtomicBool>,
}

impl StoreThread {
    /// Starts the thread.
    pub fn start(storage: Arc<Storage>) -> std::io::Result<StoreThread> {
        let (submit, batches) = queue::channel::<Submitted>();
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
                let first = match batches.recv_timeout(LOOK) {
                    Ok(first) => first,
                    Err(queue::RecvTimeoutError::Timeout) => {
                        look(&storage);
                        continue;
                    }
                    Err(queue::RecvTimeoutError::Disconnected) => return,
                };
                let (tokens, group) = gather(first, &batches);
                if tokens.is_empty() {
                    continue;
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

/// A batch that was handed in; or none, and those before it are urgent.
struct Submitted {
    batch: Option<(u64, Batch)>,
    urgent: bool,
}

/// All that is to be written together: what waits already, and what comes soon if none of it is urgent.
fn gather(first: Submitted, batches: &queue::Receiver<Submitted>) -> (Vec<u64>, Batch) {
    let (mut tokens, mut group, mut urgent) = (Vec::new(), Batch::new(), false);
    let (mut next, end) = (Some(first), Instant::now() + LAZY);
    while let Some(Submitted { batch, urgent: now }) = next.take() {
        if let Some((token, batch)) = batch {
            tokens.push(token);
            group.append(batch);
        }
        urgent |= now;
        if group.size() < GROUP_BYTES {
            let left = if urgent { Duration::ZERO } else { end.saturating_duration_since(Instant::now()) };
            next = batches.recv_timeout(left).ok();
        }
    }
    (tokens, group)
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
    fn submit(&mut self, token: u64, batch: Batch, urgent: bool) {
        if let Some(submit) = &self.submit {
            // A thread that has stopped has reported why; the loop ends on that report.
            let _ = submit.send(Submitted { batch: Some((token, batch)), urgent });
        }
    }

    fn hurry(&mut self) {
        if let Some(submit) = &self.submit {
            let _ = submit.send(Submitted { batch: None, urgent: true });
        }
    }

    async fn next(&mut self) -> Result<u64, CommitError> {
        self.done.recv().await.unwrap_or(Err(CommitError::Dead))
    }

    fn is_low(&self) -> bool {
        self.low.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn submitted(token: u64, urgent: bool) -> Submitted {
        Submitted { batch: Some((token, Batch::new())), urgent }
    }

    #[test]
    fn what_is_not_urgent_waits_for_what_is() {
        let (submit, batches) = queue::channel();
        for token in 2..5 {
            submit.send(submitted(token, token == 3)).unwrap();
        }
        submit.send(Submitted { batch: None, urgent: true }).unwrap();
        let (tokens, _) = gather(submitted(1, false), &batches);
        assert_eq!(tokens, [1, 2, 3, 4], "all that is there already goes along");
        let (tokens, _) = gather(Submitted { batch: None, urgent: true }, &batches);
        assert!(tokens.is_empty(), "nothing is left to hurry for");
    }

    #[test]
    fn what_keeps_coming_keeps_nobody_waiting_for_ever() {
        let (submit, batches) = queue::channel();
        let coming = thread::spawn(move || {
            // Until nobody takes them any more.
            (2..)
                .take_while(|token| {
                    thread::sleep(Duration::from_millis(1));
                    submit.send(submitted(*token, false)).is_ok()
                })
                .count()
        });
        let (tokens, _) = gather(submitted(1, false), &batches);
        assert_eq!(tokens.first(), Some(&1));
        drop(batches);
        coming.join().unwrap();
    }
}
