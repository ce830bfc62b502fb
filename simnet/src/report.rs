//! What came of a simulation, for people and for programs.

use std::collections::BTreeMap;
use std::fmt;

use forgemesh_protocol::failure::Failure;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::JobId;
use forgemesh_protocol::receipt::Verification;
use serde::Serialize;

use crate::faults::Class;
use crate::switchboard::Counts;

/// What came of a scenario in which everything held.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    pub seed: u64,
    pub machines: u64,
    /// Those of them that are members of the hub.
    pub hubs: u64,
    /// So many stand for it.
    pub standbys: u64,
    pub virtual_ms: u64,
    /// Ticks of a virtual second that were seen.
    pub heartbeats: u64,
    pub submitted: u64,
    pub finalized: u64,
    /// Failed jobs by code.
    pub failed: BTreeMap<&'static str, u64>,
    /// Faults, by class.
    pub faults: BTreeMap<Class, FaultCount>,
    /// What happened that is rare, by name: batches set aside for a reason, shards that failed, blobs that were lost,
    /// snapshots, batches that came to a member with all that they claim or had to be fetched.
    pub events: BTreeMap<&'static str, u64>,
    /// Agents that lied.
    pub liars: u64,
    pub crashes: u64,
    /// Lives that ended by an error of their disk.
    pub disk_errors: u64,
    /// Disks whose damage was noticed and that were replaced.
    pub replaced_disks: u64,
    pub parcels: Counts,
    /// How often each invariant was checked.
    pub checks: BTreeMap<&'static str, u64>,
    /// Entries of the log, and of the books.
    pub log: u64,
    pub ledger: u64,
    /// Steps of the ports of all machines.
    pub steps: u64,
    pub trace: Hash,
    pub jobs: Vec<JobReport>,
}

/// Faults of one class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FaultCount {
    pub scheduled: u64,
    /// Those that ended a life or failed what a machine did; of cuts, weather, pauses and clocks those that began while it
    /// lived, of rot those that turned bits. What came of these, parcels and events say.
    pub struck: u64,
}

impl FaultCount {
    /// Both of both.
    pub fn add(&mut self, other: FaultCount) {
        self.scheduled += other.scheduled;
        self.struck += other.struck;
    }
}

impl fmt::Display for FaultCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} struck)", self.scheduled, self.struck)
    }
}

/// What came of one job.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct JobReport {
    pub job: JobId,
    pub contract: Hash,
    pub result_hash: Option<Hash>,
    /// Stages that count; with a stop rule all but the last went on after a look, or prepared one.
    pub stages: u64,
    /// Whether it ended before its budget.
    pub stopped_early: bool,
    pub failure: Option<Failure>,
    /// What executing the contract here and now gives, if it gives anything.
    pub oracle: Option<Hash>,
    pub verification: Verification,
    /// Whether work of a liar is in it.
    pub by_liar: bool,
}
