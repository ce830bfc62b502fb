//! The jobs of a simulation: small ones of every kind, drawn from a fixed set of contracts, so that what one world has
//! executed the next one knows.

use crate::draws::Draws;

/// A client's job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Virtual milliseconds after the start.
    pub at_ms: u64,
    pub envelope: String,
    /// Its submitter takes it back so long after it was accepted.
    pub cancel_ms: Option<u64>,
}

/// `jobs` jobs over `span_ms`, in the order of their times.
pub fn draw(draws: &mut Draws, jobs: u64, span_ms: u64, nodes: u64) -> Vec<Arrival> {
    let mut arrivals: Vec<Arrival> = (0..jobs).map(|_| arrival(draws, span_ms, nodes)).collect();
    // Half of them come on the heels of the one before.
    for number in 1..arrivals.len() {
        if draws.between(0, 1) == 0 {
            arrivals[number].at_ms = arrivals[number - 1].at_ms + draws.between(0, 20);
        }
    }
    arrivals.sort_by_key(|arrival| arrival.at_ms);
    arrivals
}

fn arrival(draws: &mut Draws, span_ms: u64, nodes: u64) -> Arrival {
    let at_ms = draws.between(0, span_ms * 3 / 4);
    let cancel_ms = (draws.between(0, 9) == 0).then(|| draws.between(0, 20_000));
    Arrival { at_ms, envelope: envelope(draws, nodes), cancel_ms }
}

/// A job of more shards than one machine may hold.
pub fn many_shards() -> Arrival {
    let envelope = r#"{"op":{"name":"diag","version":1,"profile":"noop.v1"},"args":{"shards":4000},"policy":{"verify":"none"}}"#;
    Arrival { at_ms: 0, envelope: envelope.to_owned(), cancel_ms: None }
}

/// What is computed.
struct Computation {
    family: &'static str,
    profile: &'static str,
    args: String,
    /// An opening of one of its leaves carries megabytes: checking all of them would be most of a simulation's cost.
    is_heavy: bool,
}

fn envelope(draws: &mut Draws, nodes: u64) -> String {
    let Computation { family, profile, args, is_heavy } = computation(draws);
    let full = if is_heavy { "spotcheck" } else { "full" };
    let verify = ["none", "spotcheck", "spotcheck", full][draws.between(0, 3) as usize];
    let persist = draws.between(0, 3) > 0;
    let seed = draws.between(0, 2);
    let timeout_ms = if draws.between(0, 9) == 0 { draws.between(500, 120_000) } else { 0 };
    let min_agents = if draws.between(0, 5) == 0 { draws.between(1, (nodes / 2).max(1)) } else { 0 };
    let max_agents = if draws.between(0, 5) == 0 { min_agents + draws.between(1, 3) } else { 0 };
    format!(
        r#"{{"op":{{"name":"{family}","version":1,"profile":"{profile}"}},"args":{args},"policy":{{"verify":"{verify}","timeout_ms":{timeout_ms},"min_agents":{min_agents},"max_agents":{max_agents}}},"seed":{{"mode":"explicit","value":"{seed}"}},"artifacts":{{"persist":{persist}}}}}"#
    )
}

/// From one path to a few shards, with a pilot stage alone, with a main stage after it, with stops between stages.
fn computation(draws: &mut Draws) -> Computation {
    let mut one_of = |choices: &[u64]| choices[draws.between(0, choices.len() as u64 - 1) as usize];
    let (family, profile, args, is_heavy) = match one_of(&[0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 3]) {
        0 => ("diag", "noop.v1", format!(r#"{{"shards":{}}}"#, one_of(&[1, 2, 7, 24, 80])), false),
        1 => {
            let iterations = one_of(&[1, 17, 100, 1_000, 1_000, 4_096]);
            ("diag", "mix.v1", format!(r#"{{"iterations":{iterations}}}"#), false)
        }
        2 => {
            let (iterations, rest) = match one_of(&[0, 1, 1, 1, 1, 2, 2, 3, 4, 5, 5, 6, 6, 7]) {
                0 => (2, ""),
                1 => (300, ""),
                2 => (2_000, ""),
                3 => (66_000, ""),
                4 => (30_000, STOP),
                5 => (30_000, LOOKS),
                6 => (30_000, NEVER),
                _ => (40_000, STEADY),
            };
            let args = format!(r#"{{"triangle":{TRIANGLE},"iterations":{iterations}{rest}}}"#);
            ("mc", "reserve.v1", args, iterations > 2_000)
        }
        _ => {
            let (iterations, rest) = match one_of(&[0, 1, 1, 2, 2, 3, 4]) {
                0 => (2, ""),
                1 => (500, ""),
                2 => (3_000, ""),
                // A first look after eight leaves.
                3 => (700_000, INSURED),
                _ => (700_000, NEVER),
            };
            let args = format!(r#"{{"iterations":{iterations}{rest}}}"#);
            ("mc", "insurance.v1", args, iterations > 3_000)
        }
    };
    Computation { family, profile, args, is_heavy }
}

const TRIANGLE: &str = "[[100,150,170],[110,160],[120]]";
/// Good enough at the first look.
const INSURED: &str = r#","convergence":{"relative_half_width":0.05,"confidence":0.95}"#;
const STOP: &str = r#","convergence":{"relative_half_width":0.02,"confidence":0.95,"min_iterations":8000}"#;
/// Several looks before it stops.
const LOOKS: &str = r#","convergence":{"relative_half_width":0.0035,"confidence":0.95}"#;
/// No sample within the budget is that good.
const NEVER: &str = r#","convergence":{"relative_half_width":0.000001,"confidence":0.95}"#;
/// Steady over some looks.
const STEADY: &str = r#","convergence":{"variance_window":3,"variance_tolerance":0.02,"confidence":0.9}"#;
