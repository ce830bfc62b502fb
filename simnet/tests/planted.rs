//! Each planted bug is caught by the invariant that watches over what it breaks, as the committed table says.

use std::collections::BTreeSet;

use forgemesh_simnet::invariants;
use forgemesh_simnet::planted::{Bug, hunt};
use forgemesh_simnet::scenario::{Scenario, Wish};
use forgemesh_simnet::world::run;

/// Entries that are written again as they were are the same on the disk in the end: only the rule on taking back sees it.
#[test]
fn what_is_agreed_on_is_not_even_taken_back_to_be_written_again() {
    let wish = Wish { bug: Some(Bug::RewrittenLog), ..Wish::default() };
    let broken = (1..20).find_map(|seed| run(&Scenario::random(seed, &wish)).err()).expect("it is caught");
    assert!(broken.to_string().contains("takes back its log"), "{broken}");
}

#[test]
fn every_invariant_can_fail_and_every_bug_is_caught() {
    let caught = hunt::all();
    for bug in &caught {
        assert!(bug.is_right(), "{bug:?}");
    }
    let watched: BTreeSet<&str> = Bug::ALL.iter().map(|(_, _, invariant)| *invariant).collect();
    let all = invariants::all();
    assert_eq!(watched, all.iter().map(|invariant| invariant.name()).collect(), "one bug for each at least");
    // After how many seeds changes with the mesh; who catches what does not.
    let rows = |table: &str| -> Vec<String> {
        let rows = table.lines().filter(|line| line.starts_with("| `"));
        rows.filter_map(|row| Some(row.rsplit_once(" | ")?.0.to_owned())).collect()
    };
    assert_eq!(
        rows(include_str!("../PLANTED.md")),
        rows(&hunt::markdown(&caught)),
        "make it again: cargo run --release -p forgemesh-simnet -- planted --write simnet/PLANTED.md"
    );
}
