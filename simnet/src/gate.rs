//! Stops a process where it stands, as a stopped virtual machine is stopped: none of its timers fires, nothing that
//! arrives is read, until the pause is over.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// Shared by whoever stops the process and the process.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    until: Rc<Cell<Option<Instant>>>,
    changed: Rc<Notify>,
}

impl Gate {
    /// The process stands still until then, or until it is opened.
    pub fn close(&self, until: Instant) {
        self.until.set(Some(until));
        self.changed.notify_one();
    }

    /// The process goes on.
    pub fn open(&self) {
        self.until.set(None);
        self.changed.notify_one();
    }

    /// Runs `process`, which is not polled while the gate is closed.
    pub async fn run<T>(&self, process: impl Future<Output = T>) -> T {
        let mut process = pin!(process);
        loop {
            if let Some(until) = self.until.get() {
                tokio::select! {
                    biased;
                    () = self.changed.notified() => {}
                    () = sleep_until(until) => self.until.set(None),
                }
                continue;
            }
            let mut changed = pin!(self.changed.notified());
            let step = poll_fn(|context| {
                if changed.as_mut().poll(context).is_ready() {
                    return Poll::Ready(None);
                }
                process.as_mut().poll(context).map(Some)
            });
            if let Some(done) = step.await {
                return done;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Duration, sleep};

    use super::*;

    /// Its process counts seconds.
    #[tokio::test(start_paused = true)]
    async fn nothing_runs_behind_a_closed_gate() {
        let (gate, seconds) = (Gate::default(), Cell::new(0));
        let process = async {
            loop {
                sleep(Duration::from_secs(1)).await;
                seconds.set(seconds.get() + 1);
            }
        };
        let watch = async {
            let after = async |ms| {
                sleep(Duration::from_millis(ms)).await;
                seconds.get()
            };
            assert_eq!(after(2_500).await, 2);
            gate.close(Instant::now() + Duration::from_secs(10));
            assert_eq!(after(9_900).await, 2);
            assert_eq!(after(200).await, 3, "what was due meanwhile comes once it is over");
            gate.close(Instant::now() + Duration::from_secs(5));
            assert_eq!(after(500).await, 3);
            gate.close(Instant::now() + Duration::from_secs(20));
            assert_eq!(after(6_000).await, 3, "who closes it again decides for how long");
            gate.open();
            assert_eq!(after(100).await, 4);
        };
        tokio::select! {
            biased;
            () = gate.run(process) => panic!("the process never ends"),
            () = watch => {}
        }
    }
}
