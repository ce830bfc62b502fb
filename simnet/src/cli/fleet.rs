//! Many seeds: each a simulation of its own in one thread, with a bar while they run and a summary at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::Instant;

use forgemesh_protocol::hash::Hash;
use forgemesh_simnet::faults::{Class, What};
use forgemesh_simnet::report::{FaultCount, Report};
use forgemesh_simnet::scenario::Scenario;
use forgemesh_simnet::world::Broken;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::arguments::{Arguments, Seeds};
use crate::print::json;
use crate::{crew, failure};

/// Failing seeds that are shortened; of the others the whole is named.
const SHORTENED: usize = 5;
/// Failing seeds that the summary names.
const NAMED: usize = 20;

/// What came of all seeds.
#[derive(Debug, Default, Serialize)]
struct Summary {
    seeds: u64,
    failed: u64,
    /// Which.
    failed_seeds: Vec<u64>,
    /// Seeds in which the database's engine would have ended the process on a rotten page: detected, and not as kindly as
    /// it should be.
    aborted: Vec<u64>,
    jobs: u64,
    finalized: u64,
    /// Failed jobs by code.
    failed_jobs: BTreeMap<&'static str, u64>,
    /// Jobs that stopped before their budget was used up.
    stopped_early: u64,
    /// Contracts that were finalized under more than one schedule, the schedules of all of them, and the contracts whose
    /// result was not the same every time.
    contracts: u64,
    schedules: u64,
    ambiguous: u64,
    #[serde(skip)]
    results: BTreeMap<Hash, Results>,
    faults: BTreeMap<Class, FaultCount>,
    events: BTreeMap<&'static str, u64>,
    checks: BTreeMap<&'static str, u64>,
    crashes: u64,
    virtual_hours: f64,
    wall_s: f64,
    threads: u64,
    /// Of all threads.
    cpu_s: f64,
    seeds_per_cpu_s: f64,
    virtual_hours_per_cpu_hour: f64,
}

/// What one contract came to.
#[derive(Debug, Default)]
struct Results {
    schedules: u64,
    distinct: BTreeSet<Hash>,
}

impl Results {
    fn add(&mut self, result: Hash) {
        self.schedules += 1;
        self.distinct.insert(result);
    }
}

/// Runs the seeds and says what came of them; whether everything held.
pub fn run_seeds(arguments: &Arguments, seeds: Seeds) -> bool {
    let bar = ProgressBar::new(seeds.end - seeds.first);
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} seeds  {per_sec}  {eta} to go  {msg}");
    bar.set_style(style.expect("invariant: the template is well formed"));
    let (started, mut summary) = (Instant::now(), Summary::default());
    let mut broken = Vec::new();
    let cores = thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    summary.threads = arguments.threads.unwrap_or(cores).min(seeds.end - seeds.first);
    let chosen = arguments.clone();
    let scenario = move |seed| chosen.chosen(seed);
    crew::simulate(seeds.first..seeds.end, summary.threads, scenario, |seed, result| {
        summary.seeds += 1;
        match result {
            Err(Broken::Aborted) if has_rot(&arguments.chosen(seed)) => {
                let again = failure::name(arguments, seed, &Broken::Aborted).again;
                bar.suspend(|| {
                    eprintln!(
                        "seed {seed}: ended on a rotten page by the database's engine\n  again: {again}"
                    )
                });
                summary.aborted.push(seed);
            }
            Ok(report) => {
                summary.add(&report);
                if arguments.json {
                    bar.suspend(|| println!("{}", json(&report)));
                }
            }
            Err(error) => {
                summary.failed += 1;
                bar.set_message(format!("{} failed", summary.failed));
                let again = failure::name(arguments, seed, &error).again;
                bar.suspend(|| eprintln!("seed {seed}: {error}\n  again: {again}"));
                broken.push((seed, error));
            }
        }
        bar.inc(1);
    });
    bar.finish_and_clear();
    summary.close(started.elapsed().as_secs_f64());
    if let Some(bug) = arguments.bug_name() {
        eprintln!("{}", summary.of_bug(bug));
    }
    broken.sort_by_key(|(seed, _)| *seed);
    summary.failed_seeds = broken.iter().map(|(seed, _)| *seed).collect();
    for (number, (seed, error)) in broken.iter().enumerate() {
        let failure = match number {
            ..SHORTENED => failure::examine(arguments, *seed, error),
            _ => failure::name(arguments, *seed, error),
        };
        if arguments.json { println!("{}", json(&failure)) } else { println!("{failure}") }
    }
    if arguments.json {
        println!("{}", json(&summary))
    } else {
        print!("{}", summary.text())
    }
    if is_too_many(summary.aborted.len() as u64, summary.seeds) {
        eprintln!(
            "too many worlds were ended by the database's engine: what would have come of them is not known"
        );
        return false;
    }
    broken.is_empty() && summary.ambiguous == 0
}

