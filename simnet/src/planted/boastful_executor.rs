//! An executor that claims a thousand times the cores it has: what is lent to it piles up before its processor.

use super::Tamper;

/// The bug; its scenario has a job of many shards.
pub struct BoastfulExecutor;

impl Tamper for BoastfulExecutor {
    fn boast(&self) -> u64 {
        1_000
    }
}
