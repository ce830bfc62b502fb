//! The threads that simulate, one world at a time each; and what is done when one of them cannot go on.
//!
//! The database's engine can panic on a rotten page and again while it unwinds from that: then Rust ends the process,
//! whatever else runs in it. The panic hook is the last to see such a thread; it is left standing there, its seed is
//! reported, and another one takes its place.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread;

use forgemesh_simnet::report::Report;
use forgemesh_simnet::scenario::Scenario;
use forgemesh_simnet::world::{Broken, run};

/// What Rust says before it ends the process.
const LAST_WORDS: &str = "panic in a destructor during cleanup";

type Outcome = (u64, Result<Report, Broken>);

thread_local! {
    /// What this thread is at, and who waits for it.
    static AT: RefCell<Option<(u64, Sender<Outcome>)>> = const { RefCell::new(None) };
}

/// From now on a panic is not printed where it happens: a node's is a finding like any other, reported with its seed.
pub fn quiet() {
    std::panic::set_hook(Box::new(|panic| {
        let text = panic.payload_as_str().unwrap_or_default();
        if text.starts_with(LAST_WORDS)
            && let Some((seed, outcomes)) = AT.take()
        {
            // If nobody waits any more, the process is at its end anyway.
            let _ = outcomes.send((seed, Err(Broken::Aborted)));
            loop {
                thread::park();
            }
        }
    }));
}

/// Simulates every seed, on so many threads; `each` hears of them in the order in which they end.
pub fn simulate(
    seeds: Range<u64>,
    threads: u64,
    scenario: impl Fn(u64) -> Scenario + Send + Sync + 'static,
    mut each: impl FnMut(u64, Result<Report, Broken>),
) {
    let (outcomes, results) = mpsc::channel();
    let (next, scenario) = (Arc::new(AtomicU64::new(seeds.start)), Arc::new(scenario));
    let hire = || {
        let (next, scenario, outcomes) = (Arc::clone(&next), Arc::clone(&scenario), outcomes.clone());
        thread::spawn(move || {
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= seeds.end {
                    return;
                }
                AT.set(Some((seed, outcomes.clone())));
                let outcome = run(&scenario(seed));
                if outcomes.send((seed, outcome)).is_err() {
                    return;
                }
            }
        });
    };
    (0..threads).for_each(|_| hire());
    for (seed, outcome) in results.iter().take((seeds.end - seeds.start) as usize) {
        if matches!(outcome, Err(Broken::Aborted)) {
            hire();
        }
        each(seed, outcome);
    }
}
