//! The simulator: the very node of production, its `boot`, its core and its driver, in virtual time.
//!
//! Owns the ports that stand for machines: an executor that computes with the real kernel and takes modelled time, a
//! disk in memory behind the real storage, a fuse that ends a node at any step. A seed decides everything. Must never
//! use a thread, look at a clock other than tokio's paused one, or draw entropy: one seed gives one trace.

pub mod adversary;
pub mod agreement;
pub mod client;
pub mod disk;
pub mod draws;
pub mod durable;
pub mod executor;
pub mod faults;
pub mod fuse;
pub mod gate;
pub mod gauge;
pub mod ills;
pub mod invariants;
pub mod known;
pub mod letter;
pub mod limits;
pub mod machine;
pub mod memo;
pub mod observer;
pub mod operators;
pub mod planted;
pub mod readers;
pub mod report;
pub mod scenario;
pub mod shorten;
pub mod store;
pub mod switchboard;
pub mod trace;
pub mod watched;
pub mod witness;
pub mod workload;
pub mod world;
