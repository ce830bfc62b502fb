//! Each planted bug is caught by the invariant that watches over what it breaks; the committed table says after how
//! many seeds.

use std::collections::BTreeSet;

use forgemesh_simnet::invariants;
use forgemesh_simnet::planted::{Bug, hunt};

#[test]
fn every_invariant_can_fail_and_every_bug_is_caught() {
    let caught = hunt::all();
    for bug in &caught {
        assert!(bug.is_right(), "{bug:?}");
    }
    let watched: BTreeSet<&str> = Bug::ALL.iter().map(|(_, _, invariant)| *invariant).collect();
    let all = invariants::all();
    assert_eq!(watched, all.iter().map(|invariant| invariant.name()).collect(), "one bug for each at least");
    let table = include_str!("../PLANTED.md");
    assert!(
        table == hunt::markdown(&caught),
        "PLANTED.md is another table; `cargo run --release -p forgemesh-simnet -- planted --write simnet/PLANTED.md`"
    );
}
