//! Seeds with every class of fault, and what a shortened failure says. More of them run in `.ci/run`.

use std::collections::BTreeMap;

use forgemesh_simnet::faults::{CLASSES, Class};
use forgemesh_simnet::planted::Bug;
use forgemesh_simnet::report::FaultCount;
use forgemesh_simnet::scenario::{Scenario, Wish, classes};
use forgemesh_simnet::shorten::shorten;
use forgemesh_simnet::world::run;

const AGAIN: &str = "cargo run -p forgemesh-simnet -- --seed";

/// A seed with one hub member, without the classes of fault that were added after it was found.
fn found_before(seed: u64, later: &[&str]) -> Scenario {
    let classes = classes(seed).into_iter().filter(|class| !later.contains(&class.as_str()));
    let wish = Wish { hubs: Some(1), classes: Some(classes.collect()), ..Wish::default() };
    Scenario::random(seed, &wish)
}

#[test]
fn every_invariant_holds_under_every_class_of_fault() {
    let (mut faults, mut checks) = (BTreeMap::<Class, FaultCount>::new(), BTreeMap::<&str, u64>::new());
    let (mut early, mut several) = (0, 0);
    let mut events = BTreeMap::<&str, u64>::new();
    for seed in 1_000..1_040 {
        let report = run(&Scenario::random(seed, &Wish::default()))
            .unwrap_or_else(|broken| panic!("{broken}: {AGAIN} {seed}"));
        assert_eq!(report.checks["progress"], 1, "{AGAIN} {seed}");
        report.faults.iter().for_each(|(class, count)| faults.entry(*class).or_default().add(*count));
        report.events.iter().for_each(|(name, count)| *events.entry(name).or_default() += count);
        let stopped = || report.jobs.iter().filter(|job| job.stopped_early && job.result_hash.is_some());
        early += stopped().count();
        several += stopped().filter(|job| job.stages > 2).count();
        report.checks.iter().for_each(|(name, count)| *checks.entry(name).or_default() += count);
    }
    assert_eq!(faults.len(), CLASSES.len(), "{faults:?}");
    assert!(early > 0 && several > 0, "{early} jobs stopped early, {several} of them after several looks");
    for (class, count) in &faults {
        assert!((1..=count.scheduled).contains(&count.struck), "{class:?}: {count}");
    }
    for event in ["shard_failed", "no_blob", "reductions_lacking", "lost", "refused_for_room"] {
        assert!(events.contains_key(event), "{event} never happened: {events:?}");
    }
    for (_, _, invariant) in Bug::ALL {
        assert!(checks.get(invariant).is_some_and(|count| *count > 0), "{invariant} was never checked");
    }
}

#[test]
fn the_mesh_shares_the_work() {
    let wish = Wish { machines: Some(6), jobs: Some(8), classes: Some(Vec::new()), ..Wish::default() };
    let report = run(&Scenario::random(3, &wish)).expect("it holds");
    let distinct = |job: &&forgemesh_simnet::report::JobReport| {
        let text = serde_json::to_string(&job.verification).expect("text");
        text.contains("same_operator")
    };
    assert!(report.jobs.iter().filter(distinct).count() > 0, "{:?}", report.jobs);
    assert_eq!(report.faults.len(), 0);
}

/// Every fault that is kept is needed.
#[test]
fn a_failing_scenario_is_shortened() {
    let wish = Wish { bug: Some(Bug::EarlyStore), ..Wish::default() };
    let broken = |seed: &u64| run(&Scenario::random(*seed, &wish)).err();
    let (seed, broken) = (1..60).find_map(|seed| Some((seed, broken(&seed)?))).expect("it is caught");
    let scenario = Scenario::random(seed, &wish);
    let fails = |scenario: &Scenario| run(scenario).err().map(|broken| broken.kind());
    let short = shorten(&scenario, &broken.kind(), fails);
    assert!(short.faults.len() < scenario.faults.len(), "seed {seed}: {short:?}");
    assert!(short.jobs.len() < scenario.jobs.len(), "seed {seed}: {short:?}");
    let again = run(&scenario.only(Some(&short.faults), Some(&short.jobs)));
    assert_eq!(again.expect_err("it still fails").kind(), broken.kind());
    for left_out in &short.faults {
        let fewer: Vec<usize> = short.faults.iter().copied().filter(|fault| fault != left_out).collect();
        let held = run(&scenario.only(Some(&fewer), Some(&short.jobs)));
        assert!(held.err().is_none_or(|other| other.kind() != broken.kind()), "{left_out} is not needed");
    }
}

/// A disk error ends a life after an entry of the books is durable and before anybody hears of it; then bits of the disk
/// rot. The observer once took the entry for one that it had looked at.
#[test]
fn an_entry_that_a_rotten_disk_kept_is_looked_at() {
    let scenario =
        found_before(95, &["read_error", "mid_send"]).only(Some(&[1, 5, 7, 23]), Some(&[2, 3, 4, 5]));
    run(&scenario).unwrap_or_else(|broken| panic!("{broken}"));
}

/// A start fails after it has entered what an earlier life left out of the books: nobody reports that. The observer once
/// took the entry for one that came from nowhere.
#[test]
fn what_a_failed_start_has_entered_is_no_surprise() {
    let scenario = found_before(17_368, &["read_error", "mid_send"]).only(Some(&[3, 4]), Some(&[0]));
    run(&scenario).unwrap_or_else(|broken| panic!("{broken}"));
}

/// A lone member's first life ends after its first entry and before its first vote.
#[test]
fn who_is_alone_agrees_with_itself_before_any_vote() {
    let scenario = found_before(25_158, &["read_error", "mid_send"]).only(Some(&[0]), Some(&[]));
    run(&scenario).unwrap_or_else(|broken| panic!("{broken}"));
}

/// A node that catches up with the hub's log before it sits once looked without end at what was not its to do; this world
/// never came to its end.
#[test]
fn who_catches_up_does_not_wait_for_what_it_will_not_do() {
    let wish = Wish { classes: Some(vec!["crash".to_owned()]), ..Wish::default() };
    let report =
        run(&Scenario::random(28, &wish).only(Some(&[1]), None)).unwrap_or_else(|broken| panic!("{broken}"));
    assert_eq!(report.events.get("seatings"), Some(&1), "it is to sit: {AGAIN} 28");
}

/// Everything happens to worlds whose hub changes.
#[test]
fn a_hub_that_changes_under_fire_keeps_its_word() {
    let changing = |seed: &u64| Scenario::random(*seed, &Wish::default()).standbys > 0;
    let mut seatings = 0;
    for seed in (1..=30).filter(changing) {
        let report = run(&Scenario::random(seed, &Wish::default()))
            .unwrap_or_else(|broken| panic!("{broken}: {AGAIN} {seed}"));
        seatings += report.events.get("seatings").copied().unwrap_or(0);
    }
    assert!(seatings > 3, "{seatings} changes of who sits");
}

/// A client's answer is the last thing that is missing in this world, which once went on for two hours more.
#[test]
fn a_world_ends_with_its_last_answer() {
    let report = run(&Scenario::random(18, &Wish::default())).unwrap_or_else(|broken| panic!("{broken}"));
    assert!(report.virtual_ms < 3_600_000, "{} ms: {AGAIN} 18", report.virtual_ms);
}
