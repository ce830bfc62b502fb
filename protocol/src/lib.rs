//! Every noun of the system and its canonical bytes.
//!
//! Pure: this crate never reads a clock, does no I/O and draws no entropy. It knows nothing about how a
//! job is computed (that is `kernel/`), nor where anything is kept (that is `storage/`).

mod allowance;
pub mod artifact;
pub mod attestation;
pub mod base64;
pub mod cancellation;
pub mod canon;
pub mod challenge;
pub mod charter;
pub mod contract;
pub mod enrolment;
pub mod envelope;
pub mod failure;
pub mod genesis;
pub mod hash;
pub mod id;
pub mod json;
pub mod keys;
pub mod lease;
pub mod ledger;
pub mod limits;
pub mod op;
pub mod organization;
pub mod plan;
pub mod problem;
pub mod receipt;
pub mod region;
pub mod schema;
pub mod shard_list;
pub mod state;
pub mod submission;
pub mod ticket;
pub mod vote;
pub mod wire;
