//! The replicated hub: one deterministic state machine over a log of commands.
//!
//! *What chooses is proposed, what follows is applied*: `Hub::apply` is pure over the log's bytes. It reads no
//! blob, does no I/O, looks at no clock and does no floating-point arithmetic of its own. Anything derivable is
//! recomputed, never trusted from the proposer. What puts the commands in order among several members is `raft`, the one
//! part that waits for something; the rest knows nothing of it.

pub mod adjudicate;
pub mod admission;
pub mod command;
pub mod enrolment;
pub mod foreign;
pub mod job;
pub mod machine;
pub mod raft;
pub mod settle;
pub mod shard_set;
pub mod todo;
