//! An agent that lets go all that it has vouched for, whether the job is in its books or not.

use std::collections::BTreeSet;

use forgemesh_node::links::Spent;
use forgemesh_node::ports::{Done, Work};
use forgemesh_protocol::hash::Hash;
use forgemesh_storage::{Batch, Write};

use super::Tamper;

/// The bug; in its scenario a job is open when an agent looks for what may go.
#[derive(Default)]
pub struct HastyAgent {
    /// What it has stored.
    blobs: BTreeSet<Hash>,
}

impl Tamper for HastyAgent {
    fn batch(&mut self, batch: Batch) -> Batch {
        self.blobs.extend(batch.writes().iter().filter_map(|write| match write {
            Write::PutBlob { blob } => Some(blob.hash()),
            _ => None,
        }));
        batch
    }

    fn done(&mut self, work: &Work) -> Option<Done> {
        let Work::Spent { .. } = work else { return None };
        let (rows, blobs) = (vec!["all of them".to_owned()], self.blobs.iter().copied().collect());
        Some(Done::Spent { spent: Box::new(Spent { rows, blobs, ..Spent::default() }) })
    }
}
