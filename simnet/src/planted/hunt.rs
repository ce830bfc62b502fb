//! Runs each planted bug, seed after seed, until an invariant catches it.

use super::Bug;
use crate::scenario::{Scenario, Wish};
use crate::world::{Broken, run};

/// Seeds after which a bug counts as not caught.
pub const SEEDS: u64 = 200;

/// What became of one bug.
#[derive(Clone, Debug)]
pub struct Caught {
    pub bug: &'static str,
    /// The invariant that must catch it.
    pub invariant: &'static str,
    /// After so many seeds, and what caught it.
    pub found: Option<(u64, String)>,
}

impl Caught {
    /// Was it caught by its own invariant?
    pub fn is_right(&self) -> bool {
        self.found.as_ref().is_some_and(|(_, by)| by == self.invariant)
    }
}

/// Hunts one bug, until its own invariant catches it: another one may see in an earlier world what follows from it.
pub fn one((bug, name, invariant): (Bug, &'static str, &'static str)) -> Caught {
    let wish = Wish { bug: Some(bug), ..Wish::default() };
    let caught = (1..=SEEDS).filter_map(|seed| match run(&Scenario::random(seed, &wish)) {
        Ok(_) => None,
        Err(Broken::Invariant(violation)) => Some((seed, violation.invariant.to_owned())),
        Err(other) => Some((seed, other.to_string())),
    });
    let mut found = None;
    for (seed, by) in caught {
        let is_own = by == invariant;
        if is_own || found.is_none() {
            found = Some((seed, by));
        }
        if is_own {
            break;
        }
    }
    Caught { bug: name, invariant, found }
}

/// Hunts all of them.
pub fn all() -> Vec<Caught> {
    Bug::ALL.into_iter().map(one).collect()
}

/// The table as it is kept in `PLANTED.md`.
pub fn markdown(caught: &[Caught]) -> String {
    let mut out = String::from(
        "# Planted bugs\n\nEach bug of `src/planted/` is switched on in random scenarios, seed 1 first, until its invariant\ncatches it. Made by `cargo run --release -p forgemesh-simnet -- planted --write simnet/PLANTED.md`;\nthe tests hold bugs and invariants against what they find; the seeds change with the mesh.\n\n| bug | invariant that catches it | seeds until caught |\n| --- | --- | ---: |\n",
    );
    for Caught { bug, found, .. } in caught {
        let (seeds, by) = match found {
            Some((seeds, by)) => (seeds.to_string(), by.as_str()),
            None => (format!("not in {SEEDS}"), "none"),
        };
        out.push_str(&format!("| `{bug}` | `{by}` | {seeds} |\n"));
    }
    out
}
