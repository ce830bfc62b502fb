//! Seeds with every class of fault, and what a shortened failure says. More of them run in `.ci/run`.

use std::collections::BTreeMap;

use forgemesh_simnet::disk::Unsynced;
use forgemesh_simnet::faults::{CLASSES, Class, Fault, What};
use forgemesh_simnet::planted::Bug;
use forgemesh_simnet::report::FaultCount;
use forgemesh_simnet::scenario::{Scenario, Wish};
use forgemesh_simnet::shorten::shorten;
use forgemesh_simnet::world::{Broken, run};

const AGAIN: &str = "cargo run -p forgemesh-simnet -- --seed";

#[test]
fn every_invariant_holds_under_every_class_of_fault() {
    let (mut faults, mut checks) = (BTreeMap::<Class, FaultCount>::new(), BTreeMap::<&str, u64>::new());
    let (mut early, mut several) = (0, 0);
    let (mut events, mut effects) = (BTreeMap::<&str, u64>::new(), BTreeMap::<&str, u64>::new());
    for seed in 1_000..1_040 {
        let report = run(&Scenario::random(seed, &Wish::default()))
            .unwrap_or_else(|broken| panic!("{broken}: {AGAIN} {seed}"));
        assert_eq!(report.checks["progress"], 1, "{AGAIN} {seed}");
        report.faults.iter().for_each(|(class, count)| faults.entry(*class).or_default().add(*count));
        report.events.iter().for_each(|(name, count)| *events.entry(name).or_default() += count);
        let parcels = report.parcels;
        for (effect, count) in [
            ("lost", parcels.lost),
            ("repeated", parcels.repeated),
            ("overtaken", parcels.overtaken),
            ("cut", parcels.cut),
            ("parted", parcels.parted),
        ] {
            *effects.entry(effect).or_default() += count;
        }
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
    // That links were made worse is not that anything was on them.
    for (effect, count) in &effects {
        assert!(*count > 0, "{effect}: {effects:?}");
    }
    for event in [
        "shard_failed",
        "no_blob",
        "reductions_lacking",
        "lost",
        "refused_for_room",
        "quarantines",
        "deliveries_used",
        "deliveries_missed",
    ] {
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
    // What else follows from it, in other worlds, may need all of their jobs.
    let is_own = |broken: &Broken| broken.kind() == "acknowledged_kept";
    let broken = |seed: &u64| run(&Scenario::random(*seed, &wish)).err().filter(is_own);
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

/// A node that catches up with the hub's log before it sits once looked without end at what was not its to do; this world
/// never came to its end.
#[test]
fn who_catches_up_does_not_wait_for_what_it_will_not_do() {
    let wish = Wish { classes: Some(vec!["crash".to_owned()]), ..Wish::default() };
    let report =
        run(&Scenario::random(28, &wish).only(Some(&[1]), None)).unwrap_or_else(|broken| panic!("{broken}"));
    assert_eq!(report.events.get("seatings"), Some(&1), "it is to sit: {AGAIN} 28");
}

/// The few bits that turn in other worlds are seldom met: here so many do that the next start finds them.
#[test]
fn a_disk_beyond_repair_is_replaced() {
    let wish = Wish { machines: Some(5), hubs: Some(3), classes: Some(Vec::new()), ..Wish::default() };
    let mut replaced = 0;
    for seed in 1..=6 {
        let (mut scenario, machine) = (Scenario::random(seed, &wish), 4);
        let at_ms = scenario.jobs[0].at_ms + 2_000;
        let rot = Fault { at_ms, for_ms: 0, what: What::Rot { machine, bits: 1_000 } };
        let off = What::Off { machine, way: Unsynced::Kept };
        scenario.faults = vec![rot, Fault { at_ms, for_ms: 1_000, what: off }];
        let report = run(&scenario).unwrap_or_else(|broken| panic!("{broken}: seed {seed}"));
        replaced += report.replaced_disks;
    }
    assert!(replaced > 3, "{replaced} of 6 disks were replaced");
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
