//! Every queue of a machine has a bound with a name, and keeps to it: batches before its disk,
//! work before its processor. Source: TigerBeetle, TIGER_STYLE.md, "Put a limit on everything"; protocol/src/limits.rs.

use forgemesh_node::core::Queue;

use super::{Invariant, Moment, View};
use crate::limits;

/// Shards that an agent may hold for each of its threads: what the hub lends at most.
const SHARDS_PER_THREAD: usize = forgemesh_protocol::limits::SHARDS_PER_THREAD as usize;

/// The invariant.
pub struct QueuesBounded;

impl Invariant for QueuesBounded {
    fn name(&self) -> &'static str {
        "queues_bounded"
    }

    fn check(&mut self, view: &View<'_>) -> Result<bool, String> {
        let (machine, waiting) = match &view.moment {
            Moment::Beat { machine, waiting } => (machine, waiting),
            Moment::Queues { machine, queues } => return own(*machine, queues),
            _ => return Ok(false),
        };
        let queues = [
            ("store queue", waiting.store, limits::STORE_QUEUE),
            ("shards", waiting.shards, waiting.cores * SHARDS_PER_THREAD),
            ("other work", waiting.checks, limits::EXECUTOR_QUEUE),
        ];
        match queues.iter().find(|(_, found, bound)| found > bound) {
            Some((queue, found, bound)) => {
                Err(format!("machine {machine} has {found} in its {queue}, the bound is {bound}"))
            }
            None => Ok(true),
        }
    }
}

/// The queues within a node, with the bounds it gives itself.
fn own(machine: usize, queues: &[Queue]) -> Result<bool, String> {
    match queues.iter().find(|queue| queue.length > queue.bound) {
        Some(Queue { name, length, bound }) => {
            Err(format!("the node of machine {machine} has {length} {name}, its bound is {bound}"))
        }
        None => Ok(!queues.is_empty()),
    }
}