/// A rotten page may end a world now and then (see the README's known limits); if it ends many, they show nothing.
fn is_too_many(aborted: u64, seeds: u64) -> bool {
    aborted > 1 && aborted > seeds / 500
}

fn has_rot(scenario: &Scenario) -> bool {
    scenario.faults.iter().any(|fault| matches!(fault.what, What::Rot { .. }))
}

impl Summary {
    fn add(&mut self, report: &Report) {
        for job in &report.jobs {
            // What a liar got through without verification is no result of the contract.
            if let Some(result) = job.result_hash.filter(|_| !job.by_liar) {
                self.results.entry(job.contract).or_default().add(result);
            }
        }
        self.jobs += report.submitted;
        self.finalized += report.finalized;
        report.failed.iter().for_each(|(code, count)| *self.failed_jobs.entry(code).or_default() += count);
        let stopped = report.jobs.iter().filter(|job| job.stopped_early && job.result_hash.is_some());
        self.stopped_early += stopped.count() as u64;
        self.crashes += report.crashes + report.disk_errors;
        self.virtual_hours += report.virtual_ms as f64 / 3_600_000.0;
        report.faults.iter().for_each(|(class, count)| self.faults.entry(*class).or_default().add(*count));
        report.events.iter().for_each(|(name, count)| *self.events.entry(name).or_default() += count);
        report.checks.iter().for_each(|(name, count)| *self.checks.entry(name).or_default() += count);
    }

    fn close(&mut self, wall_s: f64) {
        let repeated = self.results.values().filter(|results| results.schedules > 1);
        (self.contracts, self.schedules) = (0, 0);
        for results in repeated {
            self.contracts += 1;
            self.schedules += results.schedules;
            self.ambiguous += u64::from(results.distinct.len() > 1);
        }
        let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        let cpu_s = used.tv_sec as f64 + used.tv_nsec as f64 / 1e9;
        (self.wall_s, self.cpu_s) = (wall_s, cpu_s);
        self.seeds_per_cpu_s = self.seeds as f64 / cpu_s;
        self.virtual_hours_per_cpu_hour = self.virtual_hours * 3_600.0 / cpu_s;
    }

    /// Seeds that ran to their end, with every promise kept.
    fn held(&self) -> u64 {
        self.seeds - self.failed - self.aborted.len() as u64
    }

    /// Was a planted bug caught?
    fn of_bug(&self, bug: &str) -> String {
        let (failed, all, held) = (self.failed, self.seeds, self.held());
        format!(
            "bug {bug} was caught at {failed} of {all} seeds; {held} held in spite of it (PLANTED.md says which seeds catch it)"
        )
    }

