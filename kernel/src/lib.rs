//! What a job *means*: its seeds, its plan, the execution of one shard, exact reduction, its output.
//!
//! Pure: no clock, no I/O, no entropy, no threads. It knows nothing of nodes, signatures or storage. A result depends on
//! the contract alone, never on the processor, the number of shards or the order in which they were merged.

pub mod accumulator;
pub mod backend;
pub mod block;
pub mod bracket;
mod codec;
pub mod column;
pub mod converge;
pub mod fpenv;
pub mod histogram;
pub mod job;
pub mod moments;
pub mod num;
pub mod order;
pub mod planner;
pub mod profile;
pub mod profiles;
pub mod ratio;
pub mod reduction;
pub mod registry;
pub mod scale;
pub mod seeding;
pub mod summary;
pub mod tree;
pub mod wide;

pub use codec::DecodeError;
