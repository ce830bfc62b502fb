//! The threads that simulate, one world at a time each; and what is done when one of them cannot go on.
//!
//! The database's engine can panic on a rotten page and again while it unwinds from that: then Rust ends the process,
//! whatever else runs in it. The panic hook is the last to see such a thread; it is left standing there, its seed is
//! reported, and another one takes its place.

use std::cell::RefCell;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
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

/// A panic outside a node's task is this seed's finding too: without it nobody would hear of the seed again.
fn caught(simulation: impl FnOnce() -> Result<Report, Broken>) -> Result<Report, Broken> {
    catch_unwind(AssertUnwindSafe(simulation)).unwrap_or_else(|panic| Err(Broken::of_panic(&*panic)))
}

/// Simulates one world, whatever becomes of the thread that does it.
pub fn alone(scenario: &Scenario) -> Result<Report, Broken> {
    let (seed, scenario) = (scenario.seed, scenario.clone());
    let mut outcome = Err(Broken::Aborted);
    simulate(seed..seed + 1, 1, move |_| scenario.clone(), |_, result| outcome = result);
    outcome
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
                let outcome = caught(|| run(&scenario(seed)));
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

#[cfg(test)]
mod tests {
    use forgemesh_simnet::scenario::Wish;

    use super::*;

    /// Without the catch the crew waits for ever.
    #[test]
    fn a_panic_outside_a_task_is_the_failure_of_its_seed() {
        let mut heard = Vec::new();
        let scenario = |seed| match seed {
            3 => panic!("no scenario for seed 3"),
            _ => {
                Scenario::random(seed, &Wish { jobs: Some(0), classes: Some(Vec::new()), ..Wish::default() })
            }
        };
        simulate(2..5, 1, scenario, |seed, result| heard.push((seed, result.err().map(|e| e.to_string()))));
        let panicked = Some("a node or the simulator panicked: no scenario for seed 3".to_owned());
        assert_eq!(heard, [(2, None), (3, panicked), (4, None)]);
    }
}
