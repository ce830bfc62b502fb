//! A hub whose reduction comes to another result than the sum of the shards.

use forgemesh_node::ports::Done;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::vote::Outcome;

use super::Tamper;

/// The bug.
pub struct WrongReduction;

impl Tamper for WrongReduction {
    fn ended(&mut self, done: Done) -> Done {
        match done {
            Done::Reduced { outcome: Outcome::Final(mut result), artifacts } => {
                result.result_hash = Hash::blob(&result.result_hash.0);
                Done::Reduced { outcome: Outcome::Final(result), artifacts }
            }
            other => other,
        }
    }
}
