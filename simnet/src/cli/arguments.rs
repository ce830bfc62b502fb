//! What the command line takes, and the scenario that follows from it.

use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};
use forgemesh_simnet::faults::CLASSES;
use forgemesh_simnet::limits;
use forgemesh_simnet::planted::Bug;
use forgemesh_simnet::scenario::{Scenario, Wish};

/// Real nodes in virtual time. A seed decides everything: machines, jobs, faults, who lies.
///
/// Exit code 0 if every invariant held, 1 if one did not, 2 for wrong usage.
#[derive(Clone, Parser)]
#[command(name = "forgemesh-simnet", args_conflicts_with_subcommands = true)]
pub struct Arguments {
    /// The one seed to run
    #[arg(long, default_value_t = 1, conflicts_with = "seeds", allow_negative_numbers = true,
        value_parser = |text: &str| whole(text, "seed", 0, u64::MAX - 1))]
    pub seed: u64,
    /// Many seeds: A..B, B left out
    #[arg(long, allow_hyphen_values = true, value_parser = seeds)]
    pub seeds: Option<Seeds>,
    /// Machines of the mesh, the hub among them; without it the seed decides, 4 to 12
    #[arg(long, allow_negative_numbers = true,
        value_parser = |text: &str| whole(text, "number of machines", 1, limits::MACHINES))]
    pub nodes: Option<u64>,
    /// Members of the hub among them: 1, 3 or 5; without it the seed decides
    #[arg(long, allow_negative_numbers = true, value_parser = hub)]
    pub hub: Option<u64>,
    /// Virtual hours in which clients ask and faults strike, before the world is healed [default: two minutes]
    #[arg(long, allow_negative_numbers = true, value_parser = hours)]
    pub hours: Option<f64>,
    /// Jobs of each simulation; without it the seed decides, some for every few minutes
    #[arg(long, allow_negative_numbers = true,
        value_parser = |text: &str| whole(text, "number of jobs", 0, limits::JOBS))]
    pub jobs: Option<u64>,
    /// Classes of fault, comma-separated; `none` for none; without it the seed decides
    #[arg(long, value_delimiter = ',', value_parser = class)]
    pub faults: Option<Vec<String>>,
    /// Plants this bug where it does harm, in the hub or in the agents, to see what a failure looks like
    #[arg(long, value_parser = bug)]
    pub bug: Option<Bug>,
    /// The faults with these numbers alone, comma-separated; empty for none
    #[arg(long, value_parser = numbers, conflicts_with = "seeds")]
    pub only: Option<Numbers>,
    /// The jobs with these numbers alone, comma-separated
    #[arg(long, value_parser = numbers, conflicts_with = "seeds")]
    pub only_jobs: Option<Numbers>,
    /// Simulations that run at once, each in a thread of its own [default: one for each core]
    #[arg(long, allow_negative_numbers = true,
        value_parser = |text: &str| whole(text, "number of threads", 1, 1024))]
    pub threads: Option<u64>,
    /// One JSON object a line: one for each seed, then the summary
    #[arg(long)]
    pub json: bool,
    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Clone, Subcommand)]
pub enum Command {
    /// Runs every planted bug until its invariant catches it, and prints the table
    Planted {
        /// Writes the table to this file, too
        #[arg(long)]
        write: Option<PathBuf>,
    },
}

/// A range of seeds.
#[derive(Clone, Copy, Debug)]
pub struct Seeds {
    pub first: u64,
    pub end: u64,
}

/// Numbers of faults or jobs.
#[derive(Clone, Debug)]
pub struct Numbers(pub Vec<usize>);

/// A whole number within its bounds, both of which are allowed.
fn whole(text: &str, what: &str, least: u64, most: u64) -> Result<u64, String> {
    let number = text.parse().ok().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| {
        format!("`{text}` is not in the range of the {what}; write a whole number from {least} to {most}")
    })
}

fn seeds(text: &str) -> Result<Seeds, String> {
    let cure = || format!("`{text}` is no range of seeds; write A..B with A below B, for instance 1..1000");
    let (first, end) = text.split_once("..").ok_or_else(cure)?;
    let seeds = Seeds { first: first.parse().map_err(|_| cure())?, end: end.parse().map_err(|_| cure())? };
    if seeds.first < seeds.end { Ok(seeds) } else { Err(cure()) }
}

fn hub(text: &str) -> Result<u64, String> {
    let number = text.parse().ok().filter(|number| [1, 3, 5].contains(number));
    number.ok_or_else(|| format!("a hub does not have `{text}` members here; write 1, 3 or 5"))
}

fn hours(text: &str) -> Result<f64, String> {
    let cure = || {
        format!("`{text}` is no time; write hours above 0 and up to {}, for instance 2 or 0.5", limits::HOURS)
    };
    let hours: f64 = text.parse().map_err(|_| cure())?;
    if hours > 0.0 && hours <= limits::HOURS { Ok(hours) } else { Err(cure()) }
}

fn class(text: &str) -> Result<String, String> {
    let names: Vec<&str> = CLASSES.iter().map(|(_, name, _)| *name).collect();
    if text == "none" || names.contains(&text) {
        return Ok(text.to_owned());
    }
    Err(format!("no class of fault is called `{text}`; there are {}, and `none`", names.join(", ")))
}

fn bug(text: &str) -> Result<Bug, String> {
    let names: Vec<&str> = Bug::ALL.iter().map(|(_, name, _)| *name).collect();
    let found = Bug::ALL.iter().find(|(_, name, _)| *name == text).map(|(bug, ..)| *bug);
    found.ok_or_else(|| format!("no planted bug is called `{text}`; there are {}", names.join(", ")))
}

