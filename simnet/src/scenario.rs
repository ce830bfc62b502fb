//! What is to happen in one simulation: which jobs, when, how often the node dies, how its agent behaves.

use crate::adversary::Misdeed;
use crate::draws::Draws;

/// One simulation, before it runs.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub seed: u64,
    /// In the order of their times.
    pub jobs: Vec<Arrival>,
    /// How often the node dies at a random step.
    pub restarts: u64,
    /// What the agent does wrong; nothing if absent.
    pub misdeed: Option<Misdeed>,
}

/// A job and when its client asks for it.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// Virtual milliseconds after the start.
    pub at_ms: u64,
    pub envelope: String,
}

impl Scenario {
    /// `jobs` jobs over virtual minutes, as the seed decides; the node dies up to three times.
    pub fn random(seed: u64, jobs: u64) -> Scenario {
        let mut draws = Draws::new(seed, "scenario");
        let mut at_ms = 0;
        let arrival = |_| {
            // Half of them come on the heels of the one before.
            at_ms += if draws.between(0, 1) == 0 { draws.between(0, 20) } else { draws.between(0, 90_000) };
            Arrival { at_ms, envelope: envelope(&mut draws) }
        };
        let jobs = (0..jobs).map(arrival).collect();
        let restarts = Draws::new(seed, "restarts").between(0, 3);
        Scenario { seed, jobs, restarts, misdeed: None }
    }
}

fn envelope(draws: &mut Draws) -> String {
    let verify = ["none", "spotcheck", "spotcheck", "full"][draws.between(0, 3) as usize];
    let persist = draws.between(0, 3) > 0;
    let seed = draws.between(0, 1_000);
    let (op, args) = match draws.between(0, 5) {
        0 => ("noop.v1", "{}".to_owned()),
        1..=3 => ("mix.v1", format!(r#"{{"iterations":{}}}"#, draws.between(1, 5_000))),
        4 => ("mix.v1", format!(r#"{{"iterations":{}}}"#, draws.between(150_000, 400_000))),
        _ => {
            let triangle = "[[100,150,170],[110,160],[120]]";
            let iterations = draws.between(2, 6_000);
            ("reserve.v1", format!(r#"{{"triangle":{triangle},"iterations":{iterations}}}"#))
        }
    };
    let family = if op == "reserve.v1" { "mc" } else { "diag" };
    // Every leaf of a large diagnosis would be most of the simulation's cost.
    let verify = if args.len() > 20 && family == "diag" { "spotcheck" } else { verify };
    format!(
        r#"{{"op":{{"name":"{family}","version":1,"profile":"{op}"}},"args":{args},"policy":{{"verify":"{verify}"}},"seed":{{"mode":"explicit","value":"{seed}"}},"artifacts":{{"persist":{persist}}}}}"#
    )
}
