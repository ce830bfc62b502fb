//! The store of production: one thread that commits, all batches that wait in one transaction.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc as queue;
use std::thread;
use std::time::{Duration, Instant};

use forgemesh_storage::limits::GROUP_BYTES;
use forgemesh_storage::{Batch, CommitError, Storage};
use tokio::sync::mpsc;

use crate::ports::Store;

/// How often the room on the disk is looked at while nothing is written.
const LOOK: Duration = Duration::from_secs(2);
/// How long a batch that is not urgent waits for another.
const LAZY: Duration = Duration::from_millis(2);

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
            let mut left_over = None;
            loop {
                let first = match left_over.take().map_or_else(|| batches.recv_timeout(LOOK), Ok) {
                    Ok(first) => first,
                    Err(queue::RecvTimeoutError::Timeout) => {
                        look(&storage);
                        continue;
                    }
                    Err(queue::RecvTimeoutError::Disconnected) => return,
                };
                let (tokens, group, rest) = gather(first, &batches);
                left_over = rest;
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

/// All that is to be written together: what waits already, and what comes soon if none of it is urgent. What does not fit
/// any more is left over.
fn gather(first: Submitted, batches: &queue::Receiver<Submitted>) -> (Vec<u64>, Batch, Option<Submitted>) {
    let (mut tokens, mut group, mut urgent) = (Vec::new(), Batch::new(), false);
    let (mut next, end) = (Some(first), Instant::now() + LAZY);
    while let Some(Submitted { batch, urgent: now }) = next.take() {
        if let Some((token, batch)) = batch {
            if !tokens.is_empty() && !group.has_room(&batch, GROUP_BYTES) {
                return (tokens, group, Some(Submitted { batch: Some((token, batch)), urgent: now }));
            }
            tokens.push(token);
            group.append(batch);
        }
        urgent |= now;
        let left = if urgent { Duration::ZERO } else { end.saturating_duration_since(Instant::now()) };
        next = batches.recv_timeout(left).ok();
    }
    (tokens, group, None)
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
        let (tokens, ..) = gather(submitted(1, false), &batches);
        assert_eq!(tokens, [1, 2, 3, 4], "all that is there already goes along");
        let (tokens, ..) = gather(Submitted { batch: None, urgent: true }, &batches);
        assert!(tokens.is_empty(), "nothing is left to hurry for");
    }

    /// The storage refuses a batch of too many writes or bytes, and a node whose batch is refused ends; it is slow with one that
    /// its page cache cannot hold.
    #[test]
    fn what_waits_behind_a_slow_disk_is_written_in_as_many_groups_as_it_takes() {
        let (submit, batches) = queue::channel();
        let writes = |count: usize, bytes: usize| {
            let mut batch = Batch::new();
            for i in 0..count {
                batch.put_kv("test", &i.to_string(), vec![0; bytes]);
            }
            batch
        };
        let half = GROUP_BYTES / 2 + 1;
        let sizes = [(40_000, 1), (40_000, 1), (1, half), (1, half), (3, half), (1, half), (1, 1)];
        for (token, (count, bytes)) in (1..).zip(sizes) {
            submit.send(Submitted { batch: Some((token, writes(count, bytes))), urgent: true }).unwrap();
        }
        drop(submit);
        let (mut left_over, mut groups) = (None, Vec::new());
        while let Some(first) = left_over.take().or_else(|| batches.recv().ok()) {
            let (tokens, group, rest) = gather(first, &batches);
            group.check().unwrap();
            groups.push(tokens);
            left_over = rest;
        }
        assert_eq!(groups, [vec![1], vec![2, 3], vec![4], vec![5], vec![6, 7]]);
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
        let (tokens, ..) = gather(submitted(1, false), &batches);
        assert_eq!(tokens.first(), Some(&1));
        drop(batches);
        coming.join().unwrap();
    }
}