fn numbers(text: &str) -> Result<Numbers, String> {
    let parts = text.split(',').filter(|part| !part.is_empty());
    let numbers: Result<Vec<usize>, _> = parts.map(|part| part.trim().parse()).collect();
    let cure = |_| format!("`{text}` is no list of numbers; write for instance 3,7,9");
    numbers.map(Numbers).map_err(cure)
}

fn within(name: &str, given: &Option<Numbers>, len: usize, seed: u64) -> Result<(), String> {
    let beyond = given.iter().flat_map(|given| &given.0).find(|number| **number >= len);
    match (beyond, len.checked_sub(1)) {
        (None, _) => Ok(()),
        (Some(number), None) => Err(format!(
            "--{name} names number {number}; seed {seed} has none with these arguments, so leave it out"
        )),
        (Some(number), Some(last)) => {
            Err(format!("--{name} names number {number}; seed {seed} has 0 to {last} with these arguments"))
        }
    }
}

impl Arguments {
    /// The whole scenario of a seed.
    pub fn scenario(&self, seed: u64) -> Scenario {
        Scenario::random(
            seed,
            &Wish {
                machines: self.nodes.map(|nodes| nodes as usize),
                hubs: self.hub.map(|hubs| hubs as usize),
                span_ms: self.hours.map(|hours| (hours * 3_600_000.0) as u64),
                jobs: self.jobs,
                classes: self.faults.clone(),
                bug: self.bug,
            },
        )
    }

    /// The arguments, if every number that they name is one of the seed's scenario; else the process ends.
    pub fn parsed() -> Arguments {
        let arguments = Arguments::parse();
        if let (Some(hub), Some(nodes)) = (arguments.hub, arguments.nodes)
            && hub > nodes
        {
            let cure = format!("--hub {hub} needs as many machines; write --nodes {hub} or more");
            Arguments::command().error(ErrorKind::ValueValidation, cure).exit();
        }
        if arguments.only.is_some() || arguments.only_jobs.is_some() {
            let whole = arguments.scenario(arguments.seed);
            let within = |name, given: &Option<Numbers>, len| within(name, given, len, arguments.seed);
            let checked = within("only", &arguments.only, whole.faults.len())
                .and_then(|()| within("only-jobs", &arguments.only_jobs, whole.jobs.len()));
            if let Err(cure) = checked {
                Arguments::command().error(ErrorKind::ValueValidation, cure).exit();
            }
        }
        arguments
    }

    /// The name of the bug that is planted.
    pub fn bug_name(&self) -> Option<&'static str> {
        let bug = self.bug?;
        Bug::ALL.iter().find(|(other, ..)| *other == bug).map(|(_, name, _)| *name)
    }

    /// What is to be run of it.
    pub fn chosen(&self, seed: u64) -> Scenario {
        let numbers = |numbers: &Option<Numbers>| numbers.as_ref().map(|numbers| numbers.0.clone());
        self.scenario(seed).only(numbers(&self.only).as_deref(), numbers(&self.only_jobs).as_deref())
    }

    /// The line that runs a seed again in the same way.
    pub fn again(&self, seed: u64) -> String {
        // What reads a rotten page checks more in a debug build, so a world may be another there.
        let release = if cfg!(debug_assertions) { "" } else { " --release" };
        let mut line = format!("cargo run{release} -p forgemesh-simnet -- --seed {seed}");
        let mut add = |name: &str, value: Option<String>| {
            line.extend(value.map(|value| format!(" --{name} {value}")));
        };
        add("nodes", self.nodes.map(|nodes| nodes.to_string()));
        add("hub", self.hub.map(|hub| hub.to_string()));
        add("hours", self.hours.map(|hours| hours.to_string()));
        add("jobs", self.jobs.map(|jobs| jobs.to_string()));
        add("bug", self.bug_name().map(str::to_owned));
        add("faults", self.faults.as_ref().map(|classes| classes.join(",")));
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(args: &[&str]) -> String {
        let parsed = Arguments::try_parse_from(["forgemesh-simnet"].iter().chain(args));
        parsed.err().unwrap_or_else(|| panic!("{args:?} was taken")).to_string()
    }

    #[test]
    fn a_number_that_is_none_or_out_of_range_is_told_what_would_be_valid() {
        for (args, cure) in [
            (["--seed", "x"], "from 0 to 18446744073709551614"),
            (["--seed", "-1"], "from 0 to 18446744073709551614"),
            (["--seed", "18446744073709551615"], "from 0 to 18446744073709551614"),
            (["--nodes", "0"], &format!("from 1 to {}", limits::MACHINES)),
            (["--nodes", "-3"], &format!("from 1 to {}", limits::MACHINES)),
            (["--jobs", "-3"], &format!("from 0 to {}", limits::JOBS)),
            (["--threads", "0"], "from 1 to 1024"),
            (["--hours", "-2"], "write hours above 0"),
            (["--seeds", "-5..3"], "write A..B"),
        ] {
            let message = refused(&args);
            assert!(message.contains(args[1]) && message.contains(cure), "{args:?}: {message}");
        }
    }

    #[test]
    fn the_bounds_themselves_are_taken() {
        let most = limits::MACHINES.to_string();
        for args in
            [["--seed", "0"], ["--seed", "18446744073709551614"], ["--nodes", "1"], ["--nodes", &most]]
        {
            assert!(Arguments::try_parse_from(["forgemesh-simnet"].iter().chain(&args)).is_ok(), "{args:?}");
        }
    }
}
