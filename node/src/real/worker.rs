//! The worker: a process of its own in which shards are computed, because a profile runs over what strangers have sent.
//!
//! A running node starts its own program again as `forgemesh worker` and talks to it by pipes (`worker/frame.rs`). The
//! worker confines itself before it reads any work (`worker/confine.rs`): no network, no files, no new process, bounded
//! memory. It holds nothing that is not in the work or follows from it, so it may end at any time; another is started.
//!
//! What it was doing when it ended is done once more, each piece alone in the new one: so the piece that ends a worker
//! is known, and fails with the reason, and a stranger's job cannot make those of others fail. Must never be waited for
//! without end.

pub mod confine;
#[cfg(target_os = "linux")]
mod filter;
pub mod frame;
pub mod inside;
pub mod memory;
mod process;

pub use process::Launch;

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{ChildStdin, ChildStdout};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use self::frame::{Answered, Asked, FRAME_BYTES, Gap, Outcome, Piece, Shape};
use self::process::Process;
use super::executor::Compute;
use crate::ports::Done;
use crate::stderr;

/// Both sides must be of the same version.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// What a worker's threads yield to others.
pub const NICENESS: i32 = 5;
/// How long a worker may take to confine itself and say so.
const START: Duration = Duration::from_secs(30);
/// The pause before a worker that ended is replaced, at first and at most; it doubles from one that ended soon to the
/// next.
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_MOST: Duration = Duration::from_secs(5);
/// A worker that lived so long did not end soon.
const STEADY: Duration = Duration::from_secs(60);

/// A worker that is always there: the process of the moment, and who waits for it.
pub struct Worker {
    shared: Arc<Shared>,
    keeper: Mutex<Option<JoinHandle<()>>>,
    tickets: AtomicU64,
}

struct Shared {
    launch: Launch,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    life: Life,
    /// The process, while there is one.
    process: Option<Process>,
    /// When it was started, as long as it has not said that it is ready.
    begun: Option<Instant>,
    /// What was asked of it, and who waits for the answer.
    waiting: BTreeMap<u64, (Shape, SyncSender<Ended>)>,
    /// How many want to be, or are, alone in it.
    alone: usize,
    /// Starts that came to nothing, and why the last one did.
    failed_starts: u64,
    reason: String,
    /// Nobody wants it any more.
    closed: bool,
}

/// How what was asked of a worker ended.
enum Ended {
    Answered(Outcome),
    /// With the worker, that had nothing else to do or had.
    Gone {
        reason: String,
        alone: bool,
    },
}

enum Life {
    /// There is none, or it has not said yet that it is ready.
    Starting,
    Running(Arc<Mutex<ChildStdin>>),
}

impl Worker {
    /// One that is started in the background, and again whenever it ends.
    pub fn start(launch: Launch) -> std::io::Result<Worker> {
        let state = State {
            life: Life::Starting,
            process: None,
            begun: None,
            waiting: BTreeMap::new(),
            alone: 0,
            failed_starts: 0,
            reason: String::new(),
            closed: false,
        };
        let shared = Arc::new(Shared { launch, state: Mutex::new(state), changed: Condvar::new() });
        let keeper = {
            let shared = Arc::clone(&shared);
            thread::Builder::new().name("forgemesh-worker".to_owned()).spawn(move || shared.keep())?
        };
        Ok(Worker { shared, keeper: Mutex::new(Some(keeper)), tickets: AtomicU64::new(0) })
    }
}

impl Compute for Worker {
    fn compute(&self, piece: Piece) -> Done {
        let (ticket, shape) = (self.tickets.fetch_add(1, Ordering::Relaxed), Shape::of(&piece));
        let frame = frame::encode(&Asked { ticket, piece }, FRAME_BYTES).map_err(|error| error.to_string());
        let outcome = frame.and_then(|frame| {
            let mut ended = self.shared.ask(ticket, shape, &frame, false)?;
            if matches!(ended, Ended::Gone { alone: false, .. }) {
                self.shared.state().alone += 1;
                let again = self.shared.ask(ticket, shape, &frame, true);
                self.shared.state().alone -= 1;
                self.shared.changed.notify_all();
                ended = again?;
            }
            match ended {
                Ended::Answered(outcome) => Ok(outcome),
                Ended::Gone { reason, .. } => Err(format!("the worker ended with it: {reason}")),
            }
        });
        outcome.unwrap_or_else(|detail| Outcome::Failed { detail }).done()
    }

    fn close(&self) {
        let mut state = self.shared.state();
        state.closed = true;
        state.process.iter_mut().for_each(Process::kill);
        self.shared.changed.notify_all();
        drop(state);
        let keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner).take();
        // It reaps the process; it panics nowhere, and if it did there were nothing to be done.
        let _ = keeper.map(JoinHandle::join);
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere cannot leave it half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the worker, and waits for the end; an error if there is none.
    fn ask(&self, ticket: u64, shape: Shape, frame: &[u8], alone: bool) -> Result<Ended, String> {
        let (sender, receiver) = sync_channel(1);
        let stdin = self.enter(ticket, shape, sender, alone)?;
        // A worker that has ended reads nothing; its keeper sees it too, and answers.
        let _ = stdin.lock().unwrap_or_else(PoisonError::into_inner).write_all(frame);
        drop(stdin);
        receiver.recv().map_err(|_| "the node stops".to_owned())
    }

