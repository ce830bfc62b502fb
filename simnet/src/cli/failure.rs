//! A failing seed: what did not hold, the line that shows it again, the shortest list of faults that still does.

use forgemesh_simnet::scenario::Scenario;
use forgemesh_simnet::shorten::{Shortened, shorten};
use forgemesh_simnet::world::Broken;
use serde::Serialize;

use crate::arguments::Arguments;
use crate::crew;

/// For people and for programs.
#[derive(Debug, Serialize)]
pub struct Failure {
    pub seed: u64,
    /// The invariant, or what else broke.
    pub broken: String,
    pub detail: String,
    /// The line to type.
    pub again: String,
    /// Faults that are needed, of how many.
    pub faults: Vec<String>,
    pub faults_before: usize,
    pub shortening_runs: usize,
}

/// What failed, as it is.
pub fn name(arguments: &Arguments, seed: u64, broken: &Broken) -> Failure {
    let chosen = arguments.chosen(seed);
    let whole = Shortened::whole(&chosen);
    describe(arguments, &chosen, broken, &whole)
}

/// Shortens what failed.
pub fn examine(arguments: &Arguments, seed: u64, broken: &Broken) -> Failure {
    let chosen = arguments.chosen(seed);
    let kind = broken.kind();
    // What ends a process cannot be run again and again in this one.
    let short = match broken {
        Broken::Aborted => Shortened::whole(&chosen),
        _ => shorten(&chosen, &kind, |scenario| crew::alone(scenario).err().map(|broken| broken.kind())),
    };
    describe(arguments, &chosen, broken, &short)
}

fn describe(arguments: &Arguments, chosen: &Scenario, broken: &Broken, short: &Shortened) -> Failure {
    let seed = chosen.seed;
    // Numbers within what was chosen are numbers of the whole scenario only once they are looked up there.
    let numbers = |kept: &[usize], given: &Option<crate::arguments::Numbers>| -> Vec<usize> {
        kept.iter().map(|&n| given.as_ref().and_then(|given| given.0.get(n).copied()).unwrap_or(n)).collect()
    };
    let faults = numbers(&short.faults, &arguments.only);
    let jobs = numbers(&short.jobs, &arguments.only_jobs);
    // Where nothing could be dropped, the lists would say nothing.
    let only = |name: &str, given: bool, kept: &[usize], before: usize| match given || kept.len() < before {
        true => format!(" --{name}={}", list(kept)),
        false => String::new(),
    };
    let again = [
        arguments.again(seed),
        only("only", arguments.only.is_some(), &faults, chosen.faults.len()),
        only("only-jobs", arguments.only_jobs.is_some(), &jobs, chosen.jobs.len()),
    ]
    .concat();
    Failure {
        seed,
        broken: broken.kind(),
        detail: broken.to_string(),
        again,
        faults: described(chosen, &short.faults),
        faults_before: chosen.faults.len(),
        shortening_runs: short.runs,
    }
}

fn list(numbers: &[usize]) -> String {
    numbers.iter().map(usize::to_string).collect::<Vec<_>>().join(",")
}

fn described(scenario: &Scenario, faults: &[usize]) -> Vec<String> {
    faults.iter().filter_map(|&n| scenario.faults.get(n)).map(ToString::to_string).collect()
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "seed {}: {}", self.seed, self.detail)?;
        writeln!(f, "  again: {}", self.again)?;
        let (kept, before) = (self.faults.len(), self.faults_before);
        if self.shortening_runs == 0 {
            return write!(f, "  {before} faults, not shortened");
        }
        write!(f, "  {kept} of {before} faults are needed ({} runs)", self.shortening_runs)?;
        self.faults.iter().try_for_each(|fault| write!(f, "\n    {fault}"))
    }
}