    /// What came of all seeds, and what was done in those that held: of a seed that failed nothing more is counted.
    fn text(&self) -> String {
        let (held, failed) = (self.held(), self.failed);
        let which = match &self.failed_seeds[..] {
            [] => String::new(),
            seeds if seeds.len() <= NAMED => format!(" ({})", listed(seeds)),
            seeds => format!(" ({}, …)", listed(&seeds[..NAMED])),
        };
        let aborted = match &self.aborted[..] {
            [] => String::new(),
            seeds => {
                format!(
                    ", {} ended on a rotten page by the database's engine ({})",
                    seeds.len(),
                    listed(seeds)
                )
            }
        };
        let pace = format!(
            "in {:.1} s on {} threads: {:.1} seeds for each second of a core",
            self.wall_s, self.threads, self.seeds_per_cpu_s
        );
        let head =
            format!("{} seeds ran: {held} held, {failed} failed{which}{aborted}, {pace}\n", self.seeds);
        match held {
            0 => head,
            _ if held == self.seeds => head + &self.figures(),
            _ => format!("{head}  in the {held} that held:\n{}", self.figures()),
        }
    }

    fn figures(&self) -> String {
        let faults =
            self.faults.iter().map(|(class, count)| format!("{} {count}", json(class).replace('"', "")));
        let events = self.events.iter().map(|(name, count)| format!("{name} {count}"));
        let events = events.collect::<Vec<_>>().join(", ");
        let failed = self.failed_jobs.iter().map(|(code, count)| format!(", {count} {code}"));
        let failed = failed.collect::<String>();
        let checks = self.checks.iter().map(|(name, count)| format!("{name} {count}"));
        let (faults, checks) = (faults.collect::<Vec<_>>().join(", "), checks.collect::<Vec<_>>().join(", "));
        format!(
            "  jobs     {}, {} finalized, {} of them stopped early{failed}\n  digests  {} contracts under {} schedules, {} with more than one result\n  faults   {faults}\n  events   {events}\n  lives    {} ended early\n  checked  {checks}\n  time     {:.1} virtual hours, {:.0} for each hour of a core\n",
            self.jobs,
            self.finalized,
            self.stopped_early,
            self.contracts,
            self.schedules,
            self.ambiguous,
            self.crashes,
            self.virtual_hours,
            self.virtual_hours_per_cpu_hour
        )
    }
}

fn listed(seeds: &[u64]) -> String {
    seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::{Summary, is_too_many};

    #[test]
    fn a_summary_says_how_many_ran_held_and_failed() {
        let of = |seeds, failed_seeds: &[u64], aborted: &[u64]| Summary {
            seeds,
            failed: failed_seeds.len() as u64,
            failed_seeds: failed_seeds.to_vec(),
            aborted: aborted.to_vec(),
            ..Summary::default()
        };
        let all = of(6, &[], &[]).text();
        assert!(all.starts_with("6 seeds ran: 6 held, 0 failed, in ") && !all.contains("that held"), "{all}");
        let some = of(6, &[2, 5], &[3]);
        let text = some.text();
        let head = "6 seeds ran: 3 held, 2 failed (2, 5), 1 ended on a rotten page by the database's engine (3), in ";
        assert!(text.starts_with(head) && text.contains("\n  in the 3 that held:\n  jobs "), "{text}");
        assert!(
            some.of_bug("moth").starts_with("bug moth was caught at 2 of 6 seeds; 3 held in spite of it")
        );
        // Nothing is said of the jobs of seeds of which nothing is known.
        let none = of(2, &[1, 2], &[]).text();
        assert!(
            none.starts_with("2 seeds ran: 0 held, 2 failed (1, 2), in ") && !none.contains("jobs"),
            "{none}"
        );
    }

    #[test]
    fn few_worlds_may_be_ended_by_a_rotten_page() {
        // As in the hundred thousand, and as many as CI may have.
        assert!(!is_too_many(12, 100_000) && !is_too_many(2, 1_000) && !is_too_many(1, 1));
        assert!(is_too_many(3, 1_000) && is_too_many(201, 100_000) && is_too_many(2, 2));
    }
}