    /// Waits for a worker that is ready, and for its being free of others if need be, and enters a ticket; where its
    /// frame is to be written. An error if the next start comes to nothing.
    fn enter(
        &self,
        ticket: u64,
        shape: Shape,
        sender: SyncSender<Ended>,
        alone: bool,
    ) -> Result<Arc<Mutex<ChildStdin>>, String> {
        let mut state = self.state();
        let failed_before = state.failed_starts;
        loop {
            if state.closed {
                return Err("the node stops".to_owned());
            }
            let free = if alone { state.waiting.is_empty() } else { state.alone == 0 };
            if let Life::Running(stdin) = &state.life
                && free
            {
                let stdin = Arc::clone(stdin);
                state.waiting.insert(ticket, (shape, sender));
                return Ok(stdin);
            }
            if state.failed_starts > failed_before {
                return Err(format!("no worker could be started: {}", state.reason));
            }
            state = self.changed.wait_timeout(state, START).unwrap_or_else(PoisonError::into_inner).0;
            if state.begun.is_some_and(|begun| begun.elapsed() >= START) {
                // Its keeper sees it end, and counts the start as failed.
                state.process.iter_mut().for_each(Process::kill);
            }
        }
    }

    /// Sees to it that there is a worker, until nobody wants one. On a thread that lasts as long: the system ends a
    /// worker with the thread that started it.
    fn keep(&self) {
        let mut pause = PAUSE;
        loop {
            if self.state().closed {
                return;
            }
            let begun = Instant::now();
            let reason = self.live();
            let mut state = self.state();
            if state.closed {
                return state.waiting.clear();
            }
            stderr::say(&format!("the worker is gone: {reason}; another is started"));
            let waiting = std::mem::take(&mut state.waiting);
            let alone = waiting.len() == 1;
            for (_, sender) in waiting.into_values() {
                // Who waits has room for one answer.
                let _ = sender.try_send(Ended::Gone { reason: reason.clone(), alone });
            }
            pause = if begun.elapsed() >= STEADY { PAUSE } else { (pause * 2).min(PAUSE_MOST) };
            let until = Instant::now() + pause;
            while !state.closed
                && let Some(left) = until.checked_duration_since(Instant::now())
            {
                state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }

    /// The life of one worker; why it ended.
    fn live(&self) -> String {
        let (process, stdin, mut stdout) = match Process::spawn(&self.launch, true) {
            Ok(started) => started,
            Err(error) => return self.failed(format!("{}: {error}", self.launch.program.display())),
        };
        let mut state = self.state();
        if state.closed {
            drop(state);
            return process.end(self.launch.memory_bytes);
        }
        (state.process, state.begun) = (Some(process), Some(Instant::now()));
        drop(state);
        let first = process::ready(&mut stdout);
        if let Ok(Some(ready)) = &first {
            tell(&ready.gaps);
            let mut state = self.state();
            (state.life, state.begun) = (Life::Running(Arc::new(Mutex::new(stdin))), None);
            drop(state);
            self.changed.notify_all();
        }
        let breach = match first {
            Ok(Some(_)) => self.answers(&mut stdout).err(),
            Ok(None) => None,
            Err(error) => Some(error.to_string()),
        };
        let mut state = self.state();
        let was_ready = matches!(state.life, Life::Running(_));
        (state.life, state.begun) = (Life::Starting, None);
        let process = state.process.take();
        drop((state, stdout));
        let end = process.map_or_else(String::new, |process| process.end(self.launch.memory_bytes));
        let reason =
            breach.map_or(end, |breach| format!("it was ended, for what it said is no answer: {breach}"));
        if was_ready { reason } else { self.failed(reason) }
    }

    /// A start came to nothing.
    fn failed(&self, reason: String) -> String {
        let mut state = self.state();
        state.failed_starts += 1;
        state.reason.clone_from(&reason);
        self.changed.notify_all();
        reason
    }

    /// Hands out answers until the worker hangs up; an error if it says what nobody may say.
    fn answers(&self, stdout: &mut ChildStdout) -> Result<(), String> {
        loop {
            let answered = frame::read::<Answered>(stdout, FRAME_BYTES).map_err(|error| error.to_string())?;
            let Some(Answered { ticket, outcome }) = answered else { return Ok(()) };
            let mut state = self.state();
            let fits = state.waiting.get(&ticket).is_some_and(|(shape, _)| shape.fits(&outcome));
            let waiting = if fits { state.waiting.remove(&ticket) } else { None };
            let (_, sender) = waiting.ok_or("an answer to nothing that was asked")?;
            let _ = sender.try_send(Ended::Answered(outcome));
            if state.alone > 0 {
                self.changed.notify_all();
            }
        }
    }
}

/// Says in the log what the system would not take from the worker.
fn tell(gaps: &[Gap]) {
    for gap in gaps {
        stderr::say(&format!(
            "the worker is not confined as it should be: {gap}; `forgemesh doctor` says more"
        ));
    }
}

/// Starts a worker, for a look at how far it is confined.
pub fn probe(launch: &Launch) -> Result<Vec<Gap>, String> {
    let (mut process, stdin, mut stdout) =
        Process::spawn(launch, false).map_err(|error| format!("{}: {error}", launch.program.display()))?;
    let ready = process::ready(&mut stdout);
    if let Ok(Some(ready)) = ready {
        drop(stdin);
        process.kill();
        process.end(launch.memory_bytes);
        return Ok(ready.gaps);
    }
    Err(process.end(launch.memory_bytes))
}
