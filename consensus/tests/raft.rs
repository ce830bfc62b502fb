//! Replicas against each other: real databases on model disks, a network that loses, delays, repeats and overtakes,
//! members that are cut off and whose power fails, all in virtual time in one thread.
//!
//! `FORGEMESH_RAFT_SEED=7` runs the random schedules with this seed alone, `FORGEMESH_RAFT_SEEDS=1000` with as many.

#![allow(clippy::unwrap_used, reason = "a failed step of a test is a failed test")]

mod raft {
    mod member;
    mod world;

    mod alone;
    mod change;
    mod hostile;
    mod leader;
    mod resume;
    mod safety;
    mod snapshot;
}
