//! What the command line says: of a seed that fails, of many, of wrong usage.

use std::process::{Command, Output};

use serde_json::Value;

fn simnet(arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_forgemesh-simnet");
    Command::new(program).args(arguments).output().expect("the simulator starts")
}

fn lines(output: &Output) -> Vec<Value> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().map(|line| serde_json::from_str(line).expect("one JSON object a line")).collect()
}

/// Its line, typed again, fails again and needs all that it names.
#[test]
fn a_failing_seed_says_how_to_see_it_again() {
    let failing = simnet(&["--seed", "1", "--bug", "wrong_reduction", "--json"]);
    assert_eq!(failing.status.code(), Some(1));
    let failure = &lines(&failing)[0];
    assert_eq!(failure["broken"], "result_correct");
    let again = failure["again"].as_str().expect("a line").to_owned();
    let (program, arguments) = again.split_once(" -- ").expect("arguments");
    // Where the disk is rotten, a build with assertions may end elsewhere than one without.
    let build = if cfg!(debug_assertions) { "cargo run" } else { "cargo run --release" };
    assert_eq!(program, format!("{build} -p forgemesh-simnet"));
    let arguments: Vec<&str> = arguments.split(' ').chain(["--json"]).collect();
    let second = simnet(&arguments);
    assert_eq!(second.status.code(), Some(1), "{again}");
    let second = &lines(&second)[0];
    assert_eq!((&second["broken"], &second["again"]), (&failure["broken"], &failure["again"]));
    assert_eq!(
        second["faults"].as_array().map(Vec::len),
        second["faults_before"].as_u64().map(|n| n as usize)
    );
}

#[test]
fn many_seeds_end_in_a_summary() {
    let output = simnet(&["--seeds", "1..7", "--threads", "2", "--nodes", "4", "--jobs", "2", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let mut lines = lines(&output);
    let summary = lines.pop().expect("a summary");
    let mut seeds: Vec<u64> = lines.iter().filter_map(|line| line["seed"].as_u64()).collect();
    seeds.sort_unstable();
    assert_eq!(seeds, [1, 2, 3, 4, 5, 6]);
    assert_eq!((summary["seeds"].as_u64(), summary["failed"].as_u64()), (Some(6), Some(0)));
    assert_eq!(summary["jobs"].as_u64(), Some(12));
}

#[test]
fn wrong_usage_is_refused_with_its_cure() {
    for (arguments, cure) in [
        (["--seeds", "3..1"], "write A..B"),
        (["--faults", "earthquake"], "there are crash"),
        (["--hours", "0"], "write hours"),
        (["--only", "a"], "write for instance"),
        (["--bug", "moth"], "there are altered_entry"),
        (["--nodes", "0"], "is not in"),
        (["--only", "100000"], "seed 1 has 0 to "),
        (["--only-jobs", "0,100000"], "seed 1 has 0 to "),
    ] {
        let output = simnet(&arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let text = String::from_utf8_lossy(&output.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains(cure), "{arguments:?}: {text}");
    }
}

/// A planted bug that nothing caught is no good news.
#[test]
fn a_bug_that_did_no_harm_is_named() {
    let (alone, both) = ("did no harm at this seed", "was caught at 0 of 2 seeds; 2 held");
    for (seeds, says) in [(["--seed", "2"], alone), (["--seeds", "2..4"], both)] {
        let quiet = ["--bug", "lying_disk", "--faults", "none", "--jobs", "0"];
        let output = simnet(&[&seeds[..], &quiet[..]].concat());
        assert_eq!(output.status.code(), Some(0), "{seeds:?}");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains(&format!("bug lying_disk {says}")), "{seeds:?}: {text}");
    }
}
